"""The text VAE: exact where it can be, trained where it must be, and resumed as if nothing had happened."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from speechvae.checkpoint import load_weights
from speechvae.config import Config, TextVAEConfig
from speechvae.errors import SpeechVAEError
from speechvae.models.text_vae import BOS, EOS, HIDDEN, TURN, Mixture, TextVAE
from speechvae.nn import gaussian
from speechvae.stages import STAGES
from speechvae.stages.text_vae import TextVAEStage
from speechvae.trainer import train
from speechvae.words.corpus import prepare_texts
from speechvae.words.decoding import sample
from speechvae.words.tokens import sentence

VOCAB = 30
SMALL = {
    "vocab": 320, "hidden": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 2, "z_dim": 4, "components": 3,
    "dropout": 0.0, "sentence_tokens": 24, "context_turns": 2, "context_tokens": 24,
}  # fmt: skip


def lively(z_dim: int | None = None, **changes: object) -> TextVAE:
    """A model with random weights large enough that everything depends on everything."""
    torch.manual_seed(0)
    model = TextVAE(TextVAEConfig.model_validate({**SMALL, **changes}), VOCAB, z_dim).eval().requires_grad_(False)
    model.no_context.normal_()
    for layer in model.inject:
        assert isinstance(layer, nn.Linear)
        layer.weight *= 10
    if model.z_dim:
        for mlp in (model.posterior, model.mixture):
            for part in mlp:
                if isinstance(part, nn.Linear):
                    part.weight.normal_(std=part.in_features**-0.5)
        for centre in model.centre:
            assert isinstance(centre, nn.BatchNorm1d) and centre.running_mean is not None
            centre.running_mean.normal_()
    return model


def widen(model: TextVAE) -> None:
    """Let the posterior reach wherever the prior may, so that few draws tell what many would."""
    last = model.posterior[-1]
    assert isinstance(last, nn.Linear)
    last.weight[model.z_dim :] *= 0.1
    last.bias[model.z_dim :] = 0.6


@pytest.fixture(scope="module")
def model() -> TextVAE:
    return lively()


SHORT, LONG = [BOS, 7, 8, 9, EOS], [BOS, 9, 20, 21, 7, 7, 12, 29, EOS]
SAID, SAID_LONG = [TURN, 8, 11], [TURN, 5, 6, 7, TURN, 9, 10, 11, 12]


def pad(*rows: list[int]) -> Tensor:
    return nn.utils.rnn.pad_sequence([torch.tensor(r) for r in rows], batch_first=True)


# -- mixtures --------------------------------------------------------------------------------------------------------


def random_mixture(rows: int, k: int, d: int) -> Mixture:
    torch.manual_seed(1)
    return Mixture(torch.randn(rows, k).log_softmax(1), torch.randn(rows, k, d), 0.4 * torch.randn(rows, k, d) - 0.5)


def test_mixture_density() -> None:
    mixture = random_mixture(5, 3, 4)
    z = torch.randn(5, 4)
    parts = torch.distributions.Independent(torch.distributions.Normal(mixture.m, mixture.logs.exp()), 1)
    weights = torch.distributions.Categorical(logits=mixture.log_weights)
    expected = torch.distributions.MixtureSameFamily(weights, parts).log_prob(z)
    torch.testing.assert_close(mixture.log_prob(z), expected)


def test_mixture_density_integrates_to_one() -> None:
    mixture = random_mixture(1, 3, 1)
    z = torch.linspace(-12, 12, 4001)[:, None]
    total = torch.trapezoid(mixture.repeat(len(z)).log_prob(z).exp(), z[:, 0])
    assert float(total) == pytest.approx(1, abs=1e-5)


def test_mixture_repeats_rows_in_place() -> None:
    mixture = random_mixture(2, 3, 4)
    many = mixture.repeat(3)
    assert many.m.shape == (6, 3, 4)
    for i in range(6):
        for a, b in ((many.m, mixture.m), (many.logs, mixture.logs), (many.log_weights, mixture.log_weights)):
            assert torch.equal(a[i], b[i // 3])


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_mixture_draws(temperature: float) -> None:
    n = 40_000
    m, std = torch.tensor([[-4.0, 1.0], [3.0, 2.0]]), torch.tensor([[0.5, 1.0], [0.25, 0.1]])
    mixture = Mixture(torch.tensor([[0.3, 0.7]]).log(), m[None], std.log()[None]).repeat(n)
    z = mixture.sample(temperature, torch.Generator().manual_seed(0))
    assert torch.equal(z, mixture.sample(temperature, torch.Generator().manual_seed(0)))
    of_first = z[:, 0] < 0
    assert float(of_first.float().mean()) == pytest.approx(0.3, abs=0.01)
    for k, own in enumerate((z[of_first], z[~of_first])):
        torch.testing.assert_close(own.mean(0), m[k], atol=0.03, rtol=0)
        torch.testing.assert_close(own.std(0), std[k] * temperature, atol=0.0, rtol=0.03)


def test_mixture_without_noise_draws_means() -> None:
    mixture = random_mixture(1, 3, 4).repeat(50)
    z = mixture.sample(0.0)
    assert {tuple(r) for r in z.tolist()} == {tuple(r) for r in mixture.m[0].tolist()}


# -- the model -------------------------------------------------------------------------------------------------------


def test_shapes(model: TextVAE) -> None:
    x, context = pad(SHORT, LONG), pad(SAID_LONG, SAID)
    for said, kl in ((None, (2, 4)), (context, (2, 1))):
        out = model(x, said)
        assert out["rec"].shape == out["bag"].shape == (2,) and out["m_q"].shape == (2, 4) and out["kl"].shape == kl
        assert ("prior" in out) == (said is not None)
        assert model.bound(x, said, samples=3).shape == (2,)
    c = model.encode_context(context, 2)
    prior = model.prior(c)
    assert prior.log_weights.shape == (2, 3) and prior.m.shape == prior.logs.shape == (2, 3, 4)
    torch.testing.assert_close(prior.log_weights.exp().sum(1), torch.ones(2))
    z = torch.randn(2, 4)
    assert model.states(x, z, c).shape == (2, 9, 16) and model.logits(model.states(x, z, c)).shape == (2, 9, VOCAB)
    assert model.encode_context(None, 3).shape == (3, 16)


def test_padding_changes_nothing(model: TextVAE, monkeypatch: pytest.MonkeyPatch) -> None:
    # The same noise for each sentence, however many there are.
    base = torch.randn(6, 4)
    monkeypatch.setattr(gaussian, "noise", lambda like, *_: base[: len(like)].repeat(len(like) // len(base), 1))
    x, context = pad(SHORT, LONG), pad(SAID_LONG, SAID)
    for said in (None, context):
        c = model.encode_context(said, 2)
        m, logs = model.encode(x, c, said is not None)
        nll, bound = model.token_nll(x, base[:2], c), model.bound(x, said, samples=6)
        for i, (own, before) in enumerate(((SHORT, SAID_LONG), (LONG, SAID))):
            x_1, said_1 = pad(own), None if said is None else pad(before)
            c_1 = model.encode_context(said_1, 1)
            m_1, logs_1 = model.encode(x_1, c_1, said is not None)
            for many, one in ((c, c_1), (m, m_1), (logs, logs_1)):
                torch.testing.assert_close(many[i], one[0], atol=1e-5, rtol=1e-4)
            n = len(own) - 1
            torch.testing.assert_close(nll[i, :n], model.token_nll(x_1, base[i : i + 1], c_1)[0], atol=1e-5, rtol=1e-4)
            assert not nll[i, n:].any()
            torch.testing.assert_close(bound[i], model.bound(x_1, said_1, samples=6)[0], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(model._bag_nll(x, base[:2])[0], model._bag_nll(pad(SHORT), base[:1])[0])


def test_everything_depends_on_everything(model: TextVAE) -> None:
    x, z = pad(LONG), torch.randn(1, 4)
    c, other = model.encode_context(pad(SAID), 1), model.encode_context(pad(SAID_LONG), 1)
    nll = model.token_nll(x, z, c)
    assert (nll != model.token_nll(x, z + 1, c)).all() and (nll != model.token_nll(x, z, other)).all()
    assert not torch.equal(model.encode(x, c)[0], model.encode(x, other)[0])
    assert not torch.equal(model.encode(x, c)[0], model.encode(pad(SHORT), c)[0])
    assert not torch.equal(model.prior(c).m, model.prior(other).m)


def test_no_token_sees_those_after_it(model: TextVAE) -> None:
    z, c = torch.randn(1, 4), model.encode_context(None, 1)
    changed = [*LONG[:5], 25, *LONG[6:]]
    a, b = model.states(pad(LONG), z, c), model.states(pad(changed), z, c)
    assert torch.equal(a[:, :5], b[:, :5]) and (a[:, 5:] != b[:, 5:]).any(2).all()


@pytest.mark.parametrize("steps", [[1] * 9, [4, 5], [1, 3, 1, 4]])
def test_steps_with_a_cache_equal_one_pass(model: TextVAE, steps: list[int]) -> None:
    x, z, c = pad(LONG, [BOS, *range(5, 13)]), torch.randn(2, 4), model.encode_context(pad(SAID_LONG, SAID), 2)
    cache = DynamicCache()
    parts = [model.states(part, z, c, cache) for part in x.split(steps, 1)]
    torch.testing.assert_close(torch.cat(parts, 1), model.states(x, z, c), atol=1e-5, rtol=1e-5)


def test_token_nll_is_that_of_a_distribution(model: TextVAE) -> None:
    z, c = torch.randn(1, 4), model.encode_context(None, 1)
    every = torch.cat([torch.tensor([[BOS, 7, 8]]).expand(VOCAB - 1, -1), torch.arange(1, VOCAB)[:, None]], 1)
    p = (-model.token_nll(every, z.expand(len(every), -1), c.expand(len(every), -1))[:, -1]).exp()
    # Padding is no token that could be asked for, but has a share as all others have.
    padding = model.logits(model.states(every[:1, :-1], z, c))[0, -1].softmax(0)[0]
    assert float(p.sum() + padding) == pytest.approx(1, abs=1e-5)


def test_hidden_words(model: TextVAE) -> None:
    z, c = torch.randn(1, 4), model.encode_context(None, 1)
    x = pad(LONG)
    hidden = x.clone()
    hidden[:, 1:] = HIDDEN
    scores = model.logits(model.states(hidden[:, :-1], z, c))[0].log_softmax(-1)
    expected = -scores.gather(1, x[0, 1:, None])[:, 0]
    torch.testing.assert_close(model.token_nll(x, z, c, word_dropout=1.0)[0], expected)
    torch.manual_seed(0)
    some = model.token_nll(x.expand(400, -1), z.expand(400, -1), c.expand(400, -1), word_dropout=0.25)
    assert torch.allclose(some[:, 0], some[0, 0])  # the beginning is always shown
    changed = (some[:, 1] - model.token_nll(x, z, c)[0, 1]).abs() > 1e-4
    assert float(changed.float().mean()) == pytest.approx(0.25, abs=0.07)


def test_words_are_hidden_in_training_alone() -> None:
    # Its 24 words are the only thing here that is drawn.
    model = lively(z_dim=0, word_dropout=0.9)
    x = pad([BOS, *range(5, 29), EOS])
    assert torch.equal(model(x, None)["rec"], model(x, None)["rec"])
    model.train()
    assert not torch.equal(model(x, None)["rec"], model(x, None)["rec"])
    assert torch.equal(model(x, None, noisy=False)["rec"], model(x, None, noisy=False)["rec"])


def test_bag_counts_words_and_no_marks(model: TextVAE) -> None:
    z = torch.randn(2, 4)
    scores = model.bag(z).log_softmax(1)
    x = pad([BOS, 7, HIDDEN, 7, EOS], LONG)
    expected = [-2 * scores[0, 7], -sum(scores[1, i] for i in LONG[1:-1])]
    torch.testing.assert_close(model._bag_nll(x, z), torch.tensor([float(e) for e in expected]))


def test_posterior_means_have_a_fixed_spread() -> None:
    model = lively(spread=0.6).train()
    torch.manual_seed(2)
    x = torch.randint(5, VOCAB, (64, 10))
    kept = {k: v.clone() for k, v in model.centre.state_dict().items() if "mean" in k}
    for with_context in (False, True):
        m, _ = model.encode(x, model.encode_context(None, 64), with_context)
        torch.testing.assert_close(m.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
        torch.testing.assert_close(m.std(0, correction=0), torch.full((4,), 0.6), atol=1e-3, rtol=0)
        changed = [not torch.equal(kept[k], v) for k, v in model.centre.state_dict().items() if k in kept]
        assert changed == [True, with_context]  # each of the two kinds has its own middle


def test_running_figures_are_means_from_the_start() -> None:
    centre = lively().centre[0].train()
    assert isinstance(centre, nn.BatchNorm1d) and centre.running_mean is not None and centre.running_var is not None
    centre.reset_running_stats()
    torch.manual_seed(3)
    parts = [1e-3 * torch.randn(16, 4) + 0.2 for _ in range(10)]
    for i, part in enumerate(parts, 1):
        plain = nn.functional.batch_norm(part, None, None, training=True)
        torch.testing.assert_close(centre(part), plain)
        seen = torch.stack(parts[:i])
        torch.testing.assert_close(centre.running_mean, seen.mean((0, 1)))
        torch.testing.assert_close(centre.running_var, seen.var(1).mean(0))
    # Later they forget what is long ago.
    for _ in range(400):
        centre(parts[0])
    torch.testing.assert_close(centre.running_mean, parts[0].mean(0), atol=1e-6, rtol=1e-4)
    before = {k: v.clone() for k, v in centre.state_dict().items()}
    centre.eval()(parts[1])
    assert all(torch.equal(before[k], v) for k, v in centre.state_dict().items())
    assert before.keys() == {"running_mean", "running_var", "num_batches_tracked"}


# -- the bound -------------------------------------------------------------------------------------------------------


def blind(model: TextVAE) -> None:
    """Let the decoder not see the latent: then the cost of a sentence is known."""
    for layer in model.inject:
        assert isinstance(layer, nn.Linear)
        layer.weight[:, : model.z_dim] = 0.0


def exact_nll(model: TextVAE, x: Tensor, context: Tensor | None) -> Tensor:
    """Of a model that is blind for its latent."""
    return model.token_nll(x, torch.zeros(len(x), model.z_dim), model.encode_context(context, len(x))).sum(1)


@pytest.mark.parametrize("samples", [1, 5])
def test_bound_is_exact_where_the_posterior_is(samples: int) -> None:
    model = lively()
    blind(model)
    for net in (model.posterior, model.mixture):  # all of them standard normal
        last = net[-1]
        assert isinstance(last, nn.Linear)
        last.weight.zero_()
        last.bias.zero_()
    for centre in model.centre:
        assert isinstance(centre, nn.BatchNorm1d)
        centre.reset_running_stats()
    x = pad(SHORT, LONG)
    for context in (None, pad(SAID_LONG, SAID)):
        expected = exact_nll(model, x, context)
        torch.testing.assert_close(model.bound(x, context, samples), expected, atol=1e-4, rtol=1e-5)
        out = model(x, context)
        torch.testing.assert_close(out["rec"], expected)
        torch.testing.assert_close(out["kl"].sum(1), torch.zeros(2), atol=1e-5, rtol=0)


def test_bound_falls_to_the_exact_cost() -> None:
    model = lively()
    blind(model)
    widen(model)
    n = 3000
    for context in (None, pad(SAID)):
        x, said = pad(SHORT).expand(n, -1), None if context is None else context.expand(n, -1)
        c = model.encode_context(context, 1)
        m, logs = model.encode(x[:1], c, context is not None)
        if context is None:
            kl = float(gaussian.kl(m, logs, torch.zeros_like(m), torch.zeros_like(m)).sum())
        else:
            z = gaussian.sample(m.expand(200_000, -1), logs.expand(200_000, -1))
            kl = float((gaussian.log_prob(z, m, logs).sum(1) - model.prior(c).log_prob(z)).mean())
        assert kl > 0.5  # far enough for a bound to be seen falling
        exact = float(exact_nll(model, x[:1], context))
        torch.manual_seed(0)
        gaps = [model.bound(x, said, samples) - exact for samples in (1, 4, 16)]
        error = [float(g.std()) / math.sqrt(n) for g in gaps]
        assert float(gaps[0].mean()) == pytest.approx(kl, abs=4 * error[0] + 0.02)
        assert all(float(a.mean()) > float(b.mean()) for a, b in itertools.pairwise(gaps))
        assert all(float(g.mean()) > -3 * e for g, e in zip(gaps, error, strict=True))
        # A great many draws at once, in pieces.
        assert float(model.bound(x[:1], context, 20_000)) == pytest.approx(exact, abs=0.1)


@pytest.mark.parametrize("said", [None, SAID])
def test_bound_nears_an_integral(said: list[int] | None) -> None:
    model = lively(z_dim=1)
    widen(model)
    x, context = pad(SHORT), None if said is None else pad(said)
    c = model.encode_context(context, 1)
    grid = torch.linspace(-15, 15, 3001)[:, None]
    prior = None if context is None else model.prior(c).repeat(len(grid))
    log_joint = model.log_prior(grid, prior) - model.token_nll(x.expand(3001, -1), grid, c.expand(3001, -1)).sum(1)
    exact = -float(torch.logsumexp(log_joint, 0)) - math.log(float(grid[1] - grid[0]))
    torch.manual_seed(0)
    assert float(model.bound(x, context, 4000)) == pytest.approx(exact, abs=0.05)
    few = model.bound(x.expand(500, -1), None if context is None else context.expand(500, -1), 2)
    assert float(few.mean()) > exact - 3 * float(few.std()) / math.sqrt(500)


def test_bound_in_pieces(model: TextVAE, monkeypatch: pytest.MonkeyPatch) -> None:
    x = pad(SHORT, LONG)
    base = torch.randn(2, 4)
    monkeypatch.setattr(gaussian, "noise", lambda like, *_: base.repeat(len(like) // 2, 1))
    whole = model.bound(x, None, samples=6, chunk=512)
    torch.testing.assert_close(model.bound(x, None, samples=6, chunk=4), whole)
    torch.testing.assert_close(model.bound(x, None, samples=2), whole)
    monkeypatch.setattr(gaussian, "noise", lambda like, *_: base.repeat(len(like), 1)[: len(like)])
    assert torch.isfinite(model.bound(x, None, samples=3, chunk=1)).all()  # more sentences than fit


def test_a_language_model_is_exact() -> None:
    model = lively(z_dim=0)
    assert not {"posterior", "mixture", "bag", "centre"} & {k.split(".")[0] for k in model.state_dict()}
    x = pad(SHORT, LONG)
    for context in (None, pad(SAID_LONG, SAID)):
        out = model(x, context)
        assert out.keys() == {"rec"}
        torch.testing.assert_close(model.bound(x, context, samples=1), out["rec"])
        assert torch.equal(model.bound(x, context, samples=7), model.bound(x, context, samples=1))
        torch.testing.assert_close(model.bound(x[:1, :5], None if context is None else context[:1])[0], out["rec"][0])
    rows = sample(model, model.no_latent(4), model.encode_context(None, 4), longest=5)
    assert len(rows) == 4 and max(map(len, rows)) <= 5


# -- gradients -------------------------------------------------------------------------------------------------------


def moved(model: TextVAE, loss: Tensor) -> set[str]:
    """The parts of a model that a loss has a gradient for."""
    model.zero_grad()
    loss.backward()
    return {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}


def test_the_prior_and_the_posterior_are_taught_apart() -> None:
    model = lively().requires_grad_(True)
    x, context = pad(SHORT, LONG, LONG[::-1]), pad(SAID, SAID_LONG, SAID)

    def parts(name: str, said: Tensor | None = context) -> set[str]:
        return moved(model, model(x, said)[name].sum())

    assert "mixture" in parts("prior") and not {"posterior", "bag", "decoder", "inject"} & parts("prior")
    assert "posterior" in parts("kl") and not {"mixture", "decoder", "bag"} & parts("kl")
    assert parts("rec") >= {"posterior", "inject", "decoder", "encoder", "embed"} and "mixture" not in parts("rec")
    assert parts("bag") >= {"posterior", "bag"} and "decoder" not in parts("bag")
    assert parts("kl", None) >= {"posterior", "no_context"} and "mixture" not in parts("kl", None)
    assert "no_context" not in parts("rec") and "no_context" in parts("rec", None)


def test_prior_and_kl_of_one_draw_are_one_number(model: TextVAE) -> None:
    x, context = pad(SHORT, LONG), pad(SAID, SAID_LONG)
    out = model(x, context)
    torch.testing.assert_close(out["prior"], out["kl"][:, 0])
    # In the mean it is the divergence, which is none of a component alone.
    torch.manual_seed(0)
    many = model(x.repeat(2000, 1), context.repeat(2000, 1))["kl"].view(2000, 2)
    assert (many.mean(0) > 0).all()


# -- the stage -------------------------------------------------------------------------------------------------------

ANIMALS, VERBS, PLACES = (
    ["cat", "dog", "horse", "bird", "fish", "mouse"], ["sleeps", "waits", "runs", "sings", "hides"],
    ["in the house", "by the sea", "under a tree", "on the road", "near the old mill"],
)  # fmt: skip
ANSWERS = ["Where does it go?", "That is good.", "I saw it, too."]
TINY = {"text_vae": {**SMALL, "kl_warmup": 4, "train": {"steps": 6, "batch_size": 8, "eval_batches": 2}}}


def toy_sentences() -> list[str]:
    return [f"The {a} {v} {p}." for a, v, p in itertools.product(ANIMALS, VERBS, PLACES)]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared work folder of generated dialogues."""
    folder = tmp_path_factory.mktemp("toy")
    lines = [f'{{"turns": ["{s}", "{ANSWERS[i % 3]}"]}}' for i, s in enumerate(toy_sentences())]
    (folder / "a.jsonl").write_text("\n".join(lines))
    prepare_texts([folder / "a.jsonl"], folder / "w", TextVAEConfig.model_validate(SMALL))
    return folder / "w"


