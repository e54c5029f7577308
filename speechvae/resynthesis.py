"""Recordings through a vocoder: recording → log-mel → wav. What remains of a recording is what a voice can reach.

A file is read, converted and written in pieces, so that memory does not grow with its length. The speech is brought
to -23 dBFS, the level of the training data, and back afterwards.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechvae.audio import LogMel, griffin_lim
from speechvae.config import AudioConfig
from speechvae.errors import SpeechVAEError
from speechvae.files import FORMATS, check_output, replacing
from speechvae.journal import write_text
from speechvae.models.vocoder import FourierVocoder, vocode_stream
from speechvae.utterance import AUDIO_SUFFIXES
from speechvae.validation import FRAME, active_frames, frame_levels

LEVEL = -23.0  # dBFS of the speech, as in training
PEAK = 0.99  # no more gain than the loudest sample allows: training's recordings are not clipped either
NOTHING = -90.0  # dBFS: below half a step of 16 bits
BLOCK = 10.0  # s read at a time
SETTINGS = "resynthesis.json"
SEAM_FRAMES = 96  # of overlap between Griffin-Lim's pieces, where it looks for a quiet place
FADE_FRAMES = 4


@dataclass(frozen=True)
class Copy:
    """A file that was written. Times in s, rates in Hz; `clipped`: samples that did not fit into full scale."""

    path: Path
    duration: float
    rate: int
    source_rate: int
    clipped: int
    elapsed: float

    @property
    def rtf(self) -> float:
        """Processing time / audio time, with reading and writing."""
        return self.elapsed / self.duration if self.duration > 0 else 0.0


@dataclass
class CopyReport:
    """What a run over a folder did. `failed`: files and why."""

    written: list[Copy] = field(default_factory=list)
    skipped: list[Path] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)


class Resynthesiser:
    """A vocoder (None: Griffin-Lim with `iterations`) and the mel features it takes."""

    def __init__(
        self, vocoder: FourierVocoder | None, audio: AudioConfig | None = None, iterations: int = 32,
        chunk: int = 512, name: str = "",
    ) -> None:  # fmt: skip
        """`audio`: the mel features for Griffin-Lim (default: the usual ones); `chunk`: mel frames at a time."""
        self.vocoder, self.iterations, self.chunk, self.name = vocoder, iterations, chunk, name
        self.audio = vocoder.audio if vocoder is not None else AudioConfig() if audio is None else audio

    def samples(self, wav: np.ndarray, rate: int) -> np.ndarray:
        """Mono samples [S] at `rate` Hz → the copy, float32, at `audio.sample_rate`; same duration and level.

        Raises SpeechVAEError for samples that are not finite, or none.
        """
        pieces = [_finite(np.asarray(wav, np.float32), "the samples")]
        return np.concatenate(list(self.stream(pieces, rate, gain_for(pieces, rate))))

    def stream(self, blocks: Iterable[np.ndarray], rate: int, gain: float) -> Iterator[np.ndarray]:
        """The same in pieces; `gain` (linear) is put on before the mel and taken off the copy."""
        count = _Counter(scaled(resample_stream(blocks, rate, self.audio.sample_rate), gain))
        mels = mel_stream(count, self.audio)
        done = 0
        if self.vocoder is None:
            copies = griffin_lim_stream(mels, self.audio, self.iterations)
        else:
            copies = vocode_stream(self.vocoder, mels, self.chunk)
        for copy in copies:
            # The last frame may reach beyond the recording's end.
            piece = copy[0].numpy()[: count.samples - done] / gain
            done += len(piece)
            yield piece.astype(np.float32, copy=False)

    def file(
        self, source: Path, target: Path, overwrite: bool = False, progress: Callable[[float], Any] | None = None
    ) -> Copy:
        """Read `source` and write its copy in the format of `target`'s ending; it appears whole or not at all.

        `progress` is called with the seconds of sound written since the last call.
        """
        import soundfile as sf

        check_output(target, overwrite)
        started = time.perf_counter()
        with _opened(source) as (rate, blocks):
            gain = gain_for(blocks(), rate)
        kind, subtype = FORMATS[target.suffix.lower()]
        written = clipped = 0
        with (
            _opened(source) as (rate, blocks),
            replacing(target) as part,
            sf.SoundFile(str(part), "w", self.audio.sample_rate, 1, subtype, format=kind) as out,
        ):
            for piece in self.stream(blocks(), rate, gain):
                clipped += int((np.abs(piece) > 1).sum())
                out.write(np.clip(piece, -1, 1))
                written += len(piece)
                if progress is not None:
                    progress(len(piece) / self.audio.sample_rate)
        seconds = written / self.audio.sample_rate
        return Copy(target, seconds, self.audio.sample_rate, rate, clipped, time.perf_counter() - started)

    def folder(self, source: Path, target: Path, overwrite: bool = False, progress: bool | None = None) -> CopyReport:
        """Copy every recording under `source` to `target`, under the same relative path, as wav.

        What is there already is passed over, so that a stopped run goes on. A file that fails is reported and the
        rest goes on. `progress`: show a bar; None = only on a terminal.

        Raises SpeechVAEError for a folder without recordings, and for copies there by another vocoder.
        """
        from tqdm import tqdm

        if source.resolve() == target.resolve():
            raise SpeechVAEError(f"the copies need a folder of their own, not that of the recordings ({source})")
        files = [p for p in recordings_in(source) if target.resolve() not in p.resolve().parents]
        if not files:
            raise SpeechVAEError(f"no recordings under {source} ({', '.join(AUDIO_SUFFIXES)})")
        self._settle(target, overwrite)
        report = CopyReport()
        made: dict[Path, Path] = {}
        with tqdm(files, unit="file", disable=None if progress is None else not progress) as bar:
            for path in bar:
                out = target / path.relative_to(source).with_suffix(".wav")
                other = made.setdefault(out, path)
                try:
                    if other != path:
                        raise SpeechVAEError(f"{out} is the copy of {other.name} already: give one another name")
                    if out.is_file() and not overwrite:
                        report.skipped.append(out)
                    else:
                        report.written.append(self.file(path, out, overwrite))
                except Exception as e:  # one bad file must not cost the rest of the night
                    known = isinstance(e, SpeechVAEError | OSError)
                    report.failed.append((path, str(e) if known else f"{type(e).__name__}: {e}"))
        return report

    def _settle(self, target: Path, overwrite: bool) -> None:
        """Keep what the folder is made with beside its files; another vocoder's copies are not mixed in."""
        mine = {"vocoder": self.name, "iterations": self.iterations if self.vocoder is None else None,
                "audio": self.audio.fingerprint()}  # fmt: skip
        path = target / SETTINGS
        there = None
        if path.is_file():
            with suppress(ValueError):
                there = json.loads(path.read_text(encoding="utf-8"))
        if path.is_file() and there != mine and not overwrite:
            raise SpeechVAEError(f"{target} holds copies by another vocoder: use another folder, or --force")
        target.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(mine, indent=1) + "\n")


