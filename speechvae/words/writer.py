"""The writer: sentences drawn, varied, blended, answered and judged by the text VAE."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from speechvae.errors import SpeechVAEError
from speechvae.models.text_vae import TextVAE
from speechvae.words.decoding import sample
from speechvae.words.paths import best_path, lean, likeness
from speechvae.words.texts import clean, fault
from speechvae.words.tokens import Tokenizer, context_of, sentence
from speechvae.words.writer_files import (
    DEFAULT_WRITER,
    Usual,
    WriterSettings,
    find_writer,
    load_writer,
    tiny_writer,
)

WORD_TEMPERATURE, TOP_P = 0.8, 0.9  # of the words, given a latent: measured in recipes/text_vae/RESULTS.md
LIKE_TEMPERATURE = 0.5
LIKE_DRAWS = 6  # candidates for each variation
BOUND_SAMPLES = 32
ODDEST_REPLY = 2.0  # standard deviations above the usual cost: what is odder is dropped
PATH_DRAWS = 24  # candidates for each step of a path
POINTS = 8  # of a path whose candidates are decoded at once: memory
EVEN = 4.0  # weight of even steps in words, beside nearness in the latents
DRAWS = 4  # candidates for each reply that is wanted
ROUNDS = 3  # of draws, where too many are dropped
STRANGE = 0.5  # share of letters the writer never saw, from which on a text cannot be read


@dataclass(frozen=True)
class Written:
    """A sentence, its latent [D], and what it costs: `nats` bounds -log p from above; `oddity` is in standard
    deviations above the usual cost of a sentence of its length."""

    text: str
    z: tuple[float, ...]
    nats: float
    tokens: int
    oddity: float


@dataclass(frozen=True)
class Judged:
    """A line of somebody's text. `reason`: why it was not judged (then nats and oddity are infinite), or empty."""

    number: int
    text: str
    nats: float
    tokens: int
    oddity: float
    reason: str = ""


