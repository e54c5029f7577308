"""The best chain of candidate sentences from one sentence to another."""

from __future__ import annotations

import torch
from torch import Tensor

REPEAT = 0.5  # what repeating a sentence costs: half the way between the ends
TOLERANCE = 1e-6


def likeness(found: Tensor, ends: Tensor) -> Tensor:
    """Cosines [2, K] of vectors [K, D] and two ends [2, D]."""
    return torch.nn.functional.normalize(ends, dim=1) @ torch.nn.functional.normalize(found, dim=1).T


def lean(found: Tensor, ends: Tensor) -> Tensor:
    """How much more vectors [K, D] are like the first of two ends [2, D] than like the second: [K], in cosines."""
    to_first, to_last = likeness(found, ends)
    return to_first - to_last


def best_path(gaps: Tensor, leans: Tensor) -> list[int]:
    """Which candidate to take at each of T steps.

    `gaps` [T, K]: how far candidate k is from where step t should be; 1 is the way between the ends. `leans` [J, K]: by
    each of J judges, how near a candidate is to the beginning (or how far from the end); the first candidate is the
    beginning itself, the last one the end. Of all chains that no judge sees turn back, the one with the least sum of
    gaps (Viterbi's algorithm); a candidate may stand for several steps, at the price of `REPEAT` each.
    """
    ahead = (leans[:, :, None] >= leans[:, None, :] - TOLERANCE).all(0)  # [K, K]: the second may follow the first
    step = torch.where(ahead, 0.0, torch.inf) + REPEAT * torch.eye(gaps.shape[1])
    cost = gaps[0] + step[0]
    back = []
    for gap in gaps[1:]:
        best, source = (cost[:, None] + step).min(0)
        back.append(source)
        cost = best + gap
    # The end may be reached early, and the beginning left late: they repeat themselves then, too.
    path = [int((cost + step[:, -1]).argmin())]
    for source in reversed(back):
        path.append(int(source[path[-1]]))
    return path[::-1]
