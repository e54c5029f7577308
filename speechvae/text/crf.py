"""The two small statistical models of gruut's language packages: parts of speech, and guessed pronunciations.

Both are linear-chain conditional random fields (Lafferty et al. 2001) read by python-crfsuite. The features
are those they were trained with (gruut, MIT), built here so that plain text needs no import of gruut, which
takes half a second. Words are coded in base64 because the models store ASCII only.
"""

from __future__ import annotations

import base64
import threading
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import SpeechVAEError

_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
Features = dict[str, str | bool | int | float]


@lru_cache(maxsize=20_000)
def _code(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "replace")).decode("ascii")


class _Model:
    """A CRF opened on first use; one question at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tagger: Any = None
        self._lock = threading.Lock()

    def _tag(self, features: list[Features]) -> list[str]:
        with self._lock:
            if self._tagger is None:
                import pycrfsuite

                if not self._path.is_file():
                    raise SpeechVAEError(f"{self._path} is missing; install the gruut language package again")
                tagger = pycrfsuite.Tagger()
                tagger.open(str(self._path))
                self._tagger = tagger
            return self._tagger.tag(features)


class PartOfSpeechTagger(_Model):
    """Penn Treebank tags for the words of a sentence."""

    def __call__(self, words: Sequence[str]) -> list[str]:
        """One tag per word."""
        return self._tag([self._features(words, index) for index in range(len(words))])

    @staticmethod
    def _features(words: Sequence[str], index: int) -> Features:
        features: Features = {}
        if index == 0:
            features["BOS"] = True
        if index == len(words) - 1:
            features["EOS"] = True
        for distance in range(-2, 3):
            if not 0 <= index + distance < len(words):
                continue
            prefix = "" if distance == 0 else f"{distance:+d}:"
            features.update((prefix + name, value) for name, value in _word_features(words[index + distance]))
        return features


@lru_cache(maxsize=20_000)
def _word_features(word: str) -> tuple[tuple[str, str | bool | int | float], ...]:
    return (
        ("bias", 1.0),
        ("word", _code(word)),
        ("len(word)", len(word)),
        ("word.ispunctuation", word in _PUNCTUATION),
        ("word.isdigit()", word.isdigit()),
        ("word[:2]", word[:2]),
        ("word[:3]", word[:3]),
        ("word[-2:]", word[-2:]),
        ("word[-3:]", word[-3:]),
    )


class Guesser(_Model):
    """Phonemes of words that no lexicon has, letter by letter."""

    def __call__(self, word: str) -> tuple[str, ...]:
        """Phonemes of a word, perhaps none."""
        word = unicodedata.normalize("NFC", word.lower())
        phonemes: list[str] = []
        for coded in self._tag([self._features(word, index) for index in range(len(word))]):
            decoded = base64.b64decode(coded.encode("ascii")).decode("utf-8")
            phonemes.extend(p for p in decoded.split("|") if p not in ("", "_"))
        return tuple(phonemes)

    @staticmethod
    def _features(word: str, index: int) -> Features:
        features: Features = {"bias": 1.0, "grapheme": _code(word[index])}
        if index == 0:
            features["begin"] = True
        if index == len(word) - 1:
            features["end"] = True
        for distance in (-3, -2, -1, 1, 2, 3):
            if 0 <= index + distance < len(word):
                features[f"grapheme{distance:+d}"] = _code(word[index + distance])
        return features
