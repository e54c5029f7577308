"""Fourier-head vocoder: log-mel [B, M, T] → wav [B, T * hop], through one inverse STFT.

The network runs at frame rate and predicts magnitude and phase (Vocos, Siuzdak 2023, arXiv 2306.00814). The log of the
pseudo-inverse-mel amplitude is added to the predicted log amplitude (FreeV, Lv et al. 2024, arXiv 2406.08196), so the
network learns a correction of it and the phase.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from speechvae.audio import mel_filters, mel_to_amplitude
from speechvae.config import AudioConfig, VocoderConfig
from speechvae.nn.layers import ConvNeXt


class Vocoder(nn.Module):
    """A ConvNeXt stack and a Fourier head. One output sample sees `receptive_field` mel frames."""

    window: Tensor
    inverse_filters: Tensor

    def __init__(self, audio: AudioConfig, cfg: VocoderConfig) -> None:
        super().__init__()
        self.audio, self.cfg = audio, cfg
        bins = audio.n_fft // 2 + 1
        self.net = ConvNeXt(audio.n_mels, cfg.dim, 3 * bins, cfg.layers, mult=cfg.mult)
        nn.init.normal_(self.net.proj_out.weight, std=0.02)
        nn.init.zeros_(self.net.proj_out.bias)
        self.register_buffer("window", torch.hann_window(audio.n_fft), persistent=False)
        self.register_buffer("inverse_filters", torch.linalg.pinv(mel_filters(audio).T), persistent=False)

    @property
    def receptive_field(self) -> int:
        """Mel frames that influence one sample: the network's, and those whose windows overlap."""
        return self.net.receptive_field + self.audio.n_fft // self.audio.hop

    def spectrum(self, mel: Tensor) -> Tensor:
        """Complex STFT [B, n_fft // 2 + 1, T] from log-mel [B, M, T]."""
        log_amplitude, real, imag = self.net(mel).chunk(3, dim=1)
        if self.cfg.amplitude_prior:
            log_amplitude = log_amplitude + mel_to_amplitude(mel, self.inverse_filters).log()
        # A ceiling keeps unheard-of mels from exploding: e^6 is above any full-scale frame of n_fft samples.
        amplitude = log_amplitude.float().clamp(max=6.0).exp()
        # The phase is the direction of a predicted vector: no wrapping, and a gradient everywhere but at zero.
        real, imag = real.float(), imag.float()
        norm = (real.square() + imag.square() + 1e-8).rsqrt()
        return torch.complex(amplitude * real * norm, amplitude * imag * norm)

    def from_frames(self, mel: Tensor) -> Tensor:
        """Centred frames [B, M, T + 1] → wav [B, T * hop]: training segments know the frame after their end."""
        n_fft, hop = self.audio.n_fft, self.audio.hop
        length = (mel.shape[-1] - 1) * hop
        return torch.istft(self.spectrum(mel), n_fft, hop, n_fft, self.window, center=True, length=length)

    def forward(self, mel: Tensor, framed: bool = False) -> Tensor:
        """Log-mel [B, M, T] → wav [B, T * hop]; `framed`: mel has one frame more, as `from_frames` takes it."""
        return self.from_frames(mel if framed else nn.functional.pad(mel, (0, 1), mode="replicate"))
