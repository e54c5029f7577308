"""What one training step sees."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass
class Batch:
    """Names and shapes as everywhere in the package; fields that a stage does not use are None."""

    ids: list[str]
    speaker: Tensor  # [B]
    x: Tensor | None = None  # [B, N] symbol or token ids, 0 = padding
    x_lengths: Tensor | None = None  # [B]
    context: Tensor | None = None  # [B, C] token ids of what was said before, 0 = padding
    y: Tensor | None = None  # [B, M, T] log-mel
    y_lengths: Tensor | None = None  # [B]
    w: Tensor | None = None  # [B, N] durations in frames
    f0: Tensor | None = None  # [B, T] Hz, 0 = unvoiced
    wav: Tensor | None = None  # [B, S]
    sentence: Tensor | None = None  # [B, E] embeddings of the texts

    def to(self, device: torch.device | str) -> Batch:
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), Tensor)}
        return replace(self, **{k: v.to(device, non_blocking=True) for k, v in tensors.items()})
