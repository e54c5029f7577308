"""What a recording says about its reading: q(z_u | y) and q(z_p | y, h, w)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechvae.config import VAEConfig
from speechvae.nn.align import pool
from speechvae.nn.layers import ConvNeXt, masked_average, mlp

START_LOGS = -2.0  # log standard deviation of both posteriors before training
PROSODY = 4  # log duration, log f0, voicing, energy, a phoneme


class Posterior(nn.Module):
    """Mel frames pooled within each phoneme and over the utterance, beside the measured prosody of each phoneme."""

    def __init__(self, n_mels: int, cfg: VAEConfig) -> None:
        super().__init__()
        d = cfg.posterior_dim
        self.frames = ConvNeXt(n_mels, d, d, cfg.posterior_layers, 5, 2, cfg.dropout)
        self.symbols = ConvNeXt(d + PROSODY + cfg.hidden + cfg.speaker_dim, d, d, 2, 5, 2, cfg.dropout)
        self.utterance = mlp(2 * d + cfg.speaker_dim, d, 2 * cfg.z_u_dim)
        self.phoneme = nn.Conv1d(d + cfg.z_u_dim, 2 * cfg.z_p_dim, 1)
        self._start(d)

    @torch.no_grad()
    def _start(self, d: int) -> None:
        """First weights with which latents tell something of the recording.

        Latents that start as noise are ignored before they can become of use: pitch survives that, being the largest
        factor, but durations are then not found in 600 steps of the toy recipe. Hence small deviations, and more
        weight on the inputs of durations and energy, which differ less between readings of a text than f0 does.
        """
        columns = self.symbols.proj_in.weight[:, d : d + PROSODY]
        columns *= columns.new_tensor([5.0, 1.0, 1.0, 3.0])[:, None]
        last = self.utterance[-1]
        assert isinstance(last, nn.Linear)
        for layer in (self.phoneme, last):
            assert layer.bias is not None
            nn.init.normal_(layer.weight, std=0.1)
            nn.init.zeros_(layer.bias)
            layer.bias[len(layer.bias) // 2 :] = START_LOGS

    def forward(
        self, y: Tensor, y_mask: Tensor, path: Tensor, prosody: Tensor, h: Tensor, x_mask: Tensor, g: Tensor
    ) -> tuple[Tensor, Tensor]:
        """y [B, M, T], path [B, N, T], prosody [B, 4, N], h [B, H, N], g [B, G, 1].

        Returns the stats of z_u [B, 2 Du] and features [B, D, N] for `phoneme_stats`.
        """
        # Centre and scale: log-mels of levelled speech lie between -16 and 2.
        frames = self.frames((y + 5.0) / 3.0, y_mask)
        inputs = [pool(frames, path), prosody, h, g.expand(-1, -1, h.shape[2])]
        symbols = self.symbols(torch.cat(inputs, 1), x_mask)
        # The spread over phonemes beside the mean: range and liveliness are utterance properties too.
        mean = masked_average(symbols, x_mask)
        spread = masked_average((symbols - mean[..., None]).square(), x_mask).add(1e-5).sqrt()
        return self.utterance(torch.cat([mean, spread, g[..., 0]], 1)), symbols

    def phoneme_stats(self, symbols: Tensor, z_u: Tensor, x_mask: Tensor) -> Tensor:
        """Features [B, D, N] and z_u [B, Du] → stats of z_p [B, 2 Dp, N]."""
        z = z_u[..., None].expand(-1, -1, symbols.shape[2])
        return self.phoneme(torch.cat([symbols, z], 1)) * x_mask
