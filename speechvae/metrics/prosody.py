"""Fundamental frequency, duration and energy: errors against a reading, and how much readings differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from speechvae.errors import SpeechVAEError
from speechvae.metrics._common import mono
from speechvae.metrics.signal import edge_silence, frame_rms

STEP = 0.010  # s, the same as that of the mel-cepstra, so that one path serves both
SPREADS = ("log_f0_mean", "log_f0_std", "log_duration", "log_rms", "energy_std")


def f0_track(wav: Any, rate: int, step: float = STEP, low: float = 65.0, high: float = 600.0) -> np.ndarray:
    """Fundamental frequency in Hz every `step` s from time 0, float64 [F], F = floor(T / step) + 1; 0 = unvoiced.

    Praat's autocorrelation method (Boersma, 1993) where parselmouth is installed (extra ``evaluate``), else
    ``speechvae.audio.track_f0``. In two passes (De Looze & Hirst, 2008): the second looks between 0.62 and 1.75 times
    the median of the first, since creaky voice and octave errors count as a wide range otherwise.
    """
    from speechvae.audio import F0_WINDOW

    samples = mono(wav, rate)
    frames = int(len(samples) / rate / step + 1e-9) + 1
    try:
        import parselmouth
    except ImportError:
        return _f0_builtin(samples, rate, frames, step, low, high)
    # Praat's window of three periods must fit
    if len(samples) / rate < 3.1 / low or not np.any(samples):
        return np.zeros(frames)
    sound = parselmouth.Sound(samples.astype(np.float64), rate)
    first = sound.to_pitch_ac(time_step=step, pitch_floor=low, pitch_ceiling=high)
    hz = first.selected_array["frequency"]
    if not (hz > 0).any():
        return np.zeros(frames)
    middle = float(np.median(hz[hz > 0]))
    floor, ceiling = max(low, F0_WINDOW[0] * middle), min(high, F0_WINDOW[1] * middle)
    pitch = sound.to_pitch_ac(time_step=step, pitch_floor=floor, pitch_ceiling=ceiling)
    return _nearest(np.arange(frames) * step, pitch.xs(), pitch.selected_array["frequency"], step)


def f0_tracker() -> str:
    """Which tracker :func:`f0_track` uses here: `praat` or `pyin`. Their figures differ a little."""
    try:
        import parselmouth  # noqa: F401
    except ImportError:
        return "pyin"
    return "praat"


def _nearest(times: np.ndarray, centres: np.ndarray, values: np.ndarray, step: float) -> np.ndarray:
    """The value of the centre nearest to each time, 0 where none is within a step."""
    if len(centres) == 0:
        return np.zeros(len(times))
    index = np.clip(np.round((times - centres[0]) / step).astype(int), 0, len(centres) - 1)
    return np.where(np.abs(centres[index] - times) <= step, values[index], 0.0)


def _f0_builtin(
    wav: np.ndarray, rate: int, frames: int, step: float, low: float, high: float
) -> np.ndarray:
    from speechvae.audio import track_f0

    hop = max(1, round(step * rate))
    track = np.asarray(track_f0(wav, rate, hop, low, high), np.float64)
    return np.pad(track, (0, max(0, frames - len(track))))[:frames]


def f0_errors(reference: np.ndarray, other: np.ndarray, path: np.ndarray | None = None) -> dict[str, float]:
    """Differences of two f0 tracks in Hz (0 = unvoiced) along a DTW path [P, 2], or frame by frame.

    `log_f0_rmse`: root mean square difference of natural logs where both are voiced; `f0_rmse_semitones`: the same
    in semitones; `f0_correlation`: Pearson, of the logs there; `vuv_error`: share of frames voiced in one only.
    nan where fewer than two frames are voiced in both (or a track does not move, for the correlation).
    """
    if path is not None:
        inside = (path[:, 0] < len(reference)) & (path[:, 1] < len(other))
        reference, other = reference[path[inside, 0]], other[path[inside, 1]]
    elif abs(len(reference) - len(other)) > 2:
        raise SpeechVAEError(f"tracks of {len(reference)} and {len(other)} frames: give the path that aligns them")
    length = min(len(reference), len(other))
    reference, other = np.asarray(reference[:length], float), np.asarray(other[:length], float)
    both = (reference > 0) & (other > 0)
    found = {"vuv_error": float(np.mean((reference > 0) != (other > 0))) if length else float("nan")}
    if both.sum() < 2:
        nan = float("nan")
        return {"log_f0_rmse": nan, "f0_rmse_semitones": nan, "f0_correlation": nan, **found}
    a, b = np.log(reference[both]), np.log(other[both])
    rmse = float(np.sqrt(np.mean(np.square(a - b))))
    moves = a.std() > 1e-6 and b.std() > 1e-6
    correlation = float(np.corrcoef(a, b)[0, 1]) if moves else float("nan")
    return {"log_f0_rmse": rmse, "f0_rmse_semitones": rmse * 12 / np.log(2), "f0_correlation": correlation, **found}


def spoken_duration(wav: Any, rate: int) -> float:
    """Seconds from the first to the last sound, without the silence at the ends."""
    samples = mono(wav, rate)
    before, after = edge_silence(samples, rate)
    return max(0.0, len(samples) / rate - before - after)


def duration_error(reference: float, other: float) -> dict[str, float]:
    """Of two spoken durations in s: `duration_ratio` other / reference (> 1 = slower), `duration_error` |ratio - 1|."""
    if reference <= 0:
        return {"duration_ratio": float("nan"), "duration_error": float("nan")}
    return {"duration_ratio": other / reference, "duration_error": abs(other / reference - 1)}


def reading_statistics(wav: Any, rate: int, f0: np.ndarray | None = None) -> dict[str, float]:
    """What makes one reading differ from another, as a few numbers (natural logs).

    `log_f0_mean`, `log_f0_std` over voiced frames (nan if under 5), `log_duration` of the spoken part, `log_rms`
    of its level, `energy_std`: standard deviation of log energy over its frames within 40 dB of the loudest.
    """
    samples = mono(wav, rate)
    track = f0_track(samples, rate) if f0 is None else np.asarray(f0)
    voiced = np.log(track[track > 0])
    before, after = edge_silence(samples, rate)
    spoken = samples[round(before * rate) : max(round(before * rate) + 1, len(samples) - round(after * rate))]
    rms = frame_rms(spoken, rate)
    loud = rms[rms > rms.max() * 0.01]
    nan, few = float("nan"), len(voiced) < 5
    return {
        "log_f0_mean": nan if few else float(voiced.mean()),
        "log_f0_std": nan if few else float(voiced.std()),
        "log_duration": float(np.log(max(len(spoken) / rate, 1e-3))),
        "log_rms": float(np.log(np.sqrt(np.mean(np.square(spoken, dtype=np.float64))) + 1e-9)),
        "energy_std": float(np.log(loud).std()) if len(loud) else nan,
    }


def spread(groups: Iterable[Sequence[float] | np.ndarray]) -> float:
    """Root mean square over the groups of each group's standard deviation (n - 1); nan without a pair.

    Groups are the readings of one prompt; values that are nan, and groups under two values, do not count.
    """
    return _mean(_variances(groups)) ** 0.5


def diversity(
    human: Mapping[str, Sequence[Mapping[str, float]]],
    samples: Mapping[str, Sequence[Mapping[str, float]]],
    draws: int = 1000,
) -> dict[str, dict[str, float]]:
    """Spread of samples against that of human readings: per statistic `human`, `samples` and their `ratio` (1 = human).

    Both map a prompt id to the :func:`reading_statistics` of its readings. Only prompts with several human
    readings and several samples count. Variances are those of samples (n - 1), so that two or three takes of a prompt
    tell the same as sixteen, on average. `low` and `high`: 95 % interval of the ratio over the choice of prompts
    (bootstrap with `draws` draws; nan under 3 prompts).
    """
    shared = [p for p in human if len(human[p]) > 1 and len(samples.get(p, ())) > 1]
    if not shared:
        raise SpeechVAEError(
            "diversity needs prompts with several recordings and several samples, and there are none. "
            "Ask for at least 2 takes, of a corpus whose ids are PROMPT_TAKE."
        )
    names = [n for n in SPREADS if n in human[shared[0]][0]]
    names += [n for n in human[shared[0]][0] if n not in names]
    result = {}
    for name in names:
        a, b = (
            _variances([[r.get(name, float("nan")) for r in source[p]] for p in shared]) for source in (human, samples)
        )
        result[name] = beside(_mean(a) ** 0.5, _mean(b) ** 0.5) | _interval(a, b, draws)
    return result


def _variances(groups: Iterable[Sequence[float] | np.ndarray]) -> np.ndarray:
    """The variance (n - 1) of each group's finite values, nan under two."""
    finite = [np.asarray([v for v in group if np.isfinite(v)], float) for group in groups]
    return np.asarray([v.var(ddof=1) if len(v) > 1 else np.nan for v in finite])


