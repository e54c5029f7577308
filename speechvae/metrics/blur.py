"""Is synthesis blurred? Its long-term spectrum and the liveliness of its log-mels, for comparison with recordings.

A decoder trained on absolute errors says the average of what could be said: high bands lose energy, and neighbouring
frames and bands become alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from speechvae.metrics._common import mono
from speechvae.metrics.signal import level_to
from speechvae.metrics.spectral import log_mel

EDGES = (0, 1000, 4000, 8000, 12000)  # Hz, of the bands whose level is compared
LEVELS = tuple(f"level_{a // 1000}_{b // 1000}" for a, b in zip(EDGES, EDGES[1:], strict=False))
VARIATIONS = ("mel_std", "mel_step", "mel_ripple")
ACTIVE = 40.0  # dB under the loudest frame: what is softer is not speech
POINTS = 64  # of the long-term spectrum, evenly spaced on the mel scale
N_FFT, HOP = 1024, 240
DB = 20 / np.log(10)


def spectrum_frequencies() -> np.ndarray:
    """Centres in Hz of the 64 points of a long-term spectrum."""
    import librosa

    return np.asarray(librosa.mel_frequencies(POINTS + 2, fmin=0, fmax=EDGES[-1])[1:-1])


def sharpness(wav: Any, rate: int, f0: np.ndarray) -> dict[str, Any]:
    """Figures of one clip [T], brought to -23 dBFS.

    `level_0_1` … `level_8_12`: power of its active frames in these kHz, dB; `spectrum`: the same at 64 points (dB a
    point); and the :func:`variation` of its log-mels where `f0` (Hz every 10 ms, 0 = unvoiced) is voiced.
    """
    import librosa

    samples = level_to(mono(wav, rate), rate)
    power = np.square(np.abs(librosa.stft(samples, n_fft=N_FFT, hop_length=max(1, round(rate * HOP / 24000)))))
    total = power.sum(0)
    mean = power[:, total > total.max() * 10 ** (-ACTIVE / 10)].mean(1)
    frequencies = np.fft.rfftfreq(N_FFT, 1 / rate)
    bands = [mean[(frequencies >= a) & (frequencies < b)].sum() for a, b in zip(EDGES, EDGES[1:], strict=False)]
    scale = 10 / np.log(10)
    # as a share of full scale: Parseval's sum over a Hann window
    norm = 2 / (N_FFT * np.square(np.hanning(N_FFT)).sum())
    found: dict[str, Any] = {n: float(scale * np.log(b * norm + 1e-12)) for n, b in zip(LEVELS, bands, strict=True)}
    filters = librosa.filters.mel(sr=rate, n_fft=N_FFT, n_mels=POINTS, fmin=0, fmax=min(EDGES[-1], rate / 2), norm=1)
    found["spectrum"] = [round(float(v), 2) for v in scale * np.log(filters @ mean * norm + 1e-12)]
    logs = log_mel(samples, rate)
    length = min(logs.shape[1], len(f0))
    return found | variation(logs[:, :length], np.asarray(f0)[:length] > 0)


def variation(logs: np.ndarray, use: np.ndarray) -> dict[str, float]:
    """How much log-mels [M, F] vary in the frames `use` [F], in dB.

    `mel_std`: standard deviation over time, mean over bands; `mel_step`: root mean square of the differences between
    neighbouring frames; `mel_ripple`: of the second differences between neighbouring bands. nan under 3 frames.
    """
    if use.sum() < 3:
        return dict.fromkeys(VARIATIONS, float("nan"))
    pairs = use[1:] & use[:-1]
    steps = np.diff(logs, axis=1)[:, pairs]
    ripples = np.diff(logs[:, use], n=2, axis=0)
    return {
        "mel_std": float(DB * logs[:, use].std(1).mean()),
        "mel_step": float(DB * np.sqrt(np.mean(np.square(steps)))) if pairs.any() else float("nan"),
        "mel_ripple": float(DB * np.sqrt(np.mean(np.square(ripples)))),
    }


def against(figures: Mapping[str, float], recording: Mapping[str, float]) -> dict[str, float]:
    """A system's mean figures beside the recordings': levels as differences in dB, variations as ratios (1 = alike)."""
    found = {n: figures[n] - recording[n] for n in LEVELS if n in figures and n in recording}
    return found | {n: figures[n] / recording[n] for n in VARIATIONS if n in figures and recording.get(n)}
