"""Is a copy as periodic, and as bright, as its recording? For time-aligned clips (copy-synthesis).

The voicing F1 and the periodicity error are built as in the evaluations of CARGAN (Morrison et al., 2022) and Vocos
(Siuzdak, 2023). There the periodicity comes from a neural pitch tracker (torchcrepe); here it is Praat's normalised
autocorrelation (Boersma, 1993), which needs no model. So the absolute values are not those of published tables: compare
systems measured here with each other only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from speechvae.errors import SpeechVAEError
from speechvae.metrics._common import mono, require
from speechvae.metrics.prosody import STEP, f0_track
from speechvae.metrics.spectral import stft_distance

__all__ = [
    "band_levels", "copy_figures", "ltas_difference", "periodicity", "periodicity_error", "power_spectrum",
    "stft_distance", "third_octaves", "voicing_f1",
]  # fmt: skip

LOWEST = 75.0  # Hz of f0
SILENCE = 0.03  # of the clip's peak: softer frames count as not periodic
SPECTRUM_FFT = 8192


def periodicity(wav: Any, rate: int, step: float = STEP) -> np.ndarray:
    """Periodicity every `step` s from time 0, 0 (noise, silence) to 1 (exactly periodic), float64 [F].

    The height of the normalised autocorrelation's peak, from Praat's harmonics-to-noise ratio. Needs parselmouth.
    """
    parselmouth = require("parselmouth", "The periodicity")
    samples = mono(wav, rate)
    frames = int(len(samples) / rate / step + 1e-9) + 1
    # Praat's window of 4.5 periods must fit
    if len(samples) / rate < 4.6 / LOWEST or not np.any(samples):
        return np.zeros(frames)
    sound = parselmouth.Sound(samples.astype(np.float64), rate)
    found = sound.to_harmonicity_ac(step, LOWEST, SILENCE, 4.5)
    ratio = 10 ** (np.asarray(found.values[0]) / 10)  # -200 dB where silent
    centres, values = found.xs(), ratio / (1 + ratio)
    return np.interp(np.arange(frames) * step, centres, values, left=0.0, right=0.0)


def periodicity_error(reference: np.ndarray, other: np.ndarray) -> float:
    """Root mean square difference of two periodicity tracks, 0 to 1."""
    n = _common_length(reference, other)
    return float(np.sqrt(np.mean(np.square(reference[:n] - other[:n]))))


def voicing_f1(reference: np.ndarray, other: np.ndarray) -> float:
    """F1 of "voiced" in f0 tracks (Hz, 0 = unvoiced), the reference being the truth; nan if neither is ever voiced."""
    n = _common_length(reference, other)
    truth, found = np.asarray(reference[:n]) > 0, np.asarray(other[:n]) > 0
    total = int(truth.sum() + found.sum())
    return 2 * int((truth & found).sum()) / total if total else float("nan")


def _common_length(a: np.ndarray, b: np.ndarray) -> int:
    if abs(len(a) - len(b)) > 5:
        raise SpeechVAEError(f"tracks of {len(a)} and {len(b)} frames are not of time-aligned clips")
    return min(len(a), len(b))


def copy_figures(reference: Any, other: Any, rate: int) -> dict[str, float]:
    """`vuv_f1`, `periodicity_error`, `stft_convergence` and `stft_log_magnitude` of a copy of `reference`.

    Both [T] at `rate` Hz and time-aligned.
    """
    stft = stft_distance(reference, other, rate)
    return {
        "vuv_f1": voicing_f1(f0_track(reference, rate), f0_track(other, rate)),
        "periodicity_error": periodicity_error(periodicity(reference, rate), periodicity(other, rate)),
        "stft_convergence": stft["convergence"],
        "stft_log_magnitude": stft["log_magnitude"],
    }


def third_octaves(low: float = 100.0, high: float = 10000.0) -> np.ndarray:
    """Exact centres in Hz of the third-octave bands named 100 Hz, 125 Hz, … 10 kHz: 1000 · 2^(k/3)."""
    first, last = round(3 * np.log2(low / 1000)), round(3 * np.log2(high / 1000))
    return np.asarray(1000 * 2 ** (np.arange(first, last + 1) / 3))


def power_spectrum(clips: Sequence[Any], rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz and mean power density of clips [T] at one rate, longer ones counting more; levels are kept."""
    from scipy.signal import welch

    if not clips:
        raise SpeechVAEError("no clips to take a spectrum of")
    total, samples, frequencies = np.zeros(0), 0, np.zeros(0)
    for clip in clips:
        wav = mono(clip, rate)
        padded = np.pad(wav, (0, max(0, SPECTRUM_FFT - len(wav))))
        frequencies, power = welch(padded, rate, "hann", SPECTRUM_FFT, detrend=False)
        total = power * len(padded) + (total if samples else 0)
        samples += len(padded)
    return frequencies, total / samples


def band_levels(frequencies: np.ndarray, power: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Levels in dB of third-octave bands around `centres` [K], from a power density; -200 at least."""
    edge = 2 ** (1 / 6)
    parts = [power[(frequencies >= c / edge) & (frequencies < c * edge)].sum() for c in centres]
    return 10 * np.log10(np.array(parts) * (frequencies[1] - frequencies[0]) + 1e-20)


def ltas_difference(
    references: Sequence[Any], others: Sequence[Any], rate: int, low: float = 100.0, high: float = 10000.0
) -> tuple[np.ndarray, np.ndarray]:
    """Third-octave centres [K] in Hz, and the copies' long-term average levels less the recordings', [K] in dB.

    All clips [T] at one rate; the levels are not made equal first.
    """
    if high * 2 ** (1 / 6) > rate / 2:
        raise SpeechVAEError(f"a band at {high:.0f} Hz does not fit below half of {rate} Hz: choose a lower `high`")
    centres = third_octaves(low, high)
    sides = [band_levels(*power_spectrum(clips, rate), centres) for clips in (references, others)]
    return centres, sides[1] - sides[0]
