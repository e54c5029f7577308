"""A VAE of sentences: q(z | s, c), p(z), p(z | c), p(s | z, c), for a sentence s and what was said before it, c.

One class for both uses. Without a context p(z) is standard normal; with one, p(z | c) is a mixture of Gaussians, so
that a remark may have answers of several kinds. The latent enters every layer of the decoder, since one that enters
only at the beginning is soon forgotten (cf. DELLA, Hu et al. 2022, arXiv 2207.06130). Batch normalization gives the
posterior means a fixed spread over the texts (Zhu et al. 2020, arXiv 2004.12585): free bits alone were met by a
posterior that is narrow in the same place for every text (0 active units after 500 steps). After Bowman et al. 2016
(arXiv 1511.06349); the conditional use after Zhao et al. 2017 (arXiv 1703.10960).

A model without a latent (`z_dim` 0) is the plain language model that it is measured against.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from speechvae.config import TextVAEConfig
from speechvae.nn import gaussian
from speechvae.nn.layers import mlp

PAD, BOS, EOS, HIDDEN, TURN = range(5)  # HIDDEN stands for a token that the decoder is not shown
GROUP = 16  # rows that are padded together
SPECIAL = ("<pad>", "<s>", "</s>", "<hidden>", "<turn>")


@dataclass
class Mixture:
    """p(z | c) of a batch: weights (log, normalised) [B, K]; m and logs [B, K, D]."""

    log_weights: Tensor
    m: Tensor
    logs: Tensor

    def log_prob(self, z: Tensor) -> Tensor:
        """z [B, D] → nats [B]."""
        parts = gaussian.log_prob(z[:, None], self.m, self.logs).sum(-1)
        return torch.logsumexp(self.log_weights + parts, -1)

    def sample(self, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """A draw [B, D]; `temperature` multiplies the standard deviations; the component is drawn by its weight."""
        chosen = torch.multinomial(self.log_weights.exp(), 1, generator=generator)[..., None]
        m, logs = (t.gather(1, chosen.expand(-1, -1, t.shape[2]))[:, 0] for t in (self.m, self.logs))
        return gaussian.sample(m, logs, temperature, generator)

    def detach(self) -> Mixture:
        return Mixture(self.log_weights.detach(), self.m.detach(), self.logs.detach())

    def repeat(self, n: int) -> Mixture:
        """Each row n times, one after the other."""
        return Mixture(*(t.repeat_interleave(n, 0) for t in (self.log_weights, self.m, self.logs)))


def _groups(x: Tensor) -> Iterator[Tensor]:
    """Rows of x [B, N], a few at a time, without the padding that only the others need: half the time on a CPU, where
    a batch has sentences of any length in order of length. A GPU is kept busy with the whole."""
    for rows in [x] if x.is_cuda else x.split(GROUP):
        yield rows if x.is_cuda else rows[:, : int((rows != PAD).sum(1).max())]


class Centre(nn.BatchNorm1d):
    """Batch normalization of x [B, D] whose running figures are the means over all batches until `momentum` takes over.

    Means that start at a variance of 1 hide one of 1e-5, as posteriors have it early, for hundreds of steps.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        with torch.no_grad():
            self.num_batches_tracked += 1
            share = (1 / self.num_batches_tracked).clamp_min(self.momentum or 0.0)
            self.running_mean.lerp_(input.mean(0), share)
            self.running_var.lerp_(input.var(0), share)
        return nn.functional.batch_norm(input, None, None, training=True, eps=self.eps)