def copy_of(work: Path, folder: Path) -> Path:
    """The prepared folder, with room of its own for what training writes."""
    folder.mkdir()
    for item in work.iterdir():
        (folder / item.name).symlink_to(item)
    return folder


def stage_of(work: Path, name: str = "text_vae", **changes: object) -> TextVAEStage:
    stage = STAGES[name](Config.parse({"text_vae": {**TINY["text_vae"], **changes}}, "here"), work)
    assert isinstance(stage, TextVAEStage)
    return stage


def test_batches_alternate_and_depend_on_the_step_alone(work: Path) -> None:
    stage, again = stage_of(work), stage_of(work)
    data, table = stage.batches("train"), stage.table
    steps = list(range(2 * len(data)))
    found = [data[s] for s in steps]
    other = {s: again.batches("train")[s] for s in reversed(steps)}
    for s, batch in zip(steps, found, strict=True):
        assert batch.ids == other[s].ids and (batch.context is None) == (s % 2 == 0)
        assert batch.x is not None and len(batch.ids) == 8
        for i, row in enumerate(map(int, batch.ids)):
            ids = sentence(table.ids(row))
            assert batch.x[i, : len(ids)].tolist() == ids and not batch.x[i, len(ids) :].any()
            if batch.context is not None:
                before = table.context(row, stage.config.text_vae)
                assert batch.context[i, : len(before)].tolist() == before and before
    # Sentences of all lengths come together, or a batch's mean would not be that of all.
    mixed = [len({stage.table.text(int(i)) in ANSWERS for i in b.ids}) == 2 for b in found[::2]]
    assert np.mean(mixed) > 0.9
    # Within a pass no sentence comes twice.
    for order in data.order:
        rows = [i for s in range(order.per_epoch) for i in order(s).tolist()]
        assert len(rows) == len(set(rows)) > 100
    seeded = stage_of(work, train={"steps": 6, "batch_size": 8, "seed": 2})
    assert [seeded.batches("train")[s].ids for s in steps] != [b.ids for b in found]
    held_out = {i for s in range(len(stage.batches("dev"))) for i in stage.batches("dev")[s].ids}
    assert not held_out & {i for b in found for i in b.ids}