class Writer:
    """A small text VAE with its tokenizer. It writes plausible English; it knows nothing and checks nothing.

    `blocked`: a hook that is asked about every sentence before it is handed out; those it is True for are dropped.
    Not thread safe.
    """

    def __init__(
        self, settings: WriterSettings, model: TextVAE, tokenizer: Tokenizer,
        blocked: Callable[[str], bool] | None = None,
    ) -> None:  # fmt: skip
        self.settings, self.model, self.tokenizer, self.blocked = settings, model, tokenizer, blocked

    @classmethod
    def load(cls, name_or_path: str | Path = DEFAULT_WRITER, blocked: Callable[[str], bool] | None = None) -> Writer:
        """A writer by name ("topical"; "test" has random weights) or by the path of its folder."""
        if str(name_or_path) == "test":
            return cls(*tiny_writer(0), blocked)
        return cls(*load_writer(find_writer(name_or_path)), blocked)

    # -- latents -------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Posterior means [B, D] of sentences without a context: near ones are like each other."""
        return self._encode(texts)[0]

    def _latents(self, texts: Sequence[str]) -> Tensor:
        """The same of what the writer itself has written."""
        x = _pad([sentence(self.tokenizer.encode(t)[: self.model.cfg.sentence_tokens]) for t in texts])
        return self.model.encode(x, self.model.encode_context(None, len(x)))[0]

    def _encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        x = _pad([sentence(self._tokens(t)) for t in texts])
        return self.model.encode(x, self.model.encode_context(None, len(x)))

    def _tokens(self, text: str) -> list[int]:
        """Ids of a sentence that the model can take in whole."""
        text = self._readable(text)
        ids = self.tokenizer.encode(text)
        most = self.model.cfg.sentence_tokens
        if len(ids) > most:
            raise SpeechVAEError(
                f"{text[:60]!r}… has {len(ids)} tokens, and this writer reads sentences of at most {most}: shorten it"
            )
        return ids

    def _readable(self, text: str) -> str:
        text = clean(text)
        why = fault(text)
        if why:
            raise SpeechVAEError(f"{text[:60]!r} cannot be read as a sentence: {why}")
        letters = [c for c in text if c.isalpha()]
        known = self.settings.characters
        if known and letters and sum(c not in known for c in letters) > STRANGE * len(letters):
            raise SpeechVAEError(
                f"{text[:60]!r} is in letters that the writer {self.settings.name!r} never saw (it reads "
                f"{self.settings.language}): train one on texts of that language (recipes/text_vae)"
            )
        return text

    # -- writing -------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def write(
        self, n: int = 5, like: str | None = None, temperature: float | None = None, seed: int | None = None,
        word_temperature: float = WORD_TEMPERATURE,
    ) -> list[Written]:  # fmt: skip
        """`n` different sentences; with `like`, variations of that one.

        `temperature` is that of the latents: how far from the middle of all texts, or from `like`, they may lie. It
        multiplies the prior's standard deviation (default 1), or that of the posterior of `like` (default
        `LIKE_TEMPERATURE`: a posterior is wide, and its whole width leads far from the sentence); of the variations
        drawn those are kept whose own latents lie nearest. `word_temperature` is that of the words given a latent; 0
        takes the likeliest ones. Fewer than `n` come back only where the draws repeat each other (temperatures of
        zero) or are blocked.
        """
        _at_least(n, 1, "n")
        generator = _generator(seed)
        if temperature is None:
            temperature = 1.0 if like is None else LIKE_TEMPERATURE
        if like is None:
            m, logs = torch.zeros(1, self.model.z_dim), torch.zeros(1, self.model.z_dim)
        else:
            m, logs = self._encode([like])
        found: dict[str, Tensor] = {}
        avoid = set() if like is None else {clean(like)}
        for _ in range(ROUNDS):
            noise = torch.randn((2 if like is None else LIKE_DRAWS) * n, self.model.z_dim, generator=generator)
            z = m + noise * logs.exp() * temperature
            for text, row in self._decoded(z, None, word_temperature, generator):
                if text not in avoid:
                    found.setdefault(text, row)
            if len(found) >= n:
                break
        texts = list(found)
        if like is not None and texts:
            gaps = dict(zip(texts, (self._latents(texts) - m).norm(dim=1).tolist(), strict=True))
            texts.sort(key=gaps.__getitem__)
        return self._cost(texts[:n], [found[t] for t in texts[:n]])

    @torch.inference_mode()
    def between(self, a: str, b: str, steps: int = 5) -> list[Written]:
        """From sentence `a` to sentence `b` in `steps` of equal length in the latents; the ends are the given ones.

        Several sentences are decoded from each latent on the way. Of all of them that chain is taken whose latents lie
        nearest to the line and whose words change as evenly, among the chains that never lead back: by their latents no
        sentence is nearer to `a`, and none is further from `b`, than the one before; by the mean of their word vectors
        none is nearer to `a`, relative to `b`. Where too few fit, one is repeated, so there are always `steps`.
        """
        _at_least(steps, 2, "steps")
        ends = self.embed([a, b])
        a, b = clean(a), clean(b)
        if steps == 2:
            return self._cost([a, b], ends)
        points = ends[:1] + (ends[1:] - ends[:1]) * torch.linspace(0, 1, steps)[1:-1, None]
        drawn = dict.fromkeys(t for some in points.split(POINTS) for t in self._candidates(some) if t not in (a, b))
        texts = [a, *drawn, b]
        found = torch.cat([ends[:1], self._latents(list(drawn)) if drawn else ends[:0], ends[1:]])
        words = self._word_vectors(texts)
        to_a, to_b = likeness(found, ends)
        by_words = lean(words, words[[0, -1]])
        chosen = best_path(self._gaps(found, points, by_words), torch.stack([to_a, -to_b, by_words]))
        return self._cost([a, *(texts[i] for i in chosen), b], [ends[0], *points, ends[1]])

    def _gaps(self, found: Tensor, points: Tensor, words: Tensor) -> Tensor:
        """How far candidates [K] are from where each step [T] should be, in latents and in words: [T, K]."""
        latents = torch.cdist(points, found) / (found[-1] - found[0]).norm().clamp(min=1e-6)
        even = torch.linspace(float(words[0]), float(words[-1]), len(points) + 2)[1:-1, None]
        return latents + EVEN * (words - even).abs() / (words[0] - words[-1]).abs().clamp(min=1e-6)

    def _word_vectors(self, texts: Sequence[str]) -> Tensor:
        """Mean word vectors [K, D] of texts, about their centre: without that, all texts are alike."""
        table = self.model.embed.weight
        e = torch.stack([table[self.tokenizer.encode(t)].mean(0) for t in texts])
        return e - e.mean(0)

    def _candidates(self, points: Tensor) -> list[str]:
        """Sentences of latents [T, D] that may be handed out: the likeliest of each, and some that are drawn."""
        z = points.repeat_interleave(PATH_DRAWS, 0)
        c = self.model.encode_context(None, len(z))
        rows = sample(self.model, points, c[: len(points)], 0.0)
        rows += sample(self.model, z, c, WORD_TEMPERATURE, TOP_P, _generator(0))
        return [t for t in (clean(self.tokenizer.decode(r)) for r in rows) if self._allowed(t)]

    @torch.inference_mode()
    def reply(
        self, turns: str | Sequence[str], n: int = 3, temperature: float = 1.0, seed: int | None = None,
        word_temperature: float = WORD_TEMPERATURE,
    ) -> list[Written]:  # fmt: skip
        """`n` different replies to what was said (the last turns of a dialogue, oldest first), the likeliest first.

        Several times as many are drawn. Odd ones (oddity above `ODDEST_REPLY`), repetitions of what was said and
        blocked ones are dropped; of the rest those that differ most in their latents are chosen, and ranked by cost.
        """
        _at_least(n, 1, "n")
        said = [self._readable(t) for t in ([turns] if isinstance(turns, str) else turns)]
        if not said:
            raise SpeechVAEError("there is nothing to reply to: give at least one turn")
        cfg = self.model.cfg
        ids = context_of([self.tokenizer.encode(t) for t in said[-cfg.context_turns :]], cfg.context_tokens)
        context = torch.tensor([ids])
        generator = _generator(seed)
        prior = self.model.prior(self.model.encode_context(context, 1))
        found: dict[str, Written] = {}
        for _ in range(ROUNDS):
            z = prior.repeat(DRAWS * n).sample(temperature, generator)
            drawn = self._decoded(z, context, word_temperature, generator)
            for w in self._cost([t for t, _ in drawn], [row for _, row in drawn], context):
                if w.text.lower() not in {t.lower() for t in said}:
                    found.setdefault(w.text, w)
            if sum(w.oddity <= ODDEST_REPLY for w in found.values()) >= 2 * n:
                break
        likely = [w for w in found.values() if w.oddity <= ODDEST_REPLY]
        return sorted(_furthest(likely, n), key=lambda w: w.oddity)

    def _decoded(
        self, z: Tensor, context: Tensor | None, word_temperature: float, generator: torch.Generator | None
    ) -> list[tuple[str, Tensor]]:  # fmt: skip
        """Sentences of latents [B, D], each with its latent; without those that are no sentences or blocked."""
        c = self.model.encode_context(context, 1).expand(len(z), -1)
        rows = sample(self.model, z, c, word_temperature, TOP_P, generator)
        texts = [clean(self.tokenizer.decode(r)) for r in rows]
        return [(t, row) for t, row in zip(texts, z, strict=True) if self._allowed(t)]

    def _allowed(self, text: str) -> bool:
        return not fault(text) and not (self.blocked is not None and self.blocked(text))

    def _cost(self, texts: Sequence[str], z: Iterable[Tensor], context: Tensor | None = None) -> list[Written]:
        """Texts with their latents [D] and what they cost."""
        ids = [self.tokenizer.encode(t) for t in texts]
        nats = self._bound(ids, context)
        usual = self.settings.usual if context is None else self.settings.usual_reply
        return [
            Written(t, tuple(row.tolist()), cost, len(i), usual.oddity(cost, len(i)))
            for t, row, cost, i in zip(texts, z, nats, ids, strict=True)
        ]

    def _bound(self, ids: Sequence[Sequence[int]], context: Tensor | None, samples: int = BOUND_SAMPLES) -> list[float]:
        """Importance-weighted bounds in nats. The draws are the same every time, whatever else is drawn."""
        out: list[float] = []
        state = torch.random.get_rng_state()
        torch.manual_seed(0)
        try:
            for i in range(0, len(ids), 16):
                x = _pad([sentence(row) for row in ids[i : i + 16]])
                rows = None if context is None else context.expand(len(x), -1)
                out += self.model.bound(x, rows, samples).tolist()
        finally:
            torch.random.set_rng_state(state)
        return out

    # -- judging -------------------------------------------------------------------------------------------------

    @torch.inference_mode()
    def odd(
        self, lines: Sequence[str], samples: int = 8, progress: Callable[[int], object] | None = None
    ) -> list[Judged]:
        """Every line that is not empty, the oddest first.

        A line longer than the model reads is judged in pieces, whose costs add up. Lines that are no sentences at all
        (too long, control characters, no letters) come first, with the reason.
        """
        found, most = [], self.model.cfg.sentence_tokens
        for number, line in enumerate(lines, 1):
            text = clean(line)
            if progress is not None:
                progress(1)
            if not text:
                continue
            why = fault(text)
            if why:
                found.append(Judged(number, text, float("inf"), 0, float("inf"), why))
                continue
            ids = self.tokenizer.encode(text)
            pieces = [ids[i : i + most] for i in range(0, len(ids), most)]
            costs = self._bound(pieces, None, samples)
            worst = max(self.settings.usual.oddity(c, len(p)) for c, p in zip(costs, pieces, strict=True))
            found.append(Judged(number, text, sum(costs), len(ids), worst))
        if not found:
            raise SpeechVAEError("there is no line to judge: all are empty")
        return sorted(found, key=lambda j: -j.oddity)


