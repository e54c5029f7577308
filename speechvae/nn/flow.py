"""A normalizing flow over sequences: affine couplings whose networks see a condition and the neighbours."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from speechvae.nn.layers import ConvNeXt

LARGEST_LOG_SCALE = 2.0  # a coupling may stretch or shrink by e^2 at most: sampling stays stable


class Coupling(nn.Module):
    """One half of the channels moves and scales the other half (Dinh et al. 2017, arXiv 1605.08803).

    It starts as the identity, so a flow can be added to a trained Gaussian prior without a jolt.
    """

    def __init__(self, channels: int, condition: int, hidden: int, layers: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.kept = channels - channels // 2
        moved = channels // 2
        self.net = ConvNeXt(self.kept + condition, hidden, 2 * moved, layers, kernel, 2, dropout)
        nn.init.zeros_(self.net.proj_out.weight)
        nn.init.zeros_(self.net.proj_out.bias)

    def shift_and_scale(self, kept: Tensor, condition: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self.net(torch.cat([kept, condition], 1), mask).float().chunk(2, 1)
        return shift, LARGEST_LOG_SCALE * torch.tanh(log_scale / LARGEST_LOG_SCALE)

    def forward(self, z: Tensor, condition: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """z [B, D, N] → [B, D, N] and the log determinant a position, [B, N]."""
        kept, moved = z[:, : self.kept], z[:, self.kept :]
        shift, log_scale = self.shift_and_scale(kept, condition, mask)
        return torch.cat([kept, (moved * log_scale.exp() + shift) * mask], 1), (log_scale * mask).sum(1)

    def inverse(self, z: Tensor, condition: Tensor, mask: Tensor) -> Tensor:
        kept, moved = z[:, : self.kept], z[:, self.kept :]
        shift, log_scale = self.shift_and_scale(kept, condition, mask)
        return torch.cat([kept, (moved - shift) * (-log_scale).exp() * mask], 1)


class Flow(nn.Module):
    """`layers` couplings with the channels reversed between them: latents [B, D, N] ⇄ base variables [B, D, N]."""

    def __init__(
        self, channels: int, condition: int, hidden: int, layers: int, depth: int = 2, kernel: int = 5,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.couplings = nn.ModuleList(
            Coupling(channels, condition, hidden, depth, kernel, dropout) for _ in range(layers)
        )

    def forward(self, z: Tensor, condition: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Latents → base variables, and the log determinant a position, [B, N]."""
        total = z.new_zeros(z.shape[0], z.shape[2])
        for coupling in self.couplings:
            z, logdet = coupling(z.flip(1), condition, mask)
            total = total + logdet
        return z, total

    def inverse(self, e: Tensor, condition: Tensor, mask: Tensor) -> Tensor:
        """Base variables → latents."""
        for coupling in reversed(list(self.couplings)):
            e = cast(Coupling, coupling).inverse(e, condition, mask).flip(1)
        return e