def test_texts_without_dialogues_have_no_odd_steps(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(toy_sentences()))
    prepare_texts([tmp_path / "a.txt"], tmp_path / "w", TextVAEConfig.model_validate(SMALL))
    config = Config.parse(TINY, "here")
    figures = train(config, "text_vae", tmp_path / "w", steps=3, device="cpu", progress=False)
    assert figures.keys() == {"nll", "kl", "nats_a_token", "active_units"}


def test_the_kl_rises_in_cycles(work: Path) -> None:
    once, twice, never = (stage_of(work, kl_warmup=w, kl_cycles=c) for w, c in ((4, 1), (2, 2), (0, 3)))
    assert [once.kl_weight(s) for s in range(9)] == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1]
    assert [twice.kl_weight(s) for s in range(10)] == [0.5, 1, 1, 1, 0.5, 1, 1, 1, 1, 1]
    assert [never.kl_weight(s) for s in (0, 1, 50)] == [1, 1, 1]


def test_free_nats(work: Path) -> None:
    stage = stage_of(work, free_nats=0.5, kl_warmup=4)
    batch = stage.batches("train")[0]
    kl = torch.tensor([[0.1, 0.5, 3.0, 0.7], [0.3, 0.9, 1.0, 0.1]], requires_grad=True)
    outputs = {"rec": torch.tensor([4.0, 6.0]), "kl": kl, "bag": torch.tensor([1.0, 2.0])}
    losses = stage.losses(None, batch, outputs, step=1)
    assert losses.keys() == {"rec", "kl", "bag"}
    assert (float(losses["rec"]), float(losses["bag"])) == (5.0, 1.5)
    # By unit the batch's means are 0.2, 0.7, 2.0 and 0.4: what is under a half costs a half, and teaches nothing.
    assert losses["kl"].item() == pytest.approx(0.5 * (0.5 + 0.7 + 2.0 + 0.5))
    losses["kl"].backward()
    assert kl.grad is not None and kl.grad.tolist() == [[0, 0.25, 0.25, 0]] * 2
    # With a context there is one figure for all units.
    for total, cost, slope in ((1.4, 2.0, 0.0), (2.6, 2.6, 0.5)):
        one = torch.tensor([[total - 0.5], [total + 0.5]], requires_grad=True)
        losses = stage.losses(None, batch, {**outputs, "kl": one, "prior": torch.tensor([2.0, 5.0])}, step=100)
        assert losses["kl"].item() == pytest.approx(cost) and float(losses["prior"]) == 3.5
        losses["kl"].backward()
        assert one.grad is not None and one.grad.tolist() == [[slope]] * 2
    for name in ("text_lm", "text_autoencoder"):
        assert stage_of(work, name).losses(None, batch, outputs, 1).keys() == {"rec"}