class TextVAE(nn.Module):
    """Token ids in, nats out. Sentences are [BOS, tokens..., EOS], padded with PAD."""

    def __init__(self, cfg: TextVAEConfig, vocab: int, z_dim: int | None = None) -> None:
        """`vocab`: size of the tokenizer; `z_dim`: 0 for a plain language model, None for the config's."""
        super().__init__()
        from transformers import LlamaConfig, ModernBertConfig, ModernBertModel
        from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm, LlamaRotaryEmbedding

        self.cfg, self.z_dim = cfg, cfg.z_dim if z_dim is None else z_dim
        size = cfg.hidden
        self.embed = nn.Embedding(vocab, size, padding_idx=PAD)
        nn.init.normal_(self.embed.weight, std=size**-0.5)
        theta = {"rope_theta": 10000.0, "rope_type": "default"}
        longest = 2 + max(cfg.sentence_tokens, cfg.context_tokens)
        self.encoder = ModernBertModel(ModernBertConfig(
            vocab_size=1, hidden_size=size, intermediate_size=cfg.mult * size, num_hidden_layers=cfg.encoder_layers,
            num_attention_heads=cfg.heads, layer_types=["full_attention"] * cfg.encoder_layers,
            attention_dropout=0.0, mlp_dropout=cfg.dropout, embedding_dropout=cfg.dropout,
            max_position_embeddings=longest, pad_token_id=0, bos_token_id=None, eos_token_id=None, cls_token_id=None,
            sep_token_id=None, rope_parameters={"full_attention": theta, "sliding_attention": theta},
        ))  # fmt: skip
        self.no_context = nn.Parameter(torch.zeros(size))
        llama = LlamaConfig(
            vocab_size=1, hidden_size=size, intermediate_size=cfg.mult * size, num_hidden_layers=cfg.decoder_layers,
            num_attention_heads=cfg.heads, attention_dropout=0.0, max_position_embeddings=longest,
            rope_parameters=theta, pad_token_id=0, bos_token_id=None, eos_token_id=None,
        )  # fmt: skip
        llama._attn_implementation = "sdpa"
        self.decoder = nn.ModuleList(LlamaDecoderLayer(llama, i) for i in range(cfg.decoder_layers))
        for block in self.decoder:
            for module in block.modules():
                if isinstance(module, nn.Linear):
                    nn.init.normal_(module.weight, std=0.02)
        self.rotary, self.norm = LlamaRotaryEmbedding(llama), LlamaRMSNorm(size)
        self.dropout = nn.Dropout(cfg.dropout)
        inject = [nn.Linear(self.z_dim + size, size) for _ in range(cfg.decoder_layers)]
        self.inject = nn.ModuleList(inject)
        for layer in inject:
            nn.init.normal_(layer.weight, std=0.3 / math.sqrt(self.z_dim + size))
            nn.init.zeros_(layer.bias)
        if self.z_dim:
            self.posterior = mlp(2 * size, size, 2 * self.z_dim)
            # Without and with a context the means lie elsewhere before they are centred.
            self.centre = nn.ModuleList(Centre(self.z_dim, affine=False, momentum=0.02) for _ in range(2))
            self.mixture = mlp(size, size, cfg.components * (2 * self.z_dim + 1))
            # Components that start in one place would stay together.
            last = self.mixture[-1]
            assert isinstance(last, nn.Linear)
            nn.init.normal_(last.bias, std=0.3)
            self.bag = nn.Linear(self.z_dim, vocab)

    # -- encoding ------------------------------------------------------------------------------------------------

    def summary(self, x: Tensor) -> Tensor:
        """Token ids [B, N] → the mean of their encodings, [B, H]."""
        means = []
        for rows in _groups(x):
            mask = rows != PAD
            states = self.encoder(inputs_embeds=self._embedded(rows), attention_mask=mask.long()).last_hidden_state
            means.append((states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
        return torch.cat(means)

    def encode_context(self, context: Tensor | None, rows: int) -> Tensor:
        """Token ids [B, C] of what was said before → c [B, H]; without it, the learned c of no context."""
        return self.no_context.expand(rows, -1) if context is None else self.summary(context)

    def encode(self, x: Tensor, c: Tensor, with_context: bool = False) -> tuple[Tensor, Tensor]:
        """Sentences [B, N] and c [B, H] → m_q and logs_q, [B, D]. In training the batch needs two sentences."""
        m, logs = gaussian.split_stats(self.posterior(torch.cat([self.summary(x), c], 1)))
        return self.centre[with_context](m) * self.cfg.spread, logs

    def prior(self, c: Tensor) -> Mixture:
        """p(z | c) from c [B, H] of a context."""
        k, d = self.cfg.components, self.z_dim
        weights, stats = self.mixture(c).float().split([k, 2 * k * d], 1)
        m, logs = gaussian.split_stats(stats.view(-1, k, 2 * d).transpose(1, 2))
        return Mixture(weights.log_softmax(1), m.transpose(1, 2), logs.transpose(1, 2))

    def _embedded(self, x: Tensor) -> Tensor:
        return self.embed(x) * math.sqrt(self.cfg.hidden)

    # -- decoding ------------------------------------------------------------------------------------------------

    def states(self, x: Tensor, z: Tensor, c: Tensor, cache: Any = None) -> Tensor:
        """Hidden states [B, N, H] after each token of x [B, N]. `cache`: a DynamicCache with the tokens before."""
        past = 0 if cache is None else cache.get_seq_length()
        h = self.dropout(self._embedded(x))
        places = torch.arange(past, past + x.shape[1], device=x.device)[None]
        rotation = self.rotary(h, places)
        condition = torch.cat([z, c], 1)
        # Mostly no mask: sentences begin at the left, and nothing after their end is looked at.
        mask = None
        if past and x.shape[1] > 1:  # attention would take the first of several new tokens for the first of all
            mask = (places[0, :, None] >= torch.arange(past + x.shape[1], device=x.device))[None, None]
        for layer, inject in zip(self.decoder, self.inject, strict=True):
            h = h + inject(condition)[:, None]
            h = layer(
                h, attention_mask=mask, position_embeddings=rotation, position_ids=places, past_key_values=cache
            )
        return self.norm(h)

    def logits(self, states: Tensor) -> Tensor:
        """Hidden states [..., H] → scores of the next token, [..., V]; the weights are those of the embedding."""
        return nn.functional.linear(self.dropout(states), self.embed.weight)

    def token_nll(self, x: Tensor, z: Tensor, c: Tensor, word_dropout: float = 0.0) -> Tensor:
        """-log p(token | those before, z, c) in nats for x [B, N] after its BOS: [B, N - 1], 0 where padded."""
        given, wanted = x[:, :-1], x[:, 1:]
        if word_dropout:
            hidden = (torch.rand(given.shape, device=x.device) < word_dropout) & (given != BOS)
            given = given.masked_fill(hidden, HIDDEN)
        mask = wanted != PAD
        states, first = [], 0
        for rows in _groups(x):
            part, width = slice(first, first + len(rows)), rows.shape[1] - 1
            h = self.states(given[part, :width], z[part], c[part])
            states.append(h[mask[part, :width]])
            first += len(rows)
        scores = self.logits(torch.cat(states)).float()
        out = scores.new_zeros(mask.shape)
        out[mask] = nn.functional.cross_entropy(scores, wanted[mask], reduction="none")
        return out

    def no_latent(self, rows: int) -> Tensor:
        """z of a language model, [B, 0]."""
        return self.no_context.new_zeros(rows, 0)

    def bound(self, x: Tensor, context: Tensor | None, samples: int = 32, chunk: int = 512) -> Tensor:
        """-log p(s | c) in nats, [B]: an upper bound by importance weighting (Burda et al. 2016, arXiv 1509.00519).

        It falls to the true value as `samples` grow. Of a language model: the exact value.
        """
        c = self.encode_context(context, len(x))
        if not self.z_dim:
            return self.token_nll(x, self.no_latent(len(x)), c).sum(1)
        m, logs = self.encode(x, c, context is not None)
        prior = None if context is None else self.prior(c)
        at_once = max(1, chunk // len(x))
        parts = []
        for first in range(0, samples, at_once):
            n = min(at_once, samples - first)
            m_n, logs_n, c_n, x_n = (t.repeat_interleave(n, 0) for t in (m, logs, c, x))
            z = gaussian.sample(m_n, logs_n)
            log_p = self.log_prior(z, None if prior is None else prior.repeat(n))
            weight = log_p - gaussian.log_prob(z, m_n, logs_n).sum(1) - self.token_nll(x_n, z, c_n).sum(1)
            parts.append(weight.view(len(x), n))
        return math.log(samples) - torch.logsumexp(torch.cat(parts, 1), 1)

    def log_prior(self, z: Tensor, prior: Mixture | None) -> Tensor:
        """log p(z | c), or log p(z) without a context, in nats: [B]."""
        if prior is not None:
            return prior.log_prob(z)
        zero = torch.zeros_like(z)
        return gaussian.log_prob(z, zero, zero).sum(1)

    def forward(self, x: Tensor, context: Tensor | None, noisy: bool = True) -> dict[str, Tensor]:
        """What training needs, by sentence. `noisy`: z drawn from the posterior (else its mean), tokens hidden.

        rec [B]: nats of the sentence given z. With a latent also kl [B, D] to the standard normal (no context) or
        [B, 1] (with one; one draw of z), prior [B]: -log p(z | c) + log q with the posterior held fixed, bag [B],
        m_q [B, D].
        """
        c = self.encode_context(context, len(x))
        hide = self.cfg.word_dropout if noisy and self.training else 0.0
        if not self.z_dim:
            return {"rec": self.token_nll(x, self.no_latent(len(x)), c, hide).sum(1)}
        m, logs = self.encode(x, c, context is not None)
        z = gaussian.sample(m, logs) if noisy else m
        out = {"rec": self.token_nll(x, z, c, hide).sum(1), "m_q": m, "bag": self._bag_nll(x, z)}
        if context is None:
            zero = torch.zeros_like(m)
            return {**out, "kl": gaussian.kl(m, logs, zero, zero)}
        prior = self.prior(c)
        log_q = gaussian.log_prob(z, m, logs).sum(1)
        out["kl"] = (log_q - prior.detach().log_prob(z))[:, None]
        return {**out, "prior": log_q.detach() - prior.log_prob(z.detach())}

    def _bag_nll(self, x: Tensor, z: Tensor) -> Tensor:
        """-log p of the tokens as an unordered bag given z (Zhao et al. 2017), [B]."""
        scores = self.bag(z).float().log_softmax(1)
        mask = x > TURN
        return -(scores.gather(1, x) * mask).sum(1)
