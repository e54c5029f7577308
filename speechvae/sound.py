"""What a voice returns: samples with their words, phonemes, pictures' data and the take they came from."""

from __future__ import annotations

import base64
import html
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from speechvae.config import AudioConfig
from speechvae.takes import Take


@dataclass(frozen=True)
class WordTime:
    """A word as written, and when it is said (s)."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class PhonemeTime:
    """A symbol, when it is said (s), its f0 (Hz, 0 = unvoiced) and its energy (nats above the speaker's mean)."""

    symbol: str
    start: float
    end: float
    f0: float
    energy: float


@dataclass
class AudioChunk:
    """One sentence of a stream. Times of words and phonemes count from the start of the chunk.

    wav float32 [T * hop] in [-1, 1]; mel log-mel [M, T]; f0 [T] (Hz, 0 = unvoiced); `start`: where the chunk begins in
    the whole (s); `take`: with the latents of this sentence alone.
    """

    wav: np.ndarray
    sample_rate: int
    words: list[WordTime]
    text: str
    index: int
    start: float
    take: Take
    mel: np.ndarray
    phonemes: list[PhonemeTime]
    f0: np.ndarray

    @classmethod
    def silence(cls, seconds: float, audio: AudioConfig, take: Take) -> AudioChunk:
        """What a text without words sounds like."""
        frames = round(seconds * audio.frame_rate)
        mel = np.full((audio.n_mels, frames), np.log(audio.floor), np.float32)
        wav = np.zeros(frames * audio.hop, np.float32)
        return cls(wav, audio.sample_rate, [], take.text, 0, 0.0, take, mel, [], np.zeros(frames, np.float32))


@dataclass
class Audio:
    """A whole reading: wav float32 [S] in [-1, 1], words and phonemes with times from its start (s), and its take.

    `rtf`: seconds of processing per second of audio.
    """

    wav: np.ndarray
    sample_rate: int
    words: list[WordTime]
    phonemes: list[PhonemeTime]
    mel: np.ndarray
    f0: np.ndarray
    take: Take
    text: str
    rtf: float

    @property
    def seed(self) -> int:
        return self.take.seed

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.wav) / self.sample_rate

    @classmethod
    def join(cls, chunks: list[AudioChunk], take: Take, seconds: float) -> Audio:
        """One reading from its chunks, in order; `seconds` of processing."""
        wav = np.concatenate([c.wav for c in chunks])
        rate = chunks[0].sample_rate
        return cls(
            wav=wav, sample_rate=rate, mel=np.concatenate([c.mel for c in chunks], 1),
            f0=np.concatenate([c.f0 for c in chunks]),
            words=[replace(w, start=w.start + c.start, end=w.end + c.start) for c in chunks for w in c.words],
            phonemes=[replace(p, start=p.start + c.start, end=p.end + c.start) for c in chunks for p in c.phonemes],
            take=replace(take, readings=[r for c in chunks for r in c.take.readings]),
            text=take.text, rtf=seconds / (len(wav) / rate),
        )  # fmt: skip

    def save(self, path: str | Path) -> Path:
        """Write a 16-bit wav file; it appears whole or not at all."""
        from speechvae.audio import write_wav

        return write_wav(path, self.wav, self.sample_rate)

    def _repr_html_(self) -> str:
        """A player for notebooks."""
        import soundfile as sf

        buffer = io.BytesIO()
        sf.write(buffer, np.clip(self.wav, -1, 1), self.sample_rate, format="WAV", subtype="PCM_16")
        data = base64.b64encode(buffer.getvalue()).decode()
        facts = f"synthetic speech, {self.duration:.1f} s, seed {self.seed}"
        label = f"{html.escape(self.text[:200])} <small>({facts})</small>"
        return f'<div><p>{label}</p><audio controls src="data:audio/wav;base64,{data}"></audio></div>'

    def __repr__(self) -> str:
        return f"Audio({json.dumps(self.text[:60])}, {self.duration:.2f} s, seed={self.seed}, rtf={self.rtf:.3f})"