def test_alarm_for_an_idle_latent(work: Path) -> None:
    stage = stage_of(work)
    assert stage.alarms({"active_units": 0.0}, 8) == [] and stage.alarms({"active_units": 2.0}, 9) == []
    (alarm,) = stage.alarms({"active_units": 1.0}, 9)
    assert alarm.startswith("only 1 of 4 units of z are in use")
    assert stage.alarms({"nll": 3.0}, 9) == []  # a language model has none


def test_figures(work: Path) -> None:
    stage = stage_of(work)
    stage.build()
    batches = [stage.batches("dev")[s] for s in range(2)]
    with torch.no_grad():
        torch.manual_seed(0)
        figures = stage.evaluate(stage.model.eval(), batches)
        torch.manual_seed(0)
        outs = [stage.model(b.x, b.context) for b in batches]
    for name, out, b in zip(("", "_context"), outs, batches, strict=True):
        assert b.x_lengths is not None
        kl = float(out["kl"].sum(1).mean())
        assert figures[f"kl{name}"] == pytest.approx(kl)
        nll = float(out["rec"].mean()) + kl
        assert figures[f"nll{name}"] == pytest.approx(nll)
        assert figures[f"nats_a_token{name}"] == pytest.approx(nll / (float(b.x_lengths.float().mean()) - 1))


