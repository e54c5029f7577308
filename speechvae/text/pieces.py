"""Pieces of a sentence: what stands between spaces, dashes and ellipses, and the marks between them."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from .types import MARK_STRENGTH, SPACE

# What separates words though no space stands there: ellipses, dashes, and marks squeezed between letters.
_SPLIT = re.compile(
    r"\.{2,}|…|—|―|-{2,}|(?<!\d)–|–(?!\d)|(?<=[^\W\d_])[,;!?:](?=[^\W\d_])|(?<=[^\W\d_][^\W\d_])[.](?=[A-Z][a-z])"
)
_STAYS = frozenset(",;!?:.")
_QUOTES = str.maketrans(
    {"’": "'", "‘": "'", "ʼ": "'", "ʻ": "'", "′": "'", "`": "'"}
    | dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff\ufe0e\ufe0f")
)
# Single characters that are words of their own.
SPOKEN_SYMBOLS = frozenset("&%€$£+=@#°§")
_CORE_LEFT = frozenset("$€£¥&%#@+§=")
_CORE_RIGHT = frozenset("%€£$°+&=@§")


@dataclass(frozen=True)
class Piece:
    """A run of characters that is spoken as one or more words.

    Attributes:
        spoken: what is to be pronounced; white space separates several tokens.
        start, end: its span.
        core: the span without the quotes, brackets and marks at its ends.
        phonemes: words whose phonemes were given in the text; `spoken` is then only context.
        kind, form: how SSML wants it read (``say-as``), else "".
    """

    spoken: str
    start: int
    end: int
    core: tuple[int, int]
    phonemes: tuple[tuple[str, ...], ...] = ()
    kind: str = ""
    form: str = ""


def word_list(text: str) -> list[str]:
    """Words between spaces, for tables."""
    return text.split()


def clean(text: str) -> str:
    """Composed characters, straight apostrophes, plain digits, nothing invisible."""
    text = unicodedata.normalize("NFC", text).translate(_QUOTES)
    if text.isascii():
        return text
    return "".join(str(unicodedata.digit(c)) if c.isdigit() and c not in "²³" else c for c in text)


def split_pieces(text: str, start: int, end: int) -> list[Piece]:
    """Pieces of ``text[start:end]`` that can be spoken; emoji and lone marks are none."""
    pieces: list[Piece] = []
    for chunk in re.compile(r"\S+").finditer(text, start, end):
        position = chunk.start()
        for mark in [*_SPLIT.finditer(text, chunk.start(), chunk.end()), None]:
            stop = chunk.end() if mark is None else mark.start()
            if mark is not None and mark[0] in _STAYS:
                stop = mark.end()
            spoken = clean(text[position:stop])
            if any(c.isalnum() for c in spoken) or spoken.strip(".,;:!?\"'()[]") in SPOKEN_SYMBOLS:
                pieces.append(Piece(spoken, position, stop, core_span(text, position, stop)))
            if mark is not None:
                position = mark.end()
    return pieces


def core_span(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without the quotes, brackets and marks at its ends; all of it if nothing else is there."""
    first, last = start, end
    while first < last and not (text[first].isalnum() or text[first] in _CORE_LEFT):
        first += 1
    while last > first and not (text[last - 1].isalnum() or text[last - 1] in _CORE_RIGHT):
        last -= 1
    if first > start and first < last and text[first - 1] in "-−" and text[first].isdecimal():
        first -= 1  # a negative number
    return (first, last) if first < last else (start, end)


def strongest_mark(gap: str, final: bool, default: str = ".") -> str:
    """The one symbol for what stands between two words or, if `final`, after the last one.

    Args:
        default: the final punctuation where the text has none.
    """
    if not gap.isspace():
        gap = re.sub(r"\.{2,}", "…", gap)
        gap = re.sub(r"-{2,}|[―–]|(?:(?<=\s)|^)-(?=\s)", "—", gap)
        for mark in MARK_STRENGTH:
            # A full stop inside a sentence belongs to an abbreviation.
            if mark in gap and (mark != "." or final):
                return mark
    return default if final else SPACE


def affixes(token: str) -> tuple[str, str, str]:
    """Quotes and brackets before, the word, and quotes, brackets and marks after (full stops stay)."""
    body = token.lstrip("\"'“„«([{*_<")
    head = token[: len(token) - len(body)]
    core = body.rstrip(",;:!?\"'”»)]}*_>")
    return head, core, body[len(core) :]
