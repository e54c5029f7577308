"""From a latent to token ids: sampling, the most likely word by word, and beams."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from speechvae.models.text_vae import BOS, EOS, SPECIAL, TextVAE

NEVER = [i for i in range(len(SPECIAL)) if i != EOS]


def _next_scores(model: TextVAE, last: Tensor, z: Tensor, c: Tensor, cache: Any, first: bool) -> Tensor:
    """Log probabilities [B, V] of the token after `last` [B]; marks, and an end before any word, are ruled out."""
    scores = model.logits(model.states(last[:, None], z, c, cache)[:, -1]).float()
    scores[:, NEVER] = -torch.inf
    if first:
        scores[:, EOS] = -torch.inf
    return scores.log_softmax(-1)


@torch.inference_mode()
def sample(
    model: TextVAE, z: Tensor, c: Tensor, temperature: float = 1.0, top_p: float = 1.0,
    generator: torch.Generator | None = None, longest: int | None = None,
) -> list[list[int]]:  # fmt: skip
    """Token ids of a sentence for each latent z [B, D] and context c [B, H].

    `temperature` 0 takes the likeliest token each time; otherwise one is drawn from the likeliest tokens that hold
    together the probability `top_p`. At most `longest` tokens (default: the config's).
    """
    from transformers import DynamicCache

    longest = model.cfg.sentence_tokens if longest is None else longest
    cache = DynamicCache()
    last = torch.full((len(z),), BOS, device=z.device)
    done = torch.zeros(len(z), dtype=torch.bool, device=z.device)
    out: list[Tensor] = []
    for n in range(longest):
        scores = _next_scores(model, last, z, c, cache, first=n == 0)
        last = _draw(scores, temperature, top_p, generator)
        last = torch.where(done, EOS, last)
        done = done | (last == EOS)
        if bool(done.all()):
            break
        out.append(last)
    rows = torch.stack(out, 1).tolist() if out else [[] for _ in range(len(z))]
    return [row[: row.index(EOS)] if EOS in row else row for row in rows]


def _draw(scores: Tensor, temperature: float, top_p: float, generator: torch.Generator | None) -> Tensor:
    if temperature == 0:
        return scores.argmax(-1)
    p = (scores / temperature).softmax(-1)
    if top_p < 1:
        sorted_p, order = p.sort(-1, descending=True)
        sorted_p[sorted_p.cumsum(-1) - sorted_p >= top_p] = 0.0
        p = torch.zeros_like(p).scatter(-1, order, sorted_p)
    return torch.multinomial(p, 1, generator=generator)[:, 0]


@torch.inference_mode()
def beam_search(model: TextVAE, z: Tensor, c: Tensor, beams: int = 5, longest: int | None = None) -> list[list[int]]:
    """The likeliest sentences for one latent z [1, D] and context c [1, H]: `beams` of them, best first.

    Ranked by mean log probability of their tokens, or the shortest would always win.
    """
    from transformers import DynamicCache

    longest = model.cfg.sentence_tokens if longest is None else longest
    cache: Any = DynamicCache()
    last = torch.full((1,), BOS, device=z.device)
    total = torch.zeros(1, device=z.device)
    rows: list[list[int]] = [[]]
    ended: list[tuple[float, list[int]]] = []
    for n in range(longest):
        z_n, c_n = z.expand(len(rows), -1), c.expand(len(rows), -1)
        scores = total[:, None] + _next_scores(model, last, z_n, c_n, cache, first=n == 0)
        best, flat = scores.flatten().topk(min(2 * beams, scores.numel()))
        going: list[tuple[float, int, int]] = []
        for value, i in zip(best.tolist(), flat.tolist(), strict=True):
            parent, token = divmod(i, scores.shape[1])
            if value == -math.inf:  # all that is left is ruled out
                break
            if token == EOS:
                ended.append((value / (n + 1), rows[parent]))
            elif len(going) < beams:
                going.append((value, parent, token))
        if len(ended) >= 2 * beams or not going:
            break
        parents = torch.tensor([p for _, p, _ in going], device=z.device)
        rows = [[*rows[p], t] for _, p, t in going]
        total = torch.tensor([v for v, _, _ in going], device=z.device)
        last = torch.tensor([t for _, _, t in going], device=z.device)
        cache.reorder_cache(parents)
    ended += [(float(v) / longest, r) for v, r in zip(total, rows, strict=True)] if len(ended) < beams else []
    return [row for _, row in sorted(ended, key=lambda e: -e[0])[:beams]]