def block_words(words: Sequence[str]) -> Callable[[str], bool]:
    """A hook for `blocked`: True for texts with any of these words or phrases, whatever their case.

    Whole words alone count: "can" blocks neither "canal" nor "can't", but "a 'can'" and "can-opener".
    """

    def folded(text: str) -> str:
        return clean(text).casefold().replace("’", "'")

    unwanted = "|".join(re.escape(w) for w in sorted({folded(w) for w in words} - {""}))
    letter = r"[^\W_]"
    pattern = re.compile(rf"(?<!{letter})(?<!{letter}')(?:{unwanted})(?!'?{letter})")
    return lambda text: bool(unwanted) and pattern.search(folded(text)) is not None


def fit_usual(costs: Sequence[float], tokens: Sequence[int]) -> Usual:
    """`Usual` from what held-out sentences cost: least squares for the mean, then for the absolute deviation."""
    import numpy as np

    n, y = np.asarray(tokens, float), np.asarray(costs, float)
    b, a = np.polyfit(n, y, 1) if len(set(tokens)) > 2 else (0.0, 0.0)
    if b <= 0:  # a few sentences of about one length: no line can be told from them
        a, b = 0.0, float(y.mean() / n.mean())
        return Usual(a=a, b=b, c=float(max((y - b * n).std(), 0.5)))
    # The mean absolute deviation of a normal variable is sqrt(2 / pi) standard deviations.
    d, c = np.polyfit(n, np.abs(y - a - b * n) * np.sqrt(np.pi / 2), 1)
    return Usual(a=float(a), b=float(b), c=float(max(c, 0.5)), d=float(max(d, 0.0)))


def _furthest(found: Sequence[Written], n: int) -> list[Written]:
    """The likeliest one, then again and again the one furthest from those chosen, `n` in all."""
    left = sorted(found, key=lambda w: w.oddity)
    chosen = left[:1]
    left = left[1:]
    while left and len(chosen) < n:
        places = torch.tensor([w.z for w in chosen])
        gaps = torch.cdist(torch.tensor([w.z for w in left]), places).min(1).values
        chosen.append(left.pop(int(gaps.argmax())))
    return chosen


def _pad(rows: Sequence[Sequence[int]]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(r) for r in rows], batch_first=True)


def _generator(seed: int | None) -> torch.Generator:
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator


def _at_least(value: int, least: int, name: str) -> None:
    if value < least:
        raise SpeechVAEError(f"{name} must be at least {least}, not {value}")
