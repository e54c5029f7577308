"""Level, clipping, clicks and silence: what can be wrong with a waveform whatever it says.

Where speech begins and ends and how loud it is are judged as for the training data (:mod:`speechvae.validation`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from speechvae.metrics._common import SPEECH_LEVEL, mono
from speechvae.validation import FRAME, active_frames, frame_levels

CLIP = 0.999  # of full scale
CLICK = 0.01  # a jump of -40 dBFS from or to silence is heard
NOTHING = -90.0  # dBFS: below half a step of 16 bits


def _levels(wav: np.ndarray, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Levels in dBFS of the 10 ms frames, and which are speech; clips under three frames count as padded."""
    short = 3 * round(rate * FRAME) - len(wav)
    levels = frame_levels(np.pad(wav, (0, short)) if short > 0 else wav, rate)
    active = active_frames(levels)[0] & (levels > NOTHING)
    # too short or too steady to tell apart from noise, but a sound
    return levels, active if active.any() else levels > max(NOTHING, float(levels.max()) - 20)


def active_level(wav: np.ndarray, rate: int) -> float:
    """Level of the speech without its pauses, in dBFS (root mean square; 0 = full-scale square wave).

    -inf for silence.
    """
    levels, active = _levels(mono(wav, rate), rate)
    return float(10 * np.log10(np.mean(10 ** (levels[active] / 10)))) if active.any() else float("-inf")


def level_to(wav: np.ndarray, rate: int, level: float = SPEECH_LEVEL, peak: float = 0.99) -> np.ndarray:
    """`wav` [T] scaled to an active level of `level` dBFS, or as near as a peak of `peak` allows; silence stays."""
    now = active_level(wav, rate)
    if not np.isfinite(now):
        return wav
    gain = min(10 ** ((level - now) / 20), peak / max(float(np.abs(wav).max()), 1e-9))
    return (wav * gain).astype(np.float32)


def clipped_share(wav: np.ndarray) -> float:
    """Share of samples at full scale (0 to 1)."""
    return float(np.mean(np.abs(wav) >= CLIP)) if len(wav) else 0.0


def edge_jump(wav: np.ndarray) -> float:
    """The larger sample jump at the ends, from silence to the first and from the last sample (0 to 1).

    Above :data:`CLICK` it is heard as a click.
    """
    return float(max(abs(float(wav[0])), abs(float(wav[-1])))) if len(wav) else 0.0


def edge_silence(wav: np.ndarray, rate: int) -> tuple[float, float]:
    """Seconds of silence (or mere background) before and after the speech, to 10 ms.

    Of a clip without any sound all is "before".
    """
    samples = mono(wav, rate)
    duration = len(samples) / rate
    where = np.flatnonzero(_levels(samples, rate)[1])
    if len(where) == 0:
        return duration, 0.0
    return float(where[0] * FRAME), max(0.0, float(duration - (where[-1] + 1) * FRAME))


def trim(wav: np.ndarray, rate: int, keep: float = 0.12) -> np.ndarray:
    """`wav` without the silence at its ends but `keep` seconds of it, as training does; a silent clip stays."""
    before, after = edge_silence(wav, rate)
    if before >= len(wav) / rate:
        return wav
    start = max(0, round((before - keep) * rate))
    end = len(wav) - max(0, round((after - keep) * rate))
    return wav[start:end]


def frame_rms(wav: np.ndarray, rate: int) -> np.ndarray:
    """Root mean square of each 10 ms of `wav`, smoothed over 30 ms, without what lies below 90 Hz: [F]."""
    return np.asarray(10 ** (_levels(wav, rate)[0] / 20))


def signal_checks(wav: np.ndarray, rate: int) -> dict[str, float]:
    """`duration` s, `level` dBFS, `peak`, `clipped` share, `edge_jump`, `silence_start` and `silence_end` s."""
    samples = mono(wav, rate)
    start, end = edge_silence(samples, rate)
    return {
        "duration": len(samples) / rate,
        "level": active_level(samples, rate),
        "peak": float(np.abs(samples).max()),
        "clipped": clipped_share(samples),
        "edge_jump": edge_jump(samples),
        "silence_start": start,
        "silence_end": end,
    }


def speech_shaped_noise(recordings: Sequence[np.ndarray], rate: int, seconds: float, seed: int = 0) -> np.ndarray:
    """Steady noise with the long-term spectrum of speech, which masks all of it alike: float32 [S], -23 dBFS."""
    from scipy.ndimage import uniform_filter1d

    size = round(seconds * rate)
    power = np.zeros(size // 2 + 1)
    for wav in recordings:
        power += np.abs(np.fft.rfft(wav[:size], size)) ** 2
    # Smoothed over 100 Hz, so that no voice's harmonics remain.
    power = uniform_filter1d(power, max(round(100 * seconds), 1), mode="nearest")
    phases = np.exp(2j * np.pi * np.random.default_rng(seed).random(len(power)))
    return level_to(np.fft.irfft(np.sqrt(power) * phases, size), rate, peak=np.inf)


def in_noise(wav: np.ndarray, rate: int, noise: np.ndarray, snr: float, start: int = 0) -> np.ndarray:
    """`wav` [T], its speech brought to -23 dBFS, in `noise` [S] of that level turned down by `snr` dB.

    The noise is repeated, from sample `start` on. The sum may exceed full scale.
    """
    speech = level_to(mono(wav, rate), rate, peak=np.inf)
    return np.asarray(speech + np.resize(np.roll(noise, -start), len(wav)) * 10 ** (-snr / 20), np.float32)
