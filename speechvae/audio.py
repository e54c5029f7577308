"""Audio files, resampling, log-mel spectrograms, Griffin-Lim, fundamental frequency and energy."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import torch
import torchaudio
from torch import Tensor, nn

from speechvae.config import AudioConfig
from speechvae.errors import SpeechVAEError


def load(path: str | Path) -> tuple[np.ndarray, int]:
    """Decode a wav, flac, ogg/opus or mp3 file to mono float32 [T] in [-1, 1] and its sample rate in Hz."""
    import soundfile as sf

    path = Path(path)
    if not path.is_file():
        raise SpeechVAEError(f"no audio file at {path}")
    try:
        wav, rate = sf.read(str(path), dtype="float32", always_2d=True)
    except (sf.LibsndfileError, RuntimeError) as e:
        raise SpeechVAEError(f"{path} cannot be decoded as audio: {e}") from e
    return np.ascontiguousarray(wav.mean(axis=1)), int(rate)


def resample(wav: np.ndarray, rate: int, target: int) -> np.ndarray:
    """Band-limited resampling (soxr, high quality) of float32 [T]."""
    if rate == target:
        return wav
    import soxr

    return np.asarray(soxr.resample(wav, rate, target, quality="HQ"), dtype=np.float32)


def write_wav(path: str | Path, wav: np.ndarray, rate: int) -> Path:
    """Write 16-bit PCM; the file appears whole or not at all."""
    import soundfile as sf

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, tmp = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".part")
    os.close(fd)
    try:
        sf.write(tmp, np.clip(wav, -1.0, 1.0), rate, subtype="PCM_16", format="WAV")
        os.chmod(tmp, 0o644)
        os.replace(tmp, path)
    except BaseException:
        Path(tmp).unlink(missing_ok=True)
        raise
    return path


class LogMel(nn.Module):
    """Natural-log magnitude mel spectrogram, [B, S] in [-1, 1] → [B, M, S // hop].

    The centred transform has one frame more than S // hop; it is dropped, so that frames and samples agree.
    """

    def __init__(self, cfg: AudioConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.mel = torchaudio.transforms.MelSpectrogram(
            sample_rate=cfg.sample_rate, n_fft=cfg.n_fft, hop_length=cfg.hop, n_mels=cfg.n_mels,
            f_min=cfg.f_min, f_max=cfg.f_max, center=True, power=1.0,
        )  # fmt: skip

    def forward(self, wav: Tensor) -> Tensor:
        if wav.shape[-1] < self.cfg.hop:
            raise SpeechVAEError(f"audio of {wav.shape[-1]} samples is shorter than one frame ({self.cfg.hop})")
        # Reflection needs more samples than half a window.
        short = self.cfg.n_fft // 2 + 1 - wav.shape[-1]
        padded = nn.functional.pad(wav, (0, short)) if short > 0 else wav
        frames = wav.shape[-1] // self.cfg.hop
        return self.mel(padded)[..., :frames].clamp_min(self.cfg.floor).log()


def mel_filters(cfg: AudioConfig) -> Tensor:
    """The triangular HTK mel filters [n_fft // 2 + 1, M] of `LogMel`."""
    top = cfg.sample_rate / 2 if cfg.f_max is None else cfg.f_max
    return torchaudio.functional.melscale_fbanks(cfg.n_fft // 2 + 1, cfg.f_min, top, cfg.n_mels, cfg.sample_rate)


def mel_to_amplitude(mel: Tensor, inverse: Tensor, floor: float = 1e-5) -> Tensor:
    """Linear amplitude [B, F, T] from log-mel [B, M, T] by the pseudo-inverse [F, M] of the mel filters."""
    return (inverse @ mel.exp()).clamp_min(floor)


def griffin_lim(mel: Tensor, cfg: AudioConfig, iterations: int = 32) -> Tensor:
    """Fast Griffin-Lim (Perraudin et al., 2013) from log-mel [B, M, T] to wav [B, T * hop]. Needs no weights.

    The start phase is fixed, so the same mel gives the same samples.
    """
    frames = mel.shape[-1]
    # Reflection at the edges needs more samples than half a window: what is shorter is drawn out, then cut.
    short = max(0, cfg.n_fft // (2 * cfg.hop) + 1 - frames)
    mel = nn.functional.pad(mel, (0, short), mode="replicate")
    inverse = torch.linalg.pinv(mel_filters(cfg).T).to(mel)
    amplitude = mel_to_amplitude(nn.functional.pad(mel, (0, 1), mode="replicate"), inverse)
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    try:
        wav = torchaudio.functional.griffinlim(
            amplitude, torch.hann_window(cfg.n_fft, device=mel.device), cfg.n_fft, cfg.hop, cfg.n_fft,
            power=1.0, n_iter=iterations, momentum=0.99, length=mel.shape[-1] * cfg.hop, rand_init=True,
        )  # fmt: skip
    finally:
        torch.random.set_rng_state(state)
    return wav[..., : frames * cfg.hop]


def frame_energy(mel: Tensor) -> Tensor:
    """Energy [B, T]: natural log of the mel magnitudes' root sum of squares, from log-mel [B, M, T]."""
    return 0.5 * torch.logsumexp(2 * mel, dim=1)


F0_WINDOW = (0.62, 1.75)  # of a clip's median f0: what lies outside is looked at again


def track_f0(wav: np.ndarray, rate: int, hop: int, f_min: float = 65.0, f_max: float = 600.0) -> np.ndarray:
    """Fundamental frequency in Hz, 0 where unvoiced, one value a hop: float32 [len(wav) // hop].

    Probabilistic YIN (Mauch & Dixon, 2014) by librosa, on audio resampled to about 12 kHz and with a quarter of a
    semitone between its states: six times faster than at full rate, for speech pitch alike. Creaky voice leads it an
    octave astray; a clip with frames far from its median is tracked again within a narrower range (two passes, as in
    De Looze & Hirst, 2008).
    """
    frames = len(wav) // hop
    factor = max(1, round(rate / 12000))
    while hop % factor:
        factor -= 1
    low = resample(wav, rate, rate // factor) if factor > 1 else wav
    if frames == 0 or float(np.abs(low).max(initial=0.0)) < 1e-5:
        return np.zeros(frames, np.float32)
    f0 = _pyin(low, rate // factor, hop // factor, f_min, f_max)
    if (f0 > 0).any():
        middle = float(np.median(f0[f0 > 0]))
        floor, ceiling = max(f_min, F0_WINDOW[0] * middle), min(f_max, F0_WINDOW[1] * middle)
        astray = ((f0 > 0) & ((f0 < floor) | (f0 > ceiling))).sum()
        if astray > 0.01 * (f0 > 0).sum():
            f0 = _pyin(low, rate // factor, hop // factor, floor, ceiling)
    return np.pad(f0, (0, max(0, frames - len(f0))))[:frames]


def _pyin(wav: np.ndarray, rate: int, hop: int, f_min: float, f_max: float) -> np.ndarray:
    import librosa

    f0, voiced, _ = librosa.pyin(
        wav, fmin=f_min, fmax=f_max, sr=rate, frame_length=512 * rate // 12000 * 2, hop_length=hop, resolution=0.25,
        max_transition_rate=60, fill_na=0.0, n_thresholds=50,
    )  # fmt: skip
    f0 = np.where(voiced, f0, 0.0).astype(np.float32)
    # Periodic hum in pauses is not a voice: 45 dB under the clip's loud frames nothing counts.
    rms = librosa.feature.rms(y=wav, frame_length=2 * hop, hop_length=hop)[0][: len(f0)]
    f0[: len(rms)][rms < 10 ** (-45 / 20) * np.percentile(rms, 95)] = 0.0
    return f0
