"""Critics for adversarial training of the vocoder and of the mel decoder. Used in training only; never shipped.

Multi-period critic: HiFi-GAN (Kong et al. 2020, arXiv 2010.05646). Multi-resolution spectrogram critic: UnivNet
(Jang et al. 2021, arXiv 2106.07889). Both are small here, so that they can be trained on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class _Stack(nn.Module):
    """Weight-normed 2-D convolutions; returns the score map and every layer's features."""

    def __init__(self, layers: list[nn.Conv2d], score: nn.Conv2d) -> None:
        super().__init__()
        for conv in (*layers, score):
            # PyTorch's own start shrinks the signal layer by layer: the deeper critics then learn nothing for
            # thousands of steps.
            nn.init.kaiming_normal_(conv.weight, a=0.1)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
        self.layers = nn.ModuleList(weight_norm(c) for c in layers)
        self.score = weight_norm(score)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        features = []
        for layer in self.layers:
            x = nn.functional.leaky_relu(layer(x), 0.1)
            features.append(x)
        return self.score(x), features


class PeriodCritic(_Stack):
    """Looks at every `period`-th sample of wav [B, S]."""

    def __init__(self, period: int, channels: int) -> None:
        c = channels
        sizes = [(1, c), (c, 2 * c), (2 * c, 4 * c), (4 * c, 4 * c)]
        convs = [nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0)) for a, b in sizes]
        super().__init__(convs, nn.Conv2d(4 * c, 1, (3, 1), padding=(1, 0)))
        self.period = period

    def forward(self, wav: Tensor) -> tuple[Tensor, list[Tensor]]:
        wav = nn.functional.pad(wav, (0, -wav.shape[-1] % self.period))
        return super().forward(wav.view(wav.shape[0], 1, -1, self.period))


class SpectrogramCritic(_Stack):
    """Looks at the magnitude spectrogram of wav [B, S] at one resolution."""

    window: Tensor

    def __init__(self, n_fft: int, channels: int) -> None:
        c = channels
        convs = [nn.Conv2d(1, c, (7, 5), (2, 1), (3, 2))]
        convs += [nn.Conv2d(c, c, (5, 3), (2, s), (2, 1)) for s in (1, 2, 2)]
        super().__init__(convs, nn.Conv2d(c, 1, 3, padding=1))
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def forward(self, wav: Tensor) -> tuple[Tensor, list[Tensor]]:
        spec = torch.stft(wav, self.n_fft, self.n_fft // 4, window=self.window, return_complex=True)
        # A compressed magnitude: soft and loud parts weigh alike, and the gradient at zero stays finite.
        magnitude = torch.view_as_real(spec).square().sum(-1).add(1e-7).pow(0.15)
        return super().forward(magnitude[:, None])


class Critics(nn.Module):
    """All critics on wav [B, S]: a list of (score map, features)."""

    def __init__(
        self, channels: int = 16, periods: Sequence[int] = (2, 3, 5, 7, 11), sizes: Sequence[int] = (512, 1024, 2048)
    ) -> None:
        super().__init__()
        critics: list[nn.Module] = [PeriodCritic(p, channels) for p in periods]
        self.critics = nn.ModuleList(critics + [SpectrogramCritic(n, channels) for n in sizes])

    def forward(self, wav: Tensor) -> list[tuple[Tensor, list[Tensor]]]:
        # Narrow convolutions are slower in bf16 on a CPU (measured: 0.15 s against 0.09 s a step), and no better.
        with torch.autocast(wav.device.type, enabled=wav.is_cuda and torch.is_autocast_enabled("cuda")):
            return [critic(wav) for critic in self.critics]


class MelCritic(_Stack):
    """Looks at patches of a log-mel spectrogram [B, M, T]: against the blur of an L1 loss."""

    def __init__(self, channels: int = 24) -> None:
        c = channels
        sizes = [(1, c, (2, 1)), (c, 2 * c, (2, 2)), (2 * c, 2 * c, (2, 2)), (2 * c, 2 * c, (2, 1))]
        convs = [nn.Conv2d(a, b, 5 if a == 1 else 3, s, 2 if a == 1 else 1) for a, b, s in sizes]
        super().__init__(convs, nn.Conv2d(2 * c, 1, 3, padding=1))

    def forward(self, mel: Tensor) -> tuple[Tensor, list[Tensor]]:
        # Centre and scale: log-mels of levelled speech lie between -16 and 2.
        return super().forward(((mel + 5.0) / 3.0)[:, None])
