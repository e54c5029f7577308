"""Is a recording fit to learn from? Where its speech begins and ends, how loud it is, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

FRAME = 0.01  # s, the step of the level measurement
VERSION = 1  # to be raised whenever `measure` gives other figures: measurements are kept between runs


@dataclass(frozen=True)
class Limits:
    """What is refused. Times in seconds, levels in dBFS, rates in Hz."""

    min_rate: int = 16000
    min_seconds: float = 0.3
    max_seconds: float = 20.0
    margin: float = 0.12  # kept on both sides of the speech
    silent: float = -60.0  # the loudest 0.15 s stay below this: nothing was said
    min_contrast: float = 6.0  # dB between loud and soft frames; speech has 30 and more, steady noise 2
    max_clipped: float = 0.001  # share of samples at full scale
    max_rate_z: float = 5.0  # robust z-score of the log speech rate within a speaker
    rate_range: tuple[float, float] = (1.5, 35.0)  # symbols or characters a second, for any speaker


@dataclass(frozen=True)
class Measure:
    """What one pass over the samples tells. Times in seconds, levels in dBFS."""

    rate: int
    duration: float  # of the file
    start: float = 0.0  # of the part to keep: the speech and a margin
    end: float = 0.0
    speech: float = 0.0  # sounding, without pauses
    level: float = -120.0  # root mean square of the active frames
    peak: float = 0.0  # of the part to keep, linear
    reason: str = ""  # why it is refused; empty: it is fit
    detail: str = ""


def frame_levels(wav: np.ndarray, rate: int) -> np.ndarray:
    """Level in dBFS of each 10 ms of wav [T], smoothed over 30 ms: [T / (rate / 100)]; -120 is digital silence.

    What lies below 90 Hz is left out: the rumble of rooms and traffic can be louder than a soft consonant.
    """
    from scipy.signal import butter, sosfilt

    wav = sosfilt(butter(4, 90, "highpass", fs=rate, output="sos"), wav)
    size = max(1, round(rate * FRAME))
    count = len(wav) // size
    power = np.square(wav[: count * size].reshape(count, size)).mean(1)
    if count >= 3:
        power = np.convolve(np.pad(power, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    return 10 * np.log10(power + 1e-12)


def loud_and_floor(levels: np.ndarray) -> tuple[float, float]:
    """The level that the loudest 0.15 s exceed (no click does), and that of the softest twentieth, in dBFS."""
    ordered = np.sort(levels)
    loudest = min(round(0.15 / FRAME), len(ordered) // 4)
    return float(ordered[-1 - loudest]), float(ordered[len(ordered) // 20])


def active_frames(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which frames [F] are loud enough for speech, and the same with gaps of up to 0.12 s filled (two masks).

    The threshold lies 10 dB above the noise floor (the softest twentieth) or 38 dB below the loud frames, whichever
    is higher, but never less than 18 dB below the loud frames: in a clip cut without any silence the softest frames
    are speech, too. Sounds under 60 ms that stand alone (clicks, lips) are no speech. Both masks may be empty.
    """
    loud, floor = loud_and_floor(levels)
    threshold = min(max(floor + 10, loud - 38), loud - 18)
    above = levels > threshold
    runs = _runs(above)
    joined: list[list[int]] = []
    for first, last in runs:
        if joined and first - joined[-1][1] <= 12:
            joined[-1][1] = last
        else:
            joined.append([first, last])
    filled = np.zeros(len(levels), bool)
    for first, last in joined:
        if last - first >= 6:
            filled[first:last] = True
    return filled & above, filled


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def measure(wav: np.ndarray, rate: int, limits: Limits | None = None) -> Measure:
    """Examine samples [T] in [-1, 1] at `rate` Hz; the first thing that is wrong becomes the `reason`."""
    limits = Limits() if limits is None else limits
    duration = len(wav) / rate if rate > 0 else 0.0

    def refuse(reason: str, detail: str) -> Measure:
        return Measure(rate, duration, reason=reason, detail=detail)

    if rate < limits.min_rate:
        return refuse("sample rate too low", f"{rate} Hz, needs {limits.min_rate} Hz")
    if duration < limits.min_seconds:
        return refuse("too short", f"{duration:.2f} s, needs {limits.min_seconds} s")
    if not np.isfinite(wav).all():
        return refuse("broken samples", "not-a-number or infinite samples")
    levels = frame_levels(wav, rate)
    loud, floor = loud_and_floor(levels)
    if loud < limits.silent:
        return refuse("silent", f"loudest level {loud:.0f} dBFS")
    active, filled = active_frames(levels)
    if loud - floor < limits.min_contrast or not active.any():
        return refuse("no speech found", f"level varies by {loud - floor:.0f} dB only")
    first, last = np.flatnonzero(active)[[0, -1]]
    start = max(0.0, first * FRAME - limits.margin)
    end = min(duration, (last + 1) * FRAME + limits.margin)
    if end - start < limits.min_seconds:
        return refuse("too short", f"{end - start:.2f} s of speech, needs {limits.min_seconds} s")
    if end - start > limits.max_seconds:
        return refuse("too long", f"{end - start:.1f} s of speech, at most {limits.max_seconds} s; cut it")
    kept = np.abs(wav[round(start * rate) : round(end * rate)])
    clipped = float((kept >= 0.985).mean())
    if clipped > limits.max_clipped:
        return refuse("clipped", f"{100 * clipped:.2f} % of the samples at full scale")
    level = 10 * np.log10(np.mean(10 ** (levels[active] / 10)))
    return Measure(rate, round(duration, 6), round(start, 6), round(end, 6), round(int(filled.sum()) * FRAME, 4),
                   round(float(level), 2), round(float(kept.max()), 4))


