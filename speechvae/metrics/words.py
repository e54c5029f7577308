"""What a text VAE is worth: likelihood, use of its latents, reconstruction, paths between sentences, variety."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from speechvae.metrics._common import require
from speechvae.models.text_vae import TextVAE
from speechvae.nn import gaussian
from speechvae.nn.batch import Batch
from speechvae.words.paths import likeness

ACTIVE_VARIANCE = 0.01  # of posterior means over the texts, in variances of the prior (Burda et al. 2016)


def bleu4(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU-4 (0 to 100) by sacrebleu, one reference each."""
    sacrebleu = require("sacrebleu", "BLEU", "measure")
    return float(sacrebleu.corpus_bleu(list(hypotheses), [list(references)]).score)


def distinct(texts: Iterable[str], n: int = 2) -> float:
    """Different n-grams of words / all n-grams (Li et al. 2016, arXiv 1510.03055); 1 = no n-gram comes twice."""
    grams = [tuple(w[i : i + n]) for w in (t.lower().split() for t in texts) for i in range(len(w) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 0.0


def goes_one_way(vectors: Tensor, each: bool = False) -> bool:
    """Whether on a path of sentences with embeddings [K, D] none is nearer to the first one, relative to the last, than
    the one before; with `each`, none nearer to the first and none further from the last. Of two sentences between, one
    that is about something else is less like both ends, so `each` is much the harder. Repetitions stand still."""
    to_first, to_last = likeness(vectors, vectors[[0, -1]])
    steps = torch.stack([to_first, -to_last]) if each else (to_first - to_last)[None]
    return bool((steps.diff() <= 1e-6).all())


@torch.inference_mode()
def latent_use(model: TextVAE, batches: Iterable[Batch], seed: int = 0) -> dict[str, float]:
    """kl (nats a sentence), active_units, mutual_information (nats; a lower bound, by the batches' own posteriors).

    Of sentences without a context. The mutual information of z and sentence is the KL less that of the aggregate
    posterior (Hoffman & Johnson 2016), whose density is estimated with all other sentences' posteriors; it cannot
    exceed log of their number.
    """
    stats = []
    for batch in batches:
        assert batch.x is not None
        stats.append(model.encode(batch.x, model.encode_context(None, len(batch.x))))
    m, logs = (torch.cat(t) for t in zip(*stats, strict=True))
    zero = torch.zeros_like(m)
    kl = gaussian.kl(m, logs, zero, zero)
    z = gaussian.sample(m, logs, generator=torch.Generator().manual_seed(seed))
    own = gaussian.log_prob(z, m, logs).sum(1)
    aggregate = torch.stack([
        torch.logsumexp(gaussian.log_prob(row, m, logs).sum(1), 0) - math.log(len(m)) for row in z
    ])  # fmt: skip
    return {
        "kl": float(kl.sum(1).mean()), "active_units": float((m.var(0) > ACTIVE_VARIANCE).sum()),
        "units_above_a_tenth": float((kl.mean(0) > 0.1).sum()), "mutual_information": float((own - aggregate).mean()),
        "log_sentences": math.log(len(m)),
    }  # fmt: skip


@torch.inference_mode()
def costs(model: TextVAE, batches: Iterable[Batch], samples: int = 64, seed: int = 0) -> tuple[Tensor, Tensor]:
    """`TextVAE.bound` of every sentence in nats, and its tokens with the end, each [K]."""
    torch.manual_seed(seed)
    found, tokens = [], []
    for batch in batches:
        assert batch.x is not None
        found.append(model.bound(batch.x, batch.context, samples))
        tokens.append((batch.x != 0).sum(1) - 1)
    return torch.cat(found), torch.cat(tokens)
