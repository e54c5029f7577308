"""A small convolutional network that tells, frame by frame, which phoneme of a known sentence is being said."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from speechvae.config import AlignerConfig
from speechvae.nn.align import viterbi_durations
from speechvae.nn.layers import ConvNeXt


class Aligner(nn.Module):
    """log-mel [B, M, T] → two sets of logits [B, T, V]: for CTC (0 = blank) and for every frame's label (0 unused).

    CTC finds where the phonemes are without being told, but puts each on a frame or two with blanks between. The
    second head learns the extents: its targets cut CTC's path halfway between neighbours, and late in training they
    are its own best path (Viterbi training), which moves the borders to where the sound changes. The network sees
    about a fifth of a second around a frame: enough to tell phonemes, too little to guess the sentence.
    """

    log_prior: Tensor

    def __init__(self, n_mels: int, symbols: int, cfg: AlignerConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.net = ConvNeXt(n_mels, cfg.dim, 2 * symbols, cfg.layers, cfg.kernel, dropout=0.1)
        self.register_buffer("log_prior", torch.full((2, symbols), -math.log(symbols)))

    def forward(self, y: Tensor, y_mask: Tensor) -> tuple[Tensor, Tensor]:
        """log-mel [B, M, T], mask [B, 1, T] → CTC logits and frame logits; the clip's mean level is taken off."""
        count = y_mask.sum(2, keepdim=True).clamp_min(1)
        mean = (y * y_mask).sum((1, 2), keepdim=True) / (count * y.shape[1])
        ctc, frames = self.net((y - mean) * 0.5, y_mask).transpose(1, 2).float().chunk(2, -1)
        return ctc, torch.cat([torch.full_like(frames[..., :1], -1e4), frames[..., 1:]], -1)

    @torch.no_grad()
    def observe(self, logits: tuple[Tensor, Tensor], y_mask: Tensor, momentum: float = 0.99) -> None:
        """Follow the average label probabilities of both heads."""
        for prior, head in zip(self.log_prior, logits, strict=True):
            mean = head.softmax(-1)[y_mask[:, 0]].mean(0)
            prior.copy_((momentum * prior.exp() + (1 - momentum) * mean).clamp_min(1e-5).log())

    def scores(self, logits: tuple[Tensor, Tensor], head: int) -> Tensor:
        """Log probabilities [B, T, V] of a head (0 = CTC, 1 = frames) less its scaled label prior.

        Label priors make CTC less peaky (Huang et al. 2024, arXiv 2406.02560).
        """
        raw = logits[head].log_softmax(-1) - self.cfg.prior_scale * self.log_prior[head]
        return raw.log_softmax(-1)

    @torch.no_grad()
    def align(self, y: Tensor, x: Tensor, head: int = 1) -> tuple[Tensor, float]:
        """Durations [N] of symbols x [N] in one clip's log-mel [M, T], and the mean log probability a frame."""
        mask = torch.ones(1, 1, y.shape[1], dtype=torch.bool, device=y.device)
        return viterbi_durations(self.scores(self(y[None], mask), head)[0], x)
