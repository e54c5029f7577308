"""From text and latents to sound: prosody heads at phoneme rate, mel decoder at frame rate. Nothing here is random."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speechvae.config import VAEConfig
from speechvae.nn.align import expand
from speechvae.nn.layers import ConvNeXt


@dataclass
class Prosody:
    """What is measured, predicted or edited, a phoneme: all [B, 1, N]."""

    logw: Tensor  # natural log of the duration in frames
    f0: Tensor  # normalised log f0: (log Hz - speaker mean) / F0_SCALE; a continuous contour through unvoiced phonemes
    vuv: Tensor  # share of voiced frames, 0..1 (a logit where predicted in training)
    energy: Tensor  # normalised energy: natural log - speaker mean

    def stack(self) -> Tensor:
        """[B, 4, N]."""
        return torch.cat([self.logw, self.f0, self.vuv, self.energy], 1)


class ProsodyHeads(nn.Module):
    """Duration, f0, voicing and energy from (h, z_p, z_u, speaker); deterministic."""

    def __init__(self, cfg: VAEConfig) -> None:
        super().__init__()
        dim_in = cfg.hidden + cfg.z_p_dim + cfg.z_u_dim + cfg.speaker_dim
        self.net = ConvNeXt(dim_in, cfg.hidden, 4, cfg.head_layers, 5, 2, cfg.dropout)

    def forward(self, h: Tensor, x_mask: Tensor, z_u: Tensor, z_p: Tensor, g: Tensor) -> Prosody:
        """h [B, H, N], z_u [B, Du], z_p [B, Dp, N], g [B, G, 1]; `vuv` is a logit."""
        n = h.shape[2]
        inputs = [h, z_p, z_u[..., None].expand(-1, -1, n), g.expand(-1, -1, n)]
        logw, f0, vuv, energy = self.net(torch.cat(inputs, 1), x_mask).float().chunk(4, 1)
        # A typical phoneme lasts seven frames: starting there, the head learns a correction.
        return Prosody(logw + 1.9, f0, vuv, energy)


class MelDecoder(nn.Module):
    """ConvNeXt blocks at frame rate: [B, M, T] from phoneme features expanded along the path."""

    def __init__(self, n_mels: int, cfg: VAEConfig) -> None:
        super().__init__()
        dim = cfg.hidden
        self.join = nn.Conv1d(cfg.hidden + cfg.z_p_dim + cfg.z_u_dim + cfg.speaker_dim, dim, 1)
        self.frame = nn.Conv1d(6, dim, 1)
        self.net = ConvNeXt(dim, cfg.decoder_dim, n_mels, cfg.decoder_layers, 7, cfg.decoder_mult, cfg.dropout)
        nn.init.constant_(self.net.proj_out.bias, -5.0)

    def forward(
        self, h: Tensor, z_u: Tensor, z_p: Tensor, g: Tensor, prosody: Prosody, w: Tensor, path: Tensor, y_mask: Tensor
    ) -> Tensor:
        """h [B, H, N], w [B, N] whole frames, path [B, N, T]; prosody.vuv as a share. Returns log-mel [B, M, T]."""
        n = h.shape[2]
        joined = self.join(torch.cat([h, z_p, z_u[..., None].expand(-1, -1, n), g.expand(-1, -1, n)], 1))
        x = expand(joined, path) + self.frame(frame_features(prosody, w, path))
        return self.net(x, y_mask)


def frame_features(prosody: Prosody, w: Tensor, path: Tensor) -> Tensor:
    """[B, 6, T]: f0, voicing and energy; place within the phoneme from both ends; log duration.

    f0 and energy run on straight lines between the phonemes' centres; voicing is constant within a phoneme.
    """
    ends = w.cumsum(1).to(path.dtype)
    starts = ends - w
    time = torch.arange(path.shape[2], device=path.device, dtype=path.dtype) + 0.5
    start, end = expand(starts[:, None], path), expand(ends[:, None], path)
    from_start, to_end = (time - start).clamp_min(0) / 8.0, (end - time).clamp_min(0) / 8.0
    centres = (starts + ends) / 2
    lines = interpolate(torch.cat([prosody.f0, prosody.energy], 1), centres, time, (w > 0).sum(1))
    steps = expand(torch.cat([prosody.vuv, prosody.logw], 1), path)
    return torch.cat([lines, steps, from_start.clamp_max(4.0), to_end.clamp_max(4.0)], 1)


def interpolate(values: Tensor, centres: Tensor, time: Tensor, count: Tensor) -> Tensor:
    """Straight lines through values [B, C, N] at increasing centres [B, N], read at time [T] → [B, C, T].

    Only the first `count` [B] values of each row are points; the lines stay level beyond the first and the last.
    """
    b, c, n = values.shape
    last = (count - 1)[:, None]
    right = torch.searchsorted(centres.contiguous(), time.expand(b, -1).contiguous()).clamp(max=n - 1)
    right = torch.minimum(right, last)
    left = (right - 1).clamp_min(0)
    a, z = centres.gather(1, left), centres.gather(1, right)
    share = ((time - a) / (z - a).clamp_min(1e-3)).clamp(0, 1)[:, None]

    def at(index: Tensor) -> Tensor:
        return values.gather(2, index[:, None].expand(-1, c, -1))

    return at(left) * (1 - share) + at(right) * share
