"""What a reading may be, given text and speaker: p(z_u | text, speaker) and p(z_p | h, z_u, speaker)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechvae.config import VAEConfig
from speechvae.nn.layers import ConvNeXt, masked_average, mlp


class Prior(nn.Module):
    """p(z_u | text, speaker) and p(z_p | h, z_u, speaker): conditional Gaussians."""

    def __init__(self, cfg: VAEConfig) -> None:
        super().__init__()
        self.utterance = mlp(cfg.hidden + cfg.speaker_dim, cfg.hidden, 2 * cfg.z_u_dim)
        dim_in = cfg.hidden + cfg.z_u_dim + cfg.speaker_dim
        self.phoneme = ConvNeXt(dim_in, cfg.hidden, 2 * cfg.z_p_dim, cfg.prior_layers, 5, 2, cfg.dropout)

    def forward_u(self, h: Tensor, x_mask: Tensor, g: Tensor) -> Tensor:
        """h [B, H, N], g [B, G, 1] → stats [B, 2 Du]."""
        return self.utterance(torch.cat([masked_average(h, x_mask), g[..., 0]], 1))

    def forward_p(self, h: Tensor, x_mask: Tensor, z_u: Tensor, g: Tensor) -> Tensor:
        """h [B, H, N], z_u [B, Du], g [B, G, 1] → stats [B, 2 Dp, N]."""
        n = h.shape[2]
        condition = torch.cat([h, z_u[..., None].expand(-1, -1, n), g.expand(-1, -1, n)], 1)
        return self.phoneme(condition, x_mask)
