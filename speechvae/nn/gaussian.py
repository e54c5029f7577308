"""Diagonal Gaussians by mean m and log standard deviation logs; every rate in nats."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)
# Standard deviations outside e^-6 .. e^3 are never needed; the clamp keeps a bad start from overflowing.
LOGS_RANGE = (-6.0, 3.0)


def split_stats(stats: Tensor) -> tuple[Tensor, Tensor]:
    """Stats [B, 2D, ...] → m and logs [B, D, ...], logs clamped."""
    m, logs = stats.float().chunk(2, dim=1)
    return m, logs.clamp(*LOGS_RANGE)


def noise(like: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal values times `temperature`, shaped like a tensor; temperature 0 draws nothing."""
    if temperature == 0:
        return torch.zeros_like(like)
    drawn = torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)
    return drawn * temperature


def sample(m: Tensor, logs: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """A reparametrised draw; `temperature` multiplies the standard deviation. Temperature 0 gives the mean."""
    return m + noise(m, temperature, generator) * logs.exp()


def kl(m_q: Tensor, logs_q: Tensor, m_p: Tensor, logs_p: Tensor) -> Tensor:
    """KL(q || p) in nats, element by element."""
    return logs_p - logs_q - 0.5 + 0.5 * ((2 * logs_q).exp() + (m_q - m_p).square()) * (-2 * logs_p).exp()


def log_prob(z: Tensor, m: Tensor, logs: Tensor) -> Tensor:
    """Log density in nats, element by element."""
    return -0.5 * LOG_2PI - logs - 0.5 * (z - m).square() * (-2 * logs).exp()


def entropy(logs: Tensor) -> Tensor:
    """Differential entropy in nats, element by element."""
    return logs + 0.5 * (LOG_2PI + 1)
