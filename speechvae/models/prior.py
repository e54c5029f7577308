"""What a reading may be, given text and speaker: p(z_u | text, speaker) and p(z_p | h, z_u, speaker)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechvae.config import VAEConfig
from speechvae.nn import gaussian
from speechvae.nn.flow import Flow
from speechvae.nn.layers import ConvNeXt, masked_average, mlp

INPAINT_ROUNDS = 3  # kept and redrawn phonemes agree after two; the third costs a millisecond


@dataclass
class PhonemePrior:
    """p(z_p | h, z_u, speaker) of one batch: a Gaussian seen through a flow over the phoneme sequence.

    Every z_p [B, Dp, N] has a noise e [B, Dp, N] that is standard normal under the prior, and the other way round.
    """

    m: Tensor  # [B, Dp, N], of the base variables
    logs: Tensor
    x_mask: Tensor  # [B, 1, N]
    condition: Tensor  # [B, C, N]
    flow: Flow | None

    def latents(self, noise: Tensor) -> Tensor:
        """Noise [B, Dp, N] → z_p [B, Dp, N]. All zeros give the most expected reading."""
        base = (self.m + noise * self.logs.exp()) * self.x_mask
        return base if self.flow is None else self.flow.inverse(base, self.condition, self.x_mask)

    def noise(self, z_p: Tensor) -> Tensor:
        """z_p [B, Dp, N] → its noise: how far, in standard deviations, each phoneme departs from the expected."""
        base = z_p if self.flow is None else self.flow(z_p, self.condition, self.x_mask)[0]
        return (base - self.m) * (-self.logs).exp() * self.x_mask

    def log_prob(self, z_p: Tensor) -> Tensor:
        """Log density in nats a phoneme, [B, N]; their sum is the density of the whole sequence."""
        base, logdet = (z_p, 0.0) if self.flow is None else self.flow(z_p, self.condition, self.x_mask)
        return (gaussian.log_prob(base, self.m, self.logs) * self.x_mask).sum(1) + logdet

    def sample(self, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """A draw of z_p; `temperature` multiplies the noise."""
        return self.latents(gaussian.noise(self.m, temperature, generator))

    def inpaint(
        self, z_p: Tensor, redraw: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw z_p anew where `redraw` [B, 1, N] is True, in keeping with the rest, which stays as it is."""
        fresh = gaussian.noise(self.m, temperature, generator)
        z = torch.where(redraw, self.latents(torch.zeros_like(fresh)), z_p)
        for _ in range(INPAINT_ROUNDS):
            z = torch.where(redraw, self.latents(torch.where(redraw, fresh, self.noise(z))), z_p)
        return z


class Prior(nn.Module):
    """A conditional Gaussian for z_u; for z_p one over the phoneme sequence, seen through a conditional flow.

    A few thousand sentences are few enough to be learned by heart, which makes a prior too sure of itself on new ones.
    Dropout of the text helps against it; the scales, which `calibrate` sets from held-out recordings, undo the rest.
    """

    log_scale_u: Tensor
    log_scale_p: Tensor

    def __init__(self, cfg: VAEConfig) -> None:
        super().__init__()
        self.dropout = nn.Dropout(cfg.prior_dropout)
        self.register_buffer("log_scale_u", torch.zeros(cfg.z_u_dim))
        self.register_buffer("log_scale_p", torch.zeros(cfg.z_p_dim))
        self.utterance = mlp(cfg.hidden + cfg.speaker_dim, cfg.hidden, 2 * cfg.z_u_dim)
        dim_in = cfg.hidden + cfg.z_u_dim + cfg.speaker_dim
        self.phoneme = ConvNeXt(dim_in, cfg.hidden, 2 * cfg.z_p_dim, cfg.prior_layers, 5, 2, cfg.dropout)
        self.join = nn.Conv1d(dim_in, cfg.flow_dim, 1) if cfg.flow_layers else None
        self.flow = (
            Flow(cfg.z_p_dim, cfg.flow_dim, cfg.flow_dim, cfg.flow_layers, dropout=cfg.dropout)
            if cfg.flow_layers
            else None
        )

    def forward_u(self, h: Tensor, x_mask: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """h [B, H, N], g [B, G, 1] → m and logs of z_u, each [B, Du]."""
        text = self.dropout(masked_average(h, x_mask))
        m, logs = gaussian.split_stats(self.utterance(torch.cat([text, g[..., 0]], 1)))
        return m, logs + self.log_scale_u

    def forward_p(self, h: Tensor, x_mask: Tensor, z_u: Tensor, g: Tensor) -> PhonemePrior:
        """h [B, H, N], z_u [B, Du], g [B, G, 1] → p(z_p)."""
        n = h.shape[2]
        condition = torch.cat([self.dropout(h), z_u[..., None].expand(-1, -1, n), g.expand(-1, -1, n)], 1)
        m, logs = gaussian.split_stats(self.phoneme(condition, x_mask))
        joined = condition if self.join is None else self.join(condition)
        return PhonemePrior(m, logs + self.log_scale_p[:, None], x_mask, joined, self.flow)

    @torch.no_grad()
    def calibrate(self, noise_u: Tensor, noise_p: Tensor) -> None:
        """Scale the priors so that the noise of held-out posterior draws, [K, Du] and [K, Dp], gets unit variance."""
        for scale, noise in ((self.log_scale_u, noise_u), (self.log_scale_p, noise_p)):
            scale.add_(0.5 * noise.square().mean(0).clamp_min(1e-6).log())
