"""Files: what may be written where, whole or not at all; sound files with all channels and their sample format kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechvae.errors import SpeechVAEError

if TYPE_CHECKING:
    import numpy as np

FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", None),
}
EXACT = {"PCM_16": 16, "PCM_24": 24, "PCM_32": 32}  # bits
LOSSLESS = (".wav", ".flac")


def check_output(path: Path, overwrite: bool) -> None:
    """Raise before any work is done when `path` cannot become an audio file."""
    if path.suffix.lower() not in FORMATS:
        known = ", ".join(FORMATS)
        raise SpeechVAEError(f"cannot tell the audio format of {path}: let its name end in one of {known}")
    check_free(path, overwrite)


def check_free(path: Path, overwrite: bool) -> None:
    """Raise before any work is done when `path` may not be written."""
    if path.is_dir():
        raise SpeechVAEError(f"{path} is a folder: name a file in it")
    if path.exists() and not overwrite:
        raise SpeechVAEError(f"{path} exists already: choose another name, or replace it with --force")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends well, and vanishes when not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:40]}-", suffix=".part")
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o644)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


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
    import numpy as np

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
    import numpy as np

    return _write(path, np.clip(wav, -1.0, 1.0), rate, FORMATS[path.suffix.lower()][1])


def _write(path: Path, data: Any, rate: int, subtype: str | None) -> Path:
    import soundfile as sf

    with replacing(path) as part:
        sf.write(str(part), data, rate, subtype=subtype, format=FORMATS[path.suffix.lower()][0])
    return path
