"""What a user may change about a reading by hand, and the limits of every setting. No library is loaded for it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from speechvae.errors import SpeechVAEError

EXPANSION = (0.5, 2.0)  # of the f0 movement of a drawn reading
LIMITS = {"pitch": (-24.0, 24.0), "range": (0.0, 4.0), "energy": (-24.0, 24.0)}
EMPHASIS = (-1.0, 2.0)
BREAK = (0.0, 10.0)  # s
TEMPERATURE = (0.0, 3.0)
LENGTH_SCALE = (0.25, 4.0)
AXIS = (-5.0, 5.0)  # standard deviations
STEADINESS = 0.9  # of new takes


@dataclass(frozen=True)
class Edits:
    """Changes by hand to the predicted prosody. Words are numbered from 1 through the whole text.

    pitch: semitones; range: factor of the f0 movement around the sentence's mean; energy: dB;
    emphasis: (word, strength) pairs, 1 = strong: longer, higher, louder; breaks: (word, seconds) pairs, a pause of at
    least that length after the word.

    Raises SpeechVAEError for values out of range (pitch and energy -24..24, range 0..4, strength -1..2, seconds
    0..10), for word numbers below 1 and for a word named twice.
    """

    pitch: float = 0.0
    range: float = 1.0
    energy: float = 0.0
    emphasis: tuple[tuple[int, float], ...] = ()
    breaks: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        for name, limits in LIMITS.items():
            check_number(name, getattr(self, name), *limits)
        for name, limits in (("emphasis", EMPHASIS), ("breaks", BREAK)):
            pairs = tuple((word, value) for word, value in getattr(self, name))
            for word, value in pairs:
                if isinstance(word, bool) or not isinstance(word, int) or word < 1:
                    raise SpeechVAEError(f"{name}: words are numbered 1, 2, 3 ..., not {word!r}")
                check_number(f"{name} of word {word}", value, *limits)
            words = [word for word, _ in pairs]
            twice = sorted({word for word in words if words.count(word) > 1})
            if twice:
                raise SpeechVAEError(f"{name}: word {twice[0]} is named twice")
            object.__setattr__(self, name, pairs)

    @property
    def words(self) -> set[int]:
        """The numbers of the words that are named."""
        return {word for word, _ in (*self.emphasis, *self.breaks)}


def check_number(name: str, value: Any, low: float, high: float) -> None:
    """Raise unless `value` is a finite number from `low` to `high`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not (math.isfinite(value) and low <= value <= high):
        raise SpeechVAEError(f"{name} must lie between {low:g} and {high:g}, not {value}")


def parse_words(text: str) -> list[int]:
    """Word numbers from a list such as "3,7-9" → [3, 7, 8, 9]: sorted, each once.

    Raises SpeechVAEError for anything else.
    """
    words: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,6})\s*(?:-\s*(\d{1,6})\s*)?", part)
        if match is None:
            raise SpeechVAEError(f"{text!r} is not a list of word numbers: write for example 3,7-9")
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        if first < 1 or last < first:
            raise SpeechVAEError(f"{part.strip()!r} in {text!r}: words are numbered from 1, and ranges go upwards")
        words.update(range(first, last + 1))
    return sorted(words)
