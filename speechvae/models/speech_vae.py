"""The conditional VAE: text encoder, posterior, prior, prosody heads and mel decoder, composed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from speechvae.audio import frame_energy
from speechvae.config import AudioConfig, VAEConfig
from speechvae.errors import SpeechVAEError
from speechvae.models.decoder import MelDecoder, Prosody, ProsodyHeads
from speechvae.models.posterior import Posterior
from speechvae.models.prior import PhonemePrior, Prior
from speechvae.models.text_encoder import TextEncoder
from speechvae.nn import gaussian
from speechvae.nn.align import durations_to_path, pool
from speechvae.nn.batch import Batch
from speechvae.nn.layers import sequence_mask

F0_SCALE = 0.25  # natural log units of f0 that become 1
OCTAVE = math.log(2.0)


@dataclass
class Latents:
    """One reading: z_u [B, Du] and z_p [B, Dp, N]."""

    z_u: Tensor
    z_p: Tensor


@dataclass
class Gaussians:
    """Means and log standard deviations of both levels."""

    m_u: Tensor  # [B, Du]
    logs_u: Tensor
    m_p: Tensor  # [B, Dp, N]
    logs_p: Tensor


class SpeechVAE(nn.Module):
    """x, speaker → readings. Names and shapes: B clips, N symbols, T frames, M mel bands."""

    f0_mean: Tensor
    energy_mean: Tensor

    def __init__(self, audio: AudioConfig, cfg: VAEConfig, symbols: int, speakers: int) -> None:
        super().__init__()
        self.audio, self.cfg = audio, cfg
        self.encoder = TextEncoder(symbols, cfg)
        self.speaker = nn.Embedding(speakers, cfg.speaker_dim)
        self.sentence = nn.Linear(cfg.sentence_dim, cfg.hidden) if cfg.sentence_dim else None
        self.prior_net = Prior(cfg)
        self.posterior_net = Posterior(audio.n_mels, cfg)
        self.heads = ProsodyHeads(cfg)
        self.decoder = MelDecoder(audio.n_mels, cfg)
        # Log scales of the Laplace likelihoods, learned beside the model: they turn errors into nats.
        self.log_b_mel = nn.Parameter(torch.zeros(audio.n_mels))
        self.log_b_prosody = nn.Parameter(torch.full((3,), -1.0))
        self.register_buffer("f0_mean", torch.full((speakers,), 5.2))
        self.register_buffer("energy_mean", torch.zeros(speakers))

    # -- text ----------------------------------------------------------------------------------------------------

    def encode(
        self, x: Tensor, x_mask: Tensor, speaker: Tensor, sentence: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """ids [B, N], mask [B, 1, N], speaker [B] → h [B, H, N] and the speaker's condition g [B, G, 1].

        sentence: embeddings of the texts [B, E], for a model that was made for them (`sentence_dim`).
        """
        h = self.encoder(x, x_mask)
        if self.sentence is not None:
            if sentence is None:
                raise SpeechVAEError("this model needs an embedding of each sentence beside its phonemes")
            h = (h + self.sentence(sentence)[..., None]) * x_mask
        return h, self.speaker(speaker)[..., None]

    # -- latents -------------------------------------------------------------------------------------------------

    def prior_u(self, h: Tensor, x_mask: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of p(z_u | text, speaker), each [B, Du]."""
        return self.prior_net.forward_u(h, x_mask, g)

    def prior_p(self, h: Tensor, x_mask: Tensor, g: Tensor, z_u: Tensor) -> PhonemePrior:
        """p(z_p | h, z_u, speaker) for z_u [B, Du]."""
        return self.prior_net.forward_p(h, x_mask, z_u, g)

    def posterior(
        self, y: Tensor, y_mask: Tensor, path: Tensor, prosody: Prosody, h: Tensor, x_mask: Tensor, g: Tensor,
        temperature: float = 1.0,
    ) -> tuple[Gaussians, Latents]:  # fmt: skip
        """Both posteriors given a recording, and a draw from them (temperature 0: their means)."""
        stats_u, symbols = self.posterior_net(y, y_mask, path, prosody.stack(), h, x_mask, g)
        m_u, logs_u = gaussian.split_stats(stats_u)
        z_u = gaussian.sample(m_u, logs_u, temperature)
        m_p, logs_p = gaussian.split_stats(self.posterior_net.phoneme_stats(symbols, z_u, x_mask))
        z_p = gaussian.sample(m_p, logs_p, temperature) * x_mask
        return Gaussians(m_u, logs_u, m_p, logs_p), Latents(z_u, z_p)

    def sample(
        self, h: Tensor, x_mask: Tensor, g: Tensor, temperature: float = 1.0, style_temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Latents:  # fmt: skip
        """A reading drawn from the prior. The temperatures multiply the standard deviations of z_p and z_u."""
        z_u = gaussian.sample(*self.prior_u(h, x_mask, g), style_temperature, generator)
        return Latents(z_u, self.prior_p(h, x_mask, g, z_u).sample(temperature, generator))

    # -- sound ---------------------------------------------------------------------------------------------------

    def prosody(self, h: Tensor, x_mask: Tensor, z: Latents, g: Tensor) -> Prosody:
        """The prosody of a reading; `vuv` as a share 0..1."""
        p = self.heads(h, x_mask, z.z_u, z.z_p, g)
        return Prosody(p.logw, p.f0, p.vuv.sigmoid(), p.energy)

    def decode(self, h: Tensor, z: Latents, g: Tensor, prosody: Prosody, w: Tensor) -> Tensor:
        """Log-mel [B, M, T] for whole durations w [B, N]; `prosody` may have been edited by hand."""
        path = durations_to_path(w, int(w.sum(1).max()))
        return self.decoder(h, z.z_u, z.z_p, g, prosody, w, path, sequence_mask(w.sum(1), path.shape[2]))

    def f0_hz(self, f0: Tensor, speaker: Tensor) -> Tensor:
        """Normalised log f0 [B, 1, N] → Hz."""
        return (f0 * F0_SCALE + self.f0_mean[speaker][:, None, None]).exp()

    def measure(self, batch: Batch, path: Tensor) -> Prosody:
        """The prosody of recordings, a phoneme: from w [B, N], f0 [B, T] and y [B, M, T]."""
        assert batch.w is not None and batch.f0 is not None and batch.y is not None
        log_f0 = (batch.f0.clamp_min(1.0).log()[:, None] - self.f0_mean[batch.speaker][:, None, None]) / F0_SCALE
        # More than an octave from the speaker's mean is creak or a tracker gone astray: bridged, not believed.
        voiced = ((batch.f0[:, None] > 0) & (log_f0.abs() < OCTAVE / F0_SCALE)).float()
        share = pool(voiced, path)
        mean = pool(log_f0 * voiced, path) / share.clamp_min(1e-3)
        energy = pool(frame_energy(batch.y)[:, None], path) - self.energy_mean[batch.speaker][:, None, None]
        return Prosody(batch.w.clamp_min(1).float().log()[:, None], bridge(mean, share >= 0.3), share, energy)

    # -- training ------------------------------------------------------------------------------------------------

    def forward(self, batch: Batch, teacher: float = 0.5, temperature: float = 1.0) -> dict[str, Any]:
        """Posterior, prior and reconstruction of recordings.

        The decoder gets the measured prosody for a share `teacher` of the clips and the heads' prediction for the rest,
        so that it works with both.
        """
        x, y, w = batch.x, batch.y, batch.w
        assert x is not None and y is not None and w is not None
        assert batch.x_lengths is not None and batch.y_lengths is not None
        x_mask = sequence_mask(batch.x_lengths, x.shape[1])
        y_mask = sequence_mask(batch.y_lengths, y.shape[2])
        path = durations_to_path(w, y.shape[2])
        h, g = self.encode(x, x_mask, batch.speaker, batch.sentence)
        true = self.measure(batch, path)
        q, z = self.posterior(y, y_mask, path, true, h, x_mask, g, temperature)
        p_u, p_p = self.prior_u(h, x_mask, g), self.prior_p(h, x_mask, g, z.z_u)
        guess = self.heads(h, x_mask, z.z_u, z.z_p, g)
        told = torch.rand(len(x), 1, 1, device=x.device) < teacher
        mixed = Prosody(
            true.logw,
            torch.where(told, true.f0, guess.f0.detach()),
            torch.where(told, true.vuv, guess.vuv.detach().sigmoid()),
            torch.where(told, true.energy, guess.energy.detach()),
        )
        mel = self.decoder(h, z.z_u, z.z_p, g, mixed, w, path, y_mask)
        return {
            "q": q, "p_u": p_u, "p_p": p_p, "z": z, "true": true, "guess": guess, "mel": mel, "x_mask": x_mask,
            "y_mask": y_mask,
        }  # fmt: skip


def bridge(values: Tensor, known: Tensor) -> Tensor:
    """Fill unknown entries of [B, 1, N] on straight lines between the known ones; all unknown gives zeros."""
    n = values.shape[2]
    place = torch.arange(n, device=values.device).expand_as(values)
    left = torch.where(known, place, -1).cummax(2).values
    right = torch.where(known, place, n).flip(2).cummin(2).values.flip(2)
    a = values.gather(2, left.clamp_min(0))
    z = values.gather(2, right.clamp_max(n - 1))
    share = (place - left).to(values.dtype) / (right - left).clamp_min(1)
    line = a + (z - a) * share
    line = torch.where(left < 0, z, torch.where(right >= n, a, line))
    return torch.where((left < 0) & (right >= n), torch.zeros_like(line), line)
