"""Word and character errors between a text and what a recogniser heard.

Reference and hypothesis pass through the same :func:`normalise`, so that spelling conventions cost nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from speechvae.errors import SpeechVAEError
from speechvae.metrics._common import require

# One spelling for what is spoken alike, applied to both sides.
_ALIKE = {
    "mister": "mr", "missus": "mrs", "misses": "mrs", "doctor": "dr", "saint": "st", "okay": "ok",
    "etcetera": "etc", "alright": "all right", "cannot": "can not", "someday": "some day", "anymore": "any more",
}  # fmt: skip
_CURRENCY = {"$": "dollars", "£": "pounds", "€": "euros", "¥": "yen"}
_CURRENCY_ONE = {"$": "dollar", "£": "pound", "€": "euro", "¥": "yen"}
_SIGNS = {
    "en": {"%": " percent ", "&": " and ", "+": " plus ", "=": " equals ", "@": " at ", "°": " degrees "},
    "de": {"%": " prozent ", "&": " und ", "+": " plus ", "=": " gleich ", "@": " at ", "°": " grad "},
}
_NUMBER = re.compile(r"([$£€¥]?)(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(st|nd|rd|th)?\b", re.IGNORECASE)


def normalise(text: str, language: str = "en-us") -> str:
    """Lower case, numbers in words, punctuation out, one space between words; apostrophes inside words stay.

    "On the 3rd, Mr. O'Neil paid $1,200.50" → "on the third mr o'neil paid one thousand two hundred dollars fifty".
    Hyphens part words. Numbers are spelt by num2words in `language` (its first two letters count).
    """
    short = language[:2].lower()
    text = unicodedata.normalize("NFKC", text).replace("’", "'").replace("‘", "'").lower()
    if any(c.isdigit() for c in text):
        text = _NUMBER.sub(lambda m: f" {_spell(m, short)} ", text)
    for sign, word in _SIGNS.get(short, {}).items():
        text = text.replace(sign, word)
    text = re.sub(r"\bet cetera\b", "etcetera", text)
    text = "".join(c if c.isalnum() or c == "'" or unicodedata.category(c) == "Mn" else " " for c in text)
    words = [word.strip("'") for word in text.split()]
    return " ".join(" ".join(_ALIKE.get(word, word) for word in words if word).split())


def _spell(match: re.Match[str], language: str) -> str:
    from num2words import num2words

    sign, whole, fraction, ordinal = match.groups()
    digits = whole.replace(",", "")
    if len(digits) > 15:  # a serial number is read digit by digit
        return " ".join(num2words(int(d), lang=language) for d in digits)
    number = int(digits)
    if ordinal:
        return str(num2words(number, lang=language, to="ordinal"))
    if sign:
        name = (_CURRENCY_ONE if number == 1 else _CURRENCY)[sign]
        cents = f" {num2words(int((fraction + '00')[1:3]), lang=language)}" if fraction else ""
        return f"{num2words(number, lang=language)} {name}{cents}"
    if fraction:
        return str(num2words(float(digits + fraction), lang=language))
    if len(whole) == 4 and 1100 <= number < 2000:
        return str(num2words(number, lang=language, to="year"))
    # British "and" is dropped: "one hundred five".
    return str(num2words(number, lang=language)).replace(" and ", " ")


@dataclass(frozen=True)
class Errors:
    """Edit operations between reference and hypothesis, in words or characters; they add up over a corpus."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    length: int = 0  # of the reference

    @property
    def total(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per unit of the reference, 0 at best, above 1 when much was inserted; nan without a reference."""
        return self.total / self.length if self.length else float("nan")

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            self.substitutions + other.substitutions, self.deletions + other.deletions,
            self.insertions + other.insertions, self.length + other.length,
        )  # fmt: skip


def word_errors(reference: str, hypothesis: str, language: str = "en-us") -> Errors:
    """Edits between the normalised words (Levenshtein, by jiwer)."""
    jiwer = require("jiwer", "The word error rate")
    ref, hyp = normalise(reference, language), normalise(hypothesis, language)
    if not ref:
        return Errors(insertions=len(hyp.split()))
    found = jiwer.process_words(ref, hyp)
    return Errors(found.substitutions, found.deletions, found.insertions, len(ref.split()))


def character_errors(reference: str, hypothesis: str, language: str = "en-us") -> Errors:
    """Edits between the normalised characters, spaces included."""
    jiwer = require("jiwer", "The character error rate")
    ref, hyp = normalise(reference, language), normalise(hypothesis, language)
    if not ref:
        return Errors(insertions=len(hyp))
    found = jiwer.process_characters(ref, hyp)
    return Errors(found.substitutions, found.deletions, found.insertions, len(ref))


def wer(references: Sequence[str], hypotheses: Sequence[str], language: str = "en-us") -> float:
    """Word error rate of a corpus: all edits over all reference words."""
    return _over(references, hypotheses, language, word_errors)


def cer(references: Sequence[str], hypotheses: Sequence[str], language: str = "en-us") -> float:
    """Character error rate of a corpus: all edits over all reference characters."""
    return _over(references, hypotheses, language, character_errors)


def _over(
    references: Sequence[str], hypotheses: Sequence[str], language: str, count: Callable[[str, str, str], Errors]
) -> float:
    if len(references) != len(hypotheses):
        raise SpeechVAEError(f"{len(references)} references but {len(hypotheses)} hypotheses: they must be pairs")
    return sum((count(r, h, language) for r, h in zip(references, hypotheses, strict=True)), Errors()).rate


def bootstrap_interval(
    errors: Sequence[Errors], draws: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Interval of the corpus error rate under resampling of utterances (Bisani & Ney, 2004)."""
    if not errors:
        raise SpeechVAEError("no utterances to resample")
    return _interval(np.array([e.total for e in errors], float), errors, draws, level, seed)


def paired_interval(
    errors: Sequence[Errors], others: Sequence[Errors], draws: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Interval of the difference between the error rates of two systems, `errors` minus `others`, on the same texts."""
    if not errors or [e.length for e in errors] != [e.length for e in others]:
        raise SpeechVAEError("the errors of two systems must be of the same texts, in one order")
    differences = [e.total - o.total for e, o in zip(errors, others, strict=True)]
    return _interval(np.array(differences, float), errors, draws, level, seed)


def _interval(
    totals: np.ndarray, errors: Sequence[Errors], draws: int, level: float, seed: int
) -> tuple[float, float]:
    lengths = np.array([e.length for e in errors], float)
    picks = np.random.default_rng(seed).integers(0, len(errors), (draws, len(errors)))
    rates = totals[picks].sum(1) / np.maximum(lengths[picks].sum(1), 1)
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
