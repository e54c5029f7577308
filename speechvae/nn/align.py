"""Hard monotonic alignments: Viterbi search, durations and expansion to frames."""

from __future__ import annotations

import torch
import torchaudio
from torch import Tensor

from speechvae.errors import SpeechVAEError


def viterbi_durations(log_probs: Tensor, x: Tensor) -> tuple[Tensor, float]:
    """Durations [N] in frames (each at least 1, their sum T) of symbols x [N] under log_probs [T, V], blank = 0.

    `torchaudio.functional.forced_align` finds the best path. Blanks between two symbols are shared out half and half.
    Also returns the mean log probability of the path a frame.
    """
    frames, n = log_probs.shape[0], len(x)
    needed = n + int((x[1:] == x[:-1]).sum())
    if frames < needed:
        raise SpeechVAEError(f"{frames} frames are too few for {n} symbols")
    emission = log_probs.detach().float().cpu()
    path, scores = torchaudio.functional.forced_align(emission[None], x[None].to(torch.int32).cpu(), blank=0)
    path = path[0]
    previous = torch.cat([path.new_zeros(1), path[:-1]])
    following = torch.cat([path[1:], path.new_zeros(1)])
    starts = ((path != 0) & (path != previous)).nonzero()[:, 0]
    ends = ((path != 0) & (path != following)).nonzero()[:, 0] + 1
    borders = torch.cat([starts.new_zeros(1), (ends[:-1] + starts[1:] + 1) // 2, starts.new_tensor([frames])])
    return borders.diff(), float(scores.mean())


def durations_to_path(w: Tensor, frames: int) -> Tensor:
    """Hard alignment [B, N, T] of 0 and 1 from durations [B, N] in whole frames."""
    ends = w.cumsum(1)
    t = torch.arange(frames, device=w.device)[None, None]
    return ((t < ends[..., None]) & (t >= (ends - w)[..., None])).float()


def expand(h: Tensor, path: Tensor) -> Tensor:
    """Repeat [B, C, N] along a path [B, N, T] → [B, C, T]."""
    return h @ path


def pool(y: Tensor, path: Tensor) -> Tensor:
    """Mean of frames [B, C, T] within each symbol of a path [B, N, T] → [B, C, N]."""
    return (y @ path.transpose(1, 2)) / path.sum(2).clamp_min(1.0)[:, None]
