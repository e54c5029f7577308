"""The best chain of candidate sentences from one sentence to another."""

from __future__ import annotations

import torch
from torch import Tensor

REPEAT = 0.5  # what repeating a sentence costs: half the way between the ends
TOLERANCE = 1e-6


def lean(found: Tensor, ends: Tensor) -> Tensor:
    """How much more vectors [K, D] are like the first of two ends [2, D] than like the second: cosines, [K]."""
    like = torch.nn.functional.normalize(found, dim=1) @ torch.nn.functional.normalize(ends, dim=1).T
    return like[:, 0] - like[:, 1]


def best_path(gaps: Tensor, leans: Tensor) -> list[int]:
    """Which candidate to take at each of T steps.

    `gaps` [T, K]: how far candidate k is from where step t should be; 1 is the way between the ends. `leans` [J, K]: by
    each of J judges, how much more a candidate is like the beginning than like the end; the first candidate is the
    beginning itself, the last one the end. Of all chains that no judge sees turn back, the one with the least sum of
    gaps (Viterbi's algorithm); a candidate may stand for several steps, at the price of `REPEAT` each.
    """
    ahead = (leans[:, :, None] >= leans[:, None, :] - TOLERANCE).all(0)  # [K, K]: the second may follow the first
    inside = ahead[0] & ahead[:, -1]
    step = torch.where(ahead, 0.0, torch.inf) + REPEAT * torch.eye(gaps.shape[1])
    cost = gaps[0] + step[0]
    back = []
    for gap in gaps[1:]:
        best, source = (cost[:, None] + step).min(0)
        back.append(source)
        cost = best + gap
    # The end may be reached early, and the beginning left late: they repeat themselves then, too.
    cost = torch.where(inside, cost + step[:, -1], torch.inf)
    path = [int(cost.argmin())]
    for source in reversed(back):
        path.append(int(source[path[-1]]))
    return path[::-1]
