"""New sound in the place of old: where to cut, how to line the waves up, how to pass from one to the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FADE = 0.025  # s
SEARCH = 0.05  # s, how far outside the replaced sounds a cut may lie to find a softer place
LAG = 0.004  # s, how far the new sound is moved to meet the old one's phase; half a period of 125 Hz


@dataclass(frozen=True)
class Cut:
    """`first`..`last` - 1 of the old samples give way to `new` [K] or [K, C]; both its ends are cross-faded already."""

    first: int
    last: int
    new: np.ndarray


def splice(
    old: np.ndarray, new: np.ndarray, rate: int, left: tuple[int, int], right: tuple[int, int], free: int = 0
) -> Cut:
    """Put new samples [K] into old ones, [S] or [S, C].

    `left`, `right`: samples of old and new that belong together, at the start and at the end of what changes; around
    them both say the same. `free`: the cut starts no earlier than this sample of old.
    """
    mono = old if old.ndim == 1 else old.mean(axis=1)
    fade = min(round(FADE * rate), max(1, (right[1] - left[1]) // 2))
    first, shift = _place(mono, new, rate, left, -round(SEARCH * rate), 0, fade, max(free, 0))
    begin = first - left[0] + left[1] + shift
    last, shift = _place(mono, new, rate, right, -fade, round(SEARCH * rate) - fade, fade, first + fade)
    stop = last + fade - right[0] + right[1] + shift
    last += fade
    middle = new[max(0, begin) : max(0, stop)].astype(old.dtype)
    if old.ndim == 2:
        middle = np.repeat(middle[:, None], old.shape[1], axis=1)
    n = min(fade, len(middle) // 2, last - first)
    middle[:n] = _fade(old[first : first + n], middle[:n])
    middle[len(middle) - n :] = _fade(middle[len(middle) - n :], old[last - n : last])
    return Cut(first, last, middle)


def _place(
    old: np.ndarray, new: np.ndarray, rate: int, anchor: tuple[int, int], low: int, high: int, fade: int, free: int
) -> tuple[int, int]:
    """Where a cross-fade of `fade` samples best begins in old, between anchor + low and anchor + high; and new's lag.

    The softest place first: there nothing is heard; then the lag at which the waves agree most.
    """
    step = max(1, round(0.002 * rate))
    offset = anchor[1] - anchor[0]
    ends = (max(free, -offset), min(len(old), len(new) - offset) - fade)  # both sounds must be there
    places = np.arange(anchor[0] + low, anchor[0] + high + 1, step).clip(ends[0], max(ends))
    stretches = ((old[p : p + fade], new[p + offset : p + offset + fade]) for p in places)
    power = [float(np.square(a).mean() + np.square(b).mean()) for a, b in stretches]
    at = int(places[int(np.argmin(power))])
    lags = np.arange(-round(LAG * rate), round(LAG * rate) + 1)
    lags = lags[(at + offset + lags >= 0) & (at + offset + lags + fade <= len(new))]
    if len(lags) == 0:
        return at, 0
    return at, int(lags[int(np.argmax([agreement(old[at : at + fade], new[at + offset + k :][:fade]) for k in lags]))])


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Normalised correlation of two stretches [n], -1..1; 0 for silence."""
    size = float(np.sqrt(np.square(a).sum() * np.square(b).sum()))
    return float((a * b).sum()) / size if size > 1e-9 else 0.0


def _fade(out: np.ndarray, into: np.ndarray) -> np.ndarray:
    """A cross-fade [n] or [n, C] of constant power, whether the two agree or not."""
    n = len(out)
    ramp = (np.arange(n) + 0.5) / max(1, n)
    rho = max(0.0, agreement(out.ravel(), into.ravel()))
    size = np.sqrt(ramp**2 + (1 - ramp) ** 2 + 2 * rho * ramp * (1 - ramp))
    up, down = ramp / size, (1 - ramp) / size
    if out.ndim == 2:
        up, down = up[:, None], down[:, None]
    return (out * down + into * up).astype(out.dtype)