def last(work: Path, stage: str, name: str) -> dict[str, Tensor]:
    return load_weights(work / "checkpoints" / stage / "last" / f"{name}.safetensors", "checkpoint")


@pytest.mark.parametrize("stage", ["text_vae", "text_lm", "text_autoencoder"])
def test_resumed_equals_uninterrupted(work: Path, tmp_path: Path, stage: str) -> None:
    config = Config.parse(TINY, "here")
    folders, figures = [], []
    # After its first step nothing is known of the prior's gradients, as no context has been seen.
    for name, slices in (("whole", [6]), ("sliced", [1, 4, 6])):
        folder = copy_of(work, tmp_path / name)
        for end in slices:
            found = train(config, stage, folder, steps=end, device="cpu", progress=False)
        folders.append(folder)
        figures.append(found)
    assert figures[0] == figures[1] and all(math.isfinite(v) for v in figures[0].values())
    expected = {"nll", "nats_a_token", "nll_context", "nats_a_token_context"}
    if stage == "text_vae":
        expected |= {"kl", "kl_context", "active_units"}
    assert figures[0].keys() == expected
    for name in ("model", "ema", "optimizer"):
        a, b = (last(folder, stage, name) for folder in folders)
        assert a.keys() == b.keys()
        different = [k for k in a if not torch.equal(a[k], b[k])]
        assert different == [], name
    trained = stage_of(folders[0], stage)
    begun = last(folders[0], stage, "model")
    torch.manual_seed(trained.train.seed)
    trained.build()
    assert not torch.equal(begun["embed.weight"], trained.model.state_dict()["embed.weight"])
    assert (begun["inject.0.weight"].shape[1] == SMALL["hidden"]) == (stage == "text_lm")


