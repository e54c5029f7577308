"""Sound files as they are: all channels, the sample format kept, so that what is not changed stays bit for bit."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speechvae.batch import FORMATS, check_output
from speechvae.errors import SpeechVAEError

if TYPE_CHECKING:
    from speechvae.config import AudioConfig
    from speechvae.repair import Repair

EXACT = {"PCM_16": 16, "PCM_24": 24, "PCM_32": 32}  # bits
LOSSLESS = (".wav", ".flac")


def read_sound(path: str | Path) -> tuple[np.ndarray, int, str]:
    """Samples float64 [S] or [S, C] in [-1, 1], rate in Hz, and libsndfile's name of the sample format."""
    import soundfile as sf

    path = Path(path)
    if not path.is_file():
        raise SpeechVAEError(f"no audio file at {path}")
    try:
        subtype = sf.info(str(path)).subtype
        wav, rate = sf.read(str(path), dtype="float64")
    except (sf.LibsndfileError, RuntimeError) as e:
        raise SpeechVAEError(f"{path} cannot be decoded as audio: {e}") from e
    return wav, int(rate), subtype


def check_lossless(path: Path, overwrite: bool) -> None:
    """Raise before any work where `path` cannot be written without loss."""
    if path.suffix.lower() not in LOSSLESS:
        raise SpeechVAEError(f"{path} would change every sample: let its name end in .wav or .flac")
    check_output(path, overwrite)


def write_like(path: Path, wav: np.ndarray, rate: int, subtype: str) -> Path:
    """Write samples [S] or [S, C] in the format they were read in: unchanged ones stay bit for bit.

    Formats that are compressed with loss, and what flac cannot hold, become 16-bit. The file appears whole
    or not at all.
    """
    kinds = ("PCM_16", "PCM_24") if path.suffix.lower() == ".flac" else (*EXACT, "FLOAT", "DOUBLE")
    subtype = subtype if subtype in kinds else "PCM_16"
    data: Any = wav
    if subtype in EXACT:
        bits = EXACT[subtype]
        top = 2 ** (bits - 1)
        whole = np.clip(np.rint(np.asarray(wav, np.float64) * top), -top, top - 1).astype(np.int64)
        # libsndfile scales integers, too, if their width is not the file's; 32 bits hold all of them.
        data = whole.astype(np.int16) if bits == 16 else (whole << (32 - bits)).astype(np.int32)
    return _write(path, data, rate, subtype)


def write_sound(path: Path, wav: np.ndarray, rate: int) -> Path:
    """Write samples [S] in [-1, 1] in the usual format of the file's ending, whole or not at all."""
    return _write(path, np.clip(wav, -1.0, 1.0), rate, FORMATS[path.suffix.lower()][1])


def _write(path: Path, data: Any, rate: int, subtype: str | None) -> Path:
    import soundfile as sf

    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}-", suffix=".part")
    os.close(handle)
    try:
        sf.write(part, data, rate, subtype=subtype, format=FORMATS[path.suffix.lower()][0])
        os.chmod(part, 0o644)
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    return path


def repair_picture(repair: Repair, audio: AudioConfig, path: Path) -> Path:
    """A PNG: log-mels before and after, with what changed between the lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.5), layout="constrained")
    plots = figure.subplots(2, 1)
    marks = ([(s.start, s.end) for s in repair.spans], [(s.new_start, s.new_end) for s in repair.spans])
    for axes, mel, title, spans in zip(
        plots, (repair.mel_before, repair.mel_after), ("before", "after"), marks, strict=True
    ):
        begin = repair.offset
        end = begin + mel.shape[1] / repair.frame_rate
        place = (begin, end, 0, audio.n_mels)
        axes.imshow(mel, origin="lower", aspect="auto", extent=place, cmap="magma", vmin=-9, vmax=2)
        axes.set(title=title, ylabel="mel band", xlabel="s")
        for a, b in spans:
            axes.axvspan(a, b, facecolor="none", edgecolor="cyan", lw=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.{os.getpid()}.png")
    figure.savefig(part, dpi=110)
    os.replace(part, path)
    return path