def recordings_in(folder: Path) -> list[Path]:
    """Sound files under a folder, sorted; hidden ones are left out."""
    found = (p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def gain_for(blocks: Iterable[np.ndarray], rate: int) -> float:
    """The linear gain that brings speech in blocks of samples to -23 dBFS, or as near as the peak allows.

    1 for silence. Raises SpeechVAEError where there are no samples at all.
    """
    levels, peak, samples = [], 0.0, 0
    for block in blocks:
        samples += len(block)
        peak = max(peak, float(np.abs(block).max(initial=0.0)))
        short = 3 * round(rate * FRAME) - len(block)
        levels.append(frame_levels(np.pad(block, (0, short)) if short > 0 else block, rate))
    if samples == 0:
        raise SpeechVAEError("the recording is empty: it has no samples")
    all_levels = np.concatenate(levels)
    active = active_frames(all_levels)[0] & (all_levels > NOTHING)
    if not active.any():  # too short or too steady to tell apart from noise, but a sound
        active = all_levels > max(NOTHING, float(all_levels.max()) - 20)
    if not active.any() or peak == 0:
        return 1.0
    level = 10 * np.log10(np.mean(10 ** (all_levels[active] / 10)))
    return float(min(10 ** ((LEVEL - level) / 20), PEAK / peak))


def scaled(blocks: Iterable[np.ndarray], gain: float) -> Iterator[np.ndarray]:
    """Each block times `gain`."""
    return (block * np.float32(gain) for block in blocks)


def resample_stream(blocks: Iterable[np.ndarray], rate: int, target: int) -> Iterator[np.ndarray]:
    """Band-limited resampling (soxr, high quality) of float32 blocks; joined, they are the resampled whole."""
    if rate == target:
        yield from blocks
        return
    import soxr

    stream = soxr.ResampleStream(rate, target, 1, dtype="float32", quality="HQ")
    last = np.zeros(0, np.float32)
    for block in blocks:
        yield stream.resample_chunk(last)
        last = np.ascontiguousarray(block, np.float32)
    yield stream.resample_chunk(last, last=True)


class _Counter:
    """Blocks of samples, counted as they pass by."""

    def __init__(self, blocks: Iterable[np.ndarray]) -> None:
        self.blocks, self.samples = blocks, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self.blocks:
            self.samples += len(block)
            yield block


def mel_stream(blocks: Iterable[np.ndarray], audio: AudioConfig) -> Iterator[Tensor]:
    """Samples in blocks → log-mels [1, M, t]; joined, they are `LogMel` of the whole, padded to whole frames."""
    log_mel, hop, half = LogMel(audio), audio.hop, audio.n_fft // 2
    edge = -(-half // hop)
    held = np.zeros(0, np.float32)
    first = done = 0  # the frame whose centre `held` begins with; the frame that comes next

    for block in blocks:
        held = np.concatenate([held, block])
        known = first + (len(held) - half) // hop + 1  # frames whose window has been heard
        if len(held) <= half or known - done < 2 * edge:
            continue
        yield log_mel(torch.from_numpy(held)[None])[..., done - first : known - first]
        done, start = known, max(0, known - edge)
        held, first = held[(start - first) * hop :], start
    held = np.pad(held, (0, -len(held) % hop))
    if first + len(held) // hop > done:
        yield log_mel(torch.from_numpy(held)[None])[..., done - first :]


def griffin_lim_stream(
    mels: Iterable[Tensor], audio: AudioConfig, iterations: int = 32, chunk: int = 2048
) -> Iterator[Tensor]:
    """Log-mels [1, M, t] → wavs [1, n * hop] by Griffin-Lim, in pieces of at most `chunk` frames and some.

    Two pieces agree in their magnitudes, not in phase: they are blended where the sound is softest within one second.
    What is shorter than `chunk` frames is as `griffin_lim` makes it.
    """
    hop, fade = audio.hop, FADE_FRAMES
    held: Tensor | None = None
    tail: Tensor | None = None  # the last piece's samples from the seam on
    for mel in mels:
        held = mel if held is None else torch.cat([held, mel], -1)
        while held.shape[-1] >= chunk + SEAM_FRAMES:
            wav = _blended(tail, griffin_lim(held[..., : chunk + SEAM_FRAMES], audio, iterations))
            loud = held[0, :, chunk : chunk + SEAM_FRAMES - fade].exp().square().sum(0)
            loud = torch.nn.functional.avg_pool1d(loud[None], fade, 1)[0]
            seam = chunk + int(loud.argmin())
            tail, held = wav[..., seam * hop : (seam + fade) * hop], held[..., seam:]
            yield wav[..., : seam * hop]
    if held is not None:
        # Its reflection at the ends needs more than half a window.
        short = max(0, audio.n_fft // (2 * hop) + 1 - held.shape[-1])
        wav = griffin_lim(torch.nn.functional.pad(held, (0, short), mode="replicate"), audio, iterations)
        yield _blended(tail, wav[..., : held.shape[-1] * hop])


def _blended(before: Tensor | None, wav: Tensor) -> Tensor:
    """`wav` with its beginning faded in over the end of the piece before it."""
    if before is None:
        return wav
    n = min(before.shape[-1], wav.shape[-1])
    ramp = torch.linspace(0, 1, n)
    return torch.cat([before[..., :n] * (1 - ramp) + wav[..., :n] * ramp, wav[..., n:]], -1)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, Callable[[], Iterator[np.ndarray]]]]:
    """The rate in Hz of a sound file, and what reads it as mono blocks, float32, of ten seconds."""
    import soundfile as sf

    if not path.is_file():
        raise SpeechVAEError(f"no audio file at {path}")

    def blocks() -> Iterator[np.ndarray]:
        # Whole frames of the level measurement, so that blocks give the figures of the whole.
        size = round(file.samplerate * FRAME) * round(BLOCK / FRAME)
        try:
            for block in file.blocks(size, dtype="float32", always_2d=True):
                yield _finite(block.mean(axis=1), str(path))
        except sf.LibsndfileError as e:
            raise SpeechVAEError(f"{path} cannot be decoded to its end: {e}") from e

    try:
        file = sf.SoundFile(str(path))
    except sf.LibsndfileError as e:
        raise SpeechVAEError(f"{path} cannot be decoded as audio: {e}") from e
    with file:
        yield file.samplerate, blocks


def _finite(samples: np.ndarray, where: str) -> np.ndarray:
    if not np.isfinite(samples).all():
        raise SpeechVAEError(f"{where}: not-a-number or infinite samples; the file is damaged")
    return samples
