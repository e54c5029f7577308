"""Distances between spectra: mel-cepstral distortion along a time alignment, multi-resolution STFT distance."""

from __future__ import annotations

from typing import Any

import numpy as np

from speechvae.errors import SpeechVAEError
from speechvae.metrics._common import at_rate, mono
from speechvae.metrics.signal import level_to

RATE, N_FFT, HOP, BANDS, ORDER = 24000, 1024, 240, 80, 24
FLOOR = 1e-5  # of the band amplitudes, -100 dBFS


def mel_cepstra(wav: Any, rate: int, order: int = ORDER) -> np.ndarray:
    """Mel-cepstra c_1 … c_order every 10 ms, float64 [F, order]; c_0 (the level) is left out.

    From :func:`log_mel` L_k: c_m = 2/80 Σ_k L_k cos(π m (k + ½) / 80), so that L_k = c_0/2 + Σ_m c_m cos(…): the
    scaling of mel-generalised cepstra, with which the usual factor gives decibels.
    """
    from scipy.fft import dct

    cepstra = dct(log_mel(wav, rate), type=2, axis=0, norm=None)[1 : order + 1] / BANDS
    return np.ascontiguousarray(cepstra.T, dtype=np.float64)


def log_mel(wav: Any, rate: int) -> np.ndarray:
    """Natural logs of 80 mel bands every 10 ms, [80, F], of any clip at any rate.

    At 24 kHz (resampled) Hann windows of 1,024 samples every 240 → amplitudes of Slaney mel bands from 0 to 12 kHz,
    each the band's weighted mean, floored at 1e-5.
    """
    import librosa

    samples = at_rate(mono(wav, rate), rate, RATE)
    spectrum = np.abs(librosa.stft(samples, n_fft=N_FFT, hop_length=HOP, pad_mode="constant"))
    filters = librosa.filters.mel(sr=RATE, n_fft=N_FFT, n_mels=BANDS, norm=1)
    return np.log(np.maximum(filters @ spectrum * (2 / N_FFT), FLOOR))


def dtw_path(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cheapest monotonic path between features [Fa, D] and [Fb, D]: int [P, 2], Euclidean, from both starts."""
    import librosa

    if len(a) == 0 or len(b) == 0:
        raise SpeechVAEError("an alignment needs at least one frame on each side")
    _, path = librosa.sequence.dtw(a.T, b.T, metric="euclidean")
    return np.ascontiguousarray(path[::-1])


def distortion(a: np.ndarray, b: np.ndarray, path: np.ndarray | None = None) -> float:
    """Mel-cepstral distortion in dB between cepstra [Fa, D] and [Fb, D] along `path` [P, 2] (default: frame by frame).

    Mean over the path of 10/ln 10 · sqrt(2 Σ_m (a_m - b_m)²) (Kubichek, 1993): the root mean square difference of
    the two smoothed log spectra.
    """
    if path is None:
        if len(a) != len(b):
            raise SpeechVAEError(f"{len(a)} and {len(b)} frames cannot be compared one by one; give a path")
        path = np.repeat(np.arange(len(a))[:, None], 2, axis=1)
    gaps = a[path[:, 0]] - b[path[:, 1]]
    return float(10 / np.log(10) * np.mean(np.sqrt(2 * np.square(gaps).sum(1))))


def mel_cepstral_distortion(reference: Any, other: Any, rate: int, other_rate: int | None = None) -> float:
    """MCD in dB of two readings of a sentence, at -23 dBFS, after dynamic time warping; 0 for identical clips.

    Trim both first: silence against silence is an easy match and lowers the figure.
    """
    rates = (rate, rate if other_rate is None else other_rate)
    a, b = (mel_cepstra(level_to(mono(w, r), r), r) for w, r in zip((reference, other), rates, strict=True))
    return distortion(a, b, dtw_path(a, b))


# Parallel WaveGAN (Yamamoto et al., 2020): FFT size, hop, window
RESOLUTIONS = ((512, 50, 240), (1024, 120, 600), (2048, 240, 1200))


def stft_distance(reference: Any, other: Any, rate: int) -> dict[str, float]:
    """Multi-resolution STFT distance of time-aligned clips at one rate, both brought to -23 dBFS.

    `convergence`: Frobenius norm of the magnitudes' difference over that of the reference; `log_magnitude`: mean
    absolute difference of natural-log magnitudes; each the mean over three resolutions.
    """
    import librosa

    ref, out = mono(reference, rate, "the reference"), mono(other, rate, "the other clip")
    if abs(len(ref) - len(out)) > 0.05 * rate:
        raise SpeechVAEError(f"clips of {len(ref) / rate:.2f} s and {len(out) / rate:.2f} s are not time-aligned")
    length = min(len(ref), len(out))
    ref, out = level_to(ref[:length], rate), level_to(out[:length], rate)
    convergence, logs = [], []
    for size, hop, window in RESOLUTIONS:
        a, b = (
            np.maximum(np.abs(librosa.stft(x, n_fft=size, hop_length=hop, win_length=window)), 1e-4)
            for x in (ref, out)
        )
        convergence.append(np.linalg.norm(a - b) / np.linalg.norm(a))
        logs.append(np.mean(np.abs(np.log(a) - np.log(b))))
    return {"convergence": float(np.mean(convergence)), "log_magnitude": float(np.mean(logs))}