def _mean(values: np.ndarray) -> float:
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else float("nan")


def beside(human: float, samples: float) -> dict[str, float]:
    """`human`, `samples` and their `ratio`."""
    ratio = samples / human if human > 0 else float("nan")
    return {"human": float(human), "samples": float(samples), "ratio": float(ratio)}


def _interval(human: np.ndarray, samples: np.ndarray, draws: int) -> dict[str, float]:
    """2.5 and 97.5 % points of the ratio of root mean variances when prompts are drawn anew."""
    both = np.isfinite(human) & np.isfinite(samples)
    if both.sum() < 3 or not human[both].any():
        return {"low": float("nan"), "high": float("nan")}
    picks = np.random.default_rng(0).integers(0, both.sum(), (draws, int(both.sum())))
    a, b = human[both][picks].mean(1), samples[both][picks].mean(1)
    low, high = np.percentile(np.sqrt(b[a > 0] / a[a > 0]), [2.5, 97.5])
    return {"low": float(low), "high": float(high)}


def pairwise_distances(groups: Iterable[Sequence[tuple[np.ndarray, np.ndarray]]]) -> dict[str, float]:
    """Mean over prompts of the mean distance between their readings, each (mel-cepstra [F, D], f0 [F] in Hz).

    Frames are matched by the DTW path of the cepstra; both lie on one time grid. `pairwise_mcd`: mel-cepstral
    distortion, dB; `pairwise_f0`: root mean square difference in semitones where both are voiced; `pairwise_f0_shape`:
    the same after the mean difference is taken off.
    """
    from speechvae.metrics.spectral import distortion, dtw_path

    found: dict[str, list[list[float]]] = {"pairwise_mcd": [], "pairwise_f0": [], "pairwise_f0_shape": []}
    for group in groups:
        pairs = [(a, b, dtw_path(a[0], b[0])) for a, b in combinations(group, 2)]
        gaps = [g for g in (_f0_gaps(a[1], b[1], path) for a, b, path in pairs) if len(g) > 1]
        found["pairwise_mcd"].append([distortion(a[0], b[0], path) for a, b, path in pairs])
        found["pairwise_f0"].append([float(np.sqrt(np.mean(np.square(g)))) for g in gaps])
        found["pairwise_f0_shape"].append([float(g.std()) for g in gaps])
    return {name: _mean_of_pairs(values) for name, values in found.items()}


def _f0_gaps(a: np.ndarray, b: np.ndarray, path: np.ndarray) -> np.ndarray:
    """Differences in semitones of f0 tracks along a path, where both are voiced."""
    inside = path[(path[:, 0] < len(a)) & (path[:, 1] < len(b))]
    x, y = a[inside[:, 0]], b[inside[:, 1]]
    both = (x > 0) & (y > 0)
    return 12 * np.log2(x[both] / y[both])


def _mean_of_pairs(groups: Iterable[Sequence[float]]) -> float:
    means = [float(np.mean(pairs)) for pairs in groups if len(pairs)]
    return float(np.mean(means)) if means else float("nan")
