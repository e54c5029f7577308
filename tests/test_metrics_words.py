"""Measures of a text VAE on cases whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from speechvae import SpeechVAEError
from speechvae.metrics.words import bleu4, costs, distinct, goes_one_way, latent_use
from speechvae.nn.batch import Batch
from speechvae.words.tokens import sentence
from speechvae.words.writer import Writer


def batch_of(writer: Writer, texts: list[str]) -> Batch:
    ids = [torch.tensor(sentence(writer.tokenizer.encode(t))) for t in texts]
    x = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    return Batch(ids=texts, speaker=torch.zeros(len(texts), dtype=torch.long), x=x)


def test_distinct() -> None:
    assert distinct(["a b c", "A b d"]) == 3 / 4  # a b, b c, b d of four
    assert distinct(["a b", "a b"]) == 0.5
    assert distinct(["a", ""]) == 0.0
    assert distinct(["a b a"], n=1) == 2 / 3


def test_a_path_that_turns_back() -> None:
    turn = [0.0, 0.4, 0.4, 1.5]  # angles between the ends
    assert goes_one_way(torch.tensor([[math.cos(a), math.sin(a)] for a in turn]))
    # The second is like neither end: only relative to each other do the likenesses go one way.
    aside = torch.tensor([[1.0, 0.0, 0.0], [0.3, 0.1, 0.95], [0.45, 0.5, 0.1], [0.0, 1.0, 0.0]])
    assert goes_one_way(aside) and not goes_one_way(aside, each=True) and goes_one_way(aside[[0, 2, 3]], each=True)
    turn[2] = 0.3
    assert not goes_one_way(torch.tensor([[math.cos(a), math.sin(a)] for a in turn]))


def test_bleu() -> None:
    pytest.importorskip("sacrebleu", reason="sacrebleu is not installed (extra `measure`)")
    same = ["the cat sat on the mat today", "we went to the sea last week"]
    assert bleu4(same, same) == pytest.approx(100)
    assert bleu4(same, same[::-1]) < 10


def test_bleu_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(SpeechVAEError, match="measure"):
        bleu4(["a"], ["a"])


def test_latent_use_of_units_that_say_something_and_of_one_that_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer.load("test")
    texts = [f"I like {n} books." for n in ("two", "good", "old", "sea", "game", "ship", "late", "cold")]
    means = torch.zeros(8, 4)
    means[:, :3] = torch.tensor([[2.0 * (i >> b & 1) - 1 for b in range(3)] for i in range(8)]) * 3

    def encode(x: torch.Tensor, c: torch.Tensor, with_context: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        logs = torch.full((8, 4), math.log(0.1))
        logs[:, 3] = 0.0
        return means, logs

    monkeypatch.setattr(writer.model, "encode", encode)
    found = latent_use(writer.model, [batch_of(writer, texts)])
    assert found["active_units"] == 3 and found["units_above_a_tenth"] == 3
    # The posteriors lie apart: the latent tells the eight sentences from each other, and no more can be told.
    assert found["mutual_information"] == pytest.approx(math.log(8), abs=1e-3)
    assert found["kl"] == pytest.approx(3 * (0.5 * (9 + 0.01) - 0.5 - math.log(0.1)), rel=1e-4)


def test_costs_are_the_bound_of_every_sentence() -> None:
    writer = Writer.load("test")
    batch = batch_of(writer, ["I like books.", "We went to the sea, and it was cold."])
    nats, tokens = costs(writer.model, [batch, batch], samples=4, seed=1)
    assert nats.shape == (4,) and (nats > 0).all()
    assert tokens.tolist() == [int((row != 0).sum()) - 1 for row in batch.x] * 2  # type: ignore[union-attr]
    again, _ = costs(writer.model, [batch, batch], samples=4, seed=1)
    assert torch.equal(nats, again)
