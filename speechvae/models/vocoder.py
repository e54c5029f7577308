"""Fourier-head vocoders: log-mel [B, M, T] → wav [B, T * hop], through one inverse STFT.

A network at frame rate predicts magnitude and phase (Vocos, Siuzdak 2023, arXiv 2306.00814). In our own `Vocoder` the
log of the pseudo-inverse-mel amplitude is added to the predicted log amplitude (FreeV, Lv et al. 2024, arXiv
2406.08196), so the network learns a correction of it and the phase. `VocosVocoder` computes what the published models
compute, under the names of their weights.

A spectrogram that a network predicts is rarely one that a signal can have: frames overlap, and where they disagree the
inverse STFT cancels. `VocoderConfig.refinements` steps of Griffin-Lim (1984) from the predicted phase bring the frames
to agree; they are trained through, so the network learns to predict what they complete.

What a sample depends on is finite, so that `vocode_stream` gives the samples of the whole in chunks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from speechvae.audio import mel_filters, mel_to_amplitude
from speechvae.config import AudioConfig, VocoderConfig
from speechvae.errors import SpeechVAEError
from speechvae.nn.layers import ConvNeXt


class FourierVocoder(nn.Module):
    """What the vocoders share. A subclass gives `spectrum` and `network_reach`."""

    window: Tensor

    def __init__(self, audio: AudioConfig, refinements: int = 0) -> None:
        super().__init__()
        self.audio, self.refinements = audio, refinements
        self.register_buffer("window", torch.hann_window(audio.n_fft), persistent=False)

    @property
    def network_reach(self) -> int:
        """Mel frames on each side of a frame that its spectrum depends on."""
        raise NotImplementedError

    def spectrum(self, mel: Tensor) -> Tensor:
        """Complex STFT [B, n_fft // 2 + 1, T] from log-mel [B, M, T]."""
        raise NotImplementedError

    @property
    def reach(self) -> int:
        """Mel frames that must be known on each side of a chunk: the network's, and those whose windows overlap."""
        return self.network_reach + self._refined_reach + -(-self.audio.n_fft // (2 * self.audio.hop))

    @property
    def _refined_reach(self) -> int:
        """Frames on each side whose windows overlap with a frame's, once for each refinement."""
        return self.refinements * ((self.audio.n_fft - 1) // self.audio.hop)

    @property
    def receptive_field(self) -> int:
        """Mel frames that can influence one sample."""
        return 2 * (self.network_reach + self._refined_reach) + -(-self.audio.n_fft // self.audio.hop)

    @property
    def receptive_seconds(self) -> float:
        """The same in seconds; a stream is at least half of it late."""
        return self.receptive_field / self.audio.frame_rate

    def from_frames(self, mel: Tensor) -> Tensor:
        """Centred frames [B, M, T + 1] → wav [B, T * hop]: training segments know the frame after their end."""
        n_fft, hop, window = self.audio.n_fft, self.audio.hop, self.window
        length = (mel.shape[-1] - 1) * hop
        spectrum = self.spectrum(mel)
        # Reflection at the edges of the signal needs more samples than half a window.
        refinements = self.refinements if length > n_fft // 2 else 0
        amplitude = spectrum.abs()
        for _ in range(refinements):
            wav = torch.istft(spectrum, n_fft, hop, n_fft, window, center=True, length=length)
            again = torch.stft(wav, n_fft, hop, n_fft, window, center=True, return_complex=True)
            spectrum = again * (amplitude * (torch.view_as_real(again).square().sum(-1) + 1e-8).rsqrt())
        return torch.istft(spectrum, n_fft, hop, n_fft, window, center=True, length=length)

    def forward(self, mel: Tensor, framed: bool = False) -> Tensor:
        """Log-mel [B, M, T] → wav [B, T * hop]; `framed`: mel has one frame more, as `from_frames` takes it."""
        return self.from_frames(mel if framed else nn.functional.pad(mel, (0, 1), mode="replicate"))


class Vocoder(FourierVocoder):
    """A ConvNeXt stack and a Fourier head. One output sample sees `receptive_field` mel frames."""

    inverse_filters: Tensor

    def __init__(self, audio: AudioConfig, cfg: VocoderConfig) -> None:
        super().__init__(audio, cfg.refinements)
        self.cfg = cfg
        bins = audio.n_fft // 2 + 1
        self.net = ConvNeXt(audio.n_mels, cfg.dim, 3 * bins, cfg.layers, mult=cfg.mult)
        nn.init.normal_(self.net.proj_out.weight, std=0.02)
        nn.init.zeros_(self.net.proj_out.bias)
        self.register_buffer("inverse_filters", torch.linalg.pinv(mel_filters(audio).T), persistent=False)

    @property
    def network_reach(self) -> int:
        return self.net.receptive_field // 2

    def spectrum(self, mel: Tensor) -> Tensor:
        log_amplitude, real, imag = self.net(mel).chunk(3, dim=1)
        if self.cfg.amplitude_prior:
            log_amplitude = log_amplitude + mel_to_amplitude(mel, self.inverse_filters).log()
        # A ceiling keeps unheard-of mels from exploding: e^6 is above any full-scale frame of n_fft samples.
        amplitude = log_amplitude.float().clamp(max=6.0).exp()
        # The phase is the direction of a predicted vector: no wrapping, and a gradient everywhere but at zero.
        real, imag = real.float(), imag.float()
        norm = (real.square() + imag.square() + 1e-8).rsqrt()
        return torch.complex(amplitude * real * norm, amplitude * imag * norm)


class _VocosBlock(nn.Module):
    """A ConvNeXt block under the names, and with the constants, of the published weights."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1, self.pwconv2 = nn.Linear(dim, inner), nn.Linear(inner, dim)
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).mT)
        return x + (self.gamma * self.pwconv2(nn.functional.gelu(self.pwconv1(y)))).mT


class _VocosBackbone(nn.Module):
    def __init__(self, bands: int, dim: int, inner: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Conv1d(bands, dim, 7, padding=3)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.convnext = nn.ModuleList(_VocosBlock(dim, inner) for _ in range(layers))
        self.final_layer_norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, mel: Tensor) -> Tensor:
        """[B, M, T] → [B, T, dim]."""
        x = self.norm(self.embed(mel).mT).mT
        for block in self.convnext:
            x = block(x)
        return self.final_layer_norm(x.mT)


class VocosVocoder(FourierVocoder):
    """The function of a published Vocos mel vocoder; `speechvae.vocoders` loads its files.

    Our frame t is centred at t * hop. Models of either padding are made from frames whose spectrum belongs at their
    centre; those of padding "same" only have their frames half a hop later. So both are inverted as centred frames.
    """

    CEILING = 1e2  # of the magnitudes, as published

    def __init__(self, audio: AudioConfig, dim: int, inner: int, layers: int) -> None:
        super().__init__(audio)
        self.backbone = _VocosBackbone(audio.n_mels, dim, inner, layers)
        self.head = nn.ModuleDict({"out": nn.Linear(dim, audio.n_fft + 2)})

    @property
    def network_reach(self) -> int:
        return 3 * (1 + len(self.backbone.convnext))

    def spectrum(self, mel: Tensor) -> Tensor:
        log_amplitude, phase = self.head["out"](self.backbone(mel)).mT.float().chunk(2, dim=1)
        return torch.polar(log_amplitude.exp().clamp(max=self.CEILING), phase)


def vocode_stream(vocoder: FourierVocoder, mels: Iterable[Tensor], chunk: int = 256) -> Iterator[Tensor]:
    """Log-mels [B, M, t] of any lengths, one after the other, → wavs [B, n * hop].

    Joined, these are `vocoder(mel)` of the joined log-mels, but for rounding (well within 1e-4). Each but the last has
    `chunk` frames and comes when `vocoder.reach` frames after it are known; memory does not grow with the stream.
    Each chunk costs `chunk` + 2 `reach` frames of work.

    Raises SpeechVAEError for a chunk of less than a frame.
    """
    if chunk < 1:
        raise SpeechVAEError(f"a chunk must have at least 1 frame, not {chunk}")
    hop, reach = vocoder.audio.hop, vocoder.reach
    held: Tensor | None = None
    first = done = 0  # the frame that `held` begins with; the frame that the next chunk begins with

    def cut(frames: Tensor, end: int) -> Tensor:
        # Around each chunk, not around the loop: between two of them the caller's own code runs.
        with torch.inference_mode():
            return vocoder.from_frames(frames)[..., (done - first) * hop : (end - first) * hop]

    for mel in mels:
        held = mel if held is None else torch.cat([held, mel], -1)
        while first + held.shape[-1] >= done + chunk + reach:
            end = done + chunk
            yield cut(held[..., : end + reach - first], end)
            done = end
            start = max(first, done - reach)
            held, first = held[..., start - first :], start
    if held is not None and first + held.shape[-1] > done:
        yield cut(nn.functional.pad(held, (0, 1), mode="replicate"), first + held.shape[-1])