def test_clear_errors_before_training(tmp_path: Path) -> None:
    with pytest.raises(SpeechVAEError, match="run `speechvae prepare-text"):
        train(Config.parse(TINY, "here"), "text_vae", tmp_path, device="cpu", progress=False)
    with pytest.raises(SpeechVAEError, match="text_vae.latent: Extra inputs"):
        Config.parse({"text_vae": {"latent": 3}}, "here")
    with pytest.raises(SpeechVAEError, match="hidden 18 must be a multiple of twice heads 2"):
        Config.parse({"text_vae": {"hidden": 18, "heads": 2}}, "here")


def test_samples_are_shown(work: Path) -> None:
    for name in ("text_vae", "text_lm"):
        stage = stage_of(work, name)
        stage.build()
        shown: list[tuple[str, str, int]] = []
        writer = SimpleNamespace(add_text=lambda *args: shown.append(args))  # noqa: B023
        stage.show(stage.model.eval(), stage.batches("dev")[0], writer, 7)
        ((tag, text, step),) = shown
        assert (tag, step) == ("samples", 7) and text.count("\n") >= 7


# -- does it learn ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_trained_latent_holds_the_sentence(work: Path, tmp_path: Path) -> None:
    config = Config.parse({"text_vae": {
        **SMALL, "vocab": 480, "hidden": 32, "z_dim": 6, "spread": 1.0, "free_nats": 1.0, "kl_warmup": 100,
        "word_dropout": 0.5, "train": {
            "steps": 250, "batch_size": 32, "lr": 8e-3, "grad_clip": 20.0, "warmup_steps": 20, "decay_fraction": 0.9,
            "ema_decay": 0.95, "loss_weights": {"bag": 1.0},
        },
    }}, "here")  # fmt: skip
    cfg = config.text_vae
    prepare_texts([work.parent / "a.jsonl"], tmp_path, cfg)
    figures = train(config, "text_vae", tmp_path, device="cpu", progress=False)
    assert figures["active_units"] >= 5 and figures["kl"] > 3
    stage = TextVAEStage(config, tmp_path)
    stage.load_trained()
    model, table = stage.model, stage.table
    rows = [r for s in ("train", "dev") for r in table.rows(s, cfg) if table.text(r).startswith("The ")]
    x = table.batch(rows, cfg, with_context=False).x
    assert x is not None and len(x) > 100
    half = len(x) // 2
    with torch.no_grad():
        c = model.encode_context(None, len(x))
        z, _ = model.encode(x, c)
        own, foreign = (model.token_nll(x, latent, c).sum(1).mean() for latent in (z, z.roll(half, 0)))
    assert float(foreign - own) > 1
    written = [table.tokenizer.decode(r).split() for r in sample(model, z, c, temperature=0.0)]
    texts = [table.text(r).split() for r in rows]

    def right(wanted: list[list[str]]) -> float:
        """Share of the words that stand where they should."""
        pairs = zip(written, wanted, strict=True)
        return float(np.mean([a == b for v, w in pairs for a, b in zip(v, w, strict=False)]))

    assert right(texts) > 0.6 and right(texts) > right(texts[-half:] + texts[:-half]) + 0.2
    # The answers, too, are learnt: there are three, and the context's own prior knows where they are.
    said = table.batch(table.rows("dev", cfg, with_context=True), cfg, with_context=True)
    with torch.no_grad():
        c = model.encode_context(said.context, len(said.ids)).repeat(10, 1)
        z = model.prior(c).sample(1.0, torch.Generator().manual_seed(0))
    answers = [table.tokenizer.decode(r) for r in sample(model, z, c, temperature=0.0)]
    assert np.mean([a in ANSWERS for a in answers]) > 0.75 and len(set(answers) & set(ANSWERS)) >= 2
