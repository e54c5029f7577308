"""Building blocks on sequences laid out channels first, [B, C, T]."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def sequence_mask(lengths: Tensor, size: int | None = None) -> Tensor:
    """Bool mask [B, 1, T], True where t < length, from lengths [B]."""
    size = int(lengths.max()) if size is None else size
    return (torch.arange(size, device=lengths.device)[None] < lengths[:, None])[:, None]


class ConvNeXtBlock(nn.Module):
    """ConvNeXt (Liu et al., 2022) in one dimension: depth-wise convolution, then a pointwise bottleneck, residual.

    Dropout acts on the residual branch. Length is kept. Receptive field: `kernel` frames.
    """

    def __init__(self, dim: int, kernel: int = 7, mult: int = 3, dropout: float = 0.0, scale: float = 0.1) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, mult * dim)
        self.act = nn.GELU()
        self.reduce = nn.Linear(mult * dim, dim)
        self.gamma = nn.Parameter(torch.full((dim,), scale))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, C, T] and an optional mask [B, 1, T] → [B, C, T]; masked positions neither read nor written."""
        if mask is not None:
            x = x * mask
        y = self.norm(self.depthwise(x).transpose(1, 2))
        y = self.dropout(self.reduce(self.act(self.expand(y))) * self.gamma).transpose(1, 2)
        return x + y if mask is None else (x + y) * mask


class ConvNeXt(nn.Module):
    """An input projection, `layers` blocks, a norm and an output projection: [B, C_in, T] → [B, C_out, T]."""

    def __init__(
        self, dim_in: int, dim: int, dim_out: int, layers: int, kernel: int = 7, mult: int = 3, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.kernel, self.layers = kernel, layers
        self.proj_in = nn.Conv1d(dim_in, dim, kernel, padding=kernel // 2)
        self.norm_in = nn.LayerNorm(dim)
        self.blocks = nn.ModuleList(ConvNeXtBlock(dim, kernel, mult, dropout, 1 / layers) for _ in range(layers))
        self.norm_out = nn.LayerNorm(dim)
        self.proj_out = nn.Linear(dim, dim_out)

    @property
    def receptive_field(self) -> int:
        """Frames that one output frame sees."""
        return 1 + (self.layers + 1) * (self.kernel - 1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x if mask is None else x * mask
        x = self.norm_in(self.proj_in(x).transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            x = block(x, mask)
        x = self.proj_out(self.norm_out(x.transpose(1, 2))).transpose(1, 2)
        return x if mask is None else x * mask


def masked_average(h: Tensor, mask: Tensor) -> Tensor:
    """Mean [B, C] of h [B, C, N] over the True positions of mask [B, 1, N]."""
    return (h * mask).sum(2) / mask.sum(2).clamp_min(1)


def mlp(dim_in: int, hidden: int, dim_out: int) -> nn.Sequential:
    """Two linear layers with GELU between; the last starts near zero."""
    last = nn.Linear(hidden, dim_out)
    nn.init.normal_(last.weight, std=0.01)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(dim_in, hidden), nn.GELU(), last)
