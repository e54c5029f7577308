"""Training losses. Every rate is in nats; every function returns a scalar unless it says otherwise."""

from __future__ import annotations

import torch
from torch import Tensor, nn

CriticOutput = list[tuple[Tensor, list[Tensor]]]


class MultiResolutionSTFT(nn.Module):
    """Spectral convergence and log-magnitude L1 at several resolutions (Yamamoto et al. 2020, arXiv 1910.11480)."""

    def __init__(self, sizes: tuple[int, ...] = (512, 1024, 2048)) -> None:
        super().__init__()
        self.sizes = sizes
        for n in sizes:
            self.register_buffer(f"window_{n}", torch.hann_window(n), persistent=False)

    def magnitude(self, wav: Tensor, n: int) -> Tensor:
        spec = torch.stft(wav, n, n // 4, window=getattr(self, f"window_{n}"), return_complex=True)
        return torch.view_as_real(spec).square().sum(-1).clamp_min(1e-9).sqrt()

    def forward(self, wav: Tensor, target: Tensor) -> Tensor:
        """wav and target [B, S] → mean over resolutions of both terms."""
        total = wav.new_zeros(())
        for n in self.sizes:
            with torch.no_grad():
                real = self.magnitude(target, n)
            fake = self.magnitude(wav, n)
            convergence = (real - fake).norm(dim=(1, 2)) / real.norm(dim=(1, 2)).clamp_min(1e-3)
            # Below -80 dB the ear hears nothing; without this floor, silence would rule the logarithm.
            log_l1 = (real.clamp_min(1e-3).log() - fake.clamp_min(1e-3).log()).abs().mean()
            total = total + convergence.mean() + log_l1
        return total / len(self.sizes)


def critic_loss(real: CriticOutput, fake: CriticOutput) -> Tensor:
    """Hinge loss of the critics, mean over critics; at most 2 for critics that cannot tell."""
    terms = [(1 - r).relu().mean() + (1 + f).relu().mean() for (r, _), (f, _) in zip(real, fake, strict=True)]
    return torch.stack(terms).mean()


def adversarial_loss(fake: CriticOutput) -> Tensor:
    """Hinge loss of the generator, mean over critics."""
    return torch.stack([(1 - f).relu().mean() for f, _ in fake]).mean()


def feature_matching_loss(real: CriticOutput, fake: CriticOutput) -> Tensor:
    """L1 between the critics' features relative to their size, mean over layers and critics."""
    terms = [
        (a.detach() - b).abs().mean() / a.detach().abs().mean().clamp_min(1e-4)
        for (_, fa), (_, fb) in zip(real, fake, strict=True)
        for a, b in zip(fa, fb, strict=True)
    ]
    return torch.stack(terms).mean()


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of x over the True positions of mask; both broadcast."""
    mask = mask.expand_as(x)
    return (x * mask).sum() / mask.sum().clamp_min(1)