def speaker_gain(levels: Sequence[float], peaks: Sequence[float], target: float = -23.0, top: float = 0.97) -> float:
    """The linear gain that brings a speaker's median speech level (dBFS) to `target`.

    It is limited so that the 99.9th percentile of the clips' peaks (linear) stays below `top`.
    """
    gain = 10 ** ((target - float(np.median(levels))) / 20)
    return round(min(gain, top / max(1e-4, float(np.percentile(peaks, 99.9)))), 4)


def clip_gain(
    speaker: float, level: float, middle: float, peak: float, kept: float = 1 / 3, top: float = 0.97
) -> float:
    """The linear gain of one clip: its speaker's, with the clip brought nearer to the speaker's median level `middle`.

    How loud a clip is tells more of the microphone's distance that day than of the reading, so only the share `kept`
    (0..1) of its distance (dB) from the median stays. `level` and `middle` in dBFS; `peak` is linear, and the gain is
    limited so that it stays below `top`.
    """
    gain = speaker * 10 ** ((1 - kept) * (middle - level) / 20)
    return round(min(gain, top / max(1e-4, peak)), 4)


def rate_outliers(
    units: Mapping[str, float], seconds: Mapping[str, float], limits: Limits | None = None
) -> dict[str, str]:
    """The ids of one speaker whose text hardly belongs to the sound, with the figures.

    `units`: symbols (or characters) by id, `seconds`: duration of the sounding parts, so that pauses do not count.
    The logarithm of their ratio is held against the speaker's median by a z-score from the median absolute
    deviation; texts of under 20 units get room for their greater spread. With fewer than ten clips only the range
    that no speaker leaves is tested.
    """
    limits = Limits() if limits is None else limits
    rates = {name: units[name] / max(seconds[name], FRAME) for name in units}
    low, high = limits.rate_range
    found = {n: f"{r:.1f} a second" for n, r in rates.items() if not low <= r <= high}
    if len(rates) < 10:
        return found
    logs = np.log(np.array(list(rates.values())).clip(1e-3))
    middle = np.median(logs)
    # the floor keeps a very even reader from being refused for a slow sentence
    spread = max(0.08, 1.4826 * float(np.median(np.abs(logs - middle))))
    for (name, rate), value in zip(rates.items(), logs, strict=True):
        room = max(1.0, np.sqrt(20 / max(units[name], 1)))
        z = float(value - middle) / (spread * room)
        if abs(z) > limits.max_rate_z:
            found.setdefault(name, f"{rate:.1f} a second, usual {np.exp(middle):.1f} (z = {z:+.1f})")
    return found
