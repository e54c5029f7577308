"""What plain text and SSML have in common: characters, and what was asked for some of them."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import SpeechVAEError
from .ipa import parse_words


@dataclass(frozen=True)
class Style:
    """Prosody asked for: speaking rate (1 = normal, 2 = twice as fast), semitones, emphasis (-1 to 1)."""

    rate: float = 1.0
    pitch: float = 0.0
    emphasis: float = 0.0


@dataclass(frozen=True)
class Override:
    """A run of characters that is to be spoken otherwise than written.

    Attributes:
        start, end: its span in the text of the document.
        spoken: the words to speak instead.
        phonemes: phonemes of its words; they win over `spoken`.
        kind, form: how to read it (``say-as``), else "".
        word: the span to show as the word, where that is not all of it.
    """

    start: int
    end: int
    spoken: str
    phonemes: tuple[tuple[str, ...], ...] = ()
    kind: str = ""
    form: str = ""
    word: tuple[int, int] | None = None


@dataclass
class Document:
    """Text and what was asked for it; all positions are positions in `text`.

    Attributes:
        text: the characters to speak.
        overrides: sorted, not overlapping.
        breaks: (position, seconds) of pauses, sorted; 0 seconds = no pause here.
        cuts: positions where a sentence must end, sorted.
        whole: spans that are one sentence whatever marks stand in them.
        styles: (start, style) of runs, sorted by start; the first run begins at 0.
        origins: (start, source start, length in the source or None = as long as in `text`) of runs, sorted.
    """

    text: str
    overrides: list[Override] = field(default_factory=list)
    breaks: list[tuple[int, float]] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    whole: list[tuple[int, int]] = field(default_factory=list)
    styles: list[tuple[int, Style]] = field(default_factory=list)
    origins: list[tuple[int, int, int | None]] = field(default_factory=list)

    def style_at(self, position: int) -> Style:
        """The style of the character at `position`."""
        index = bisect.bisect_right(self.styles, position, key=lambda run: run[0]) - 1
        return self.styles[index][1] if index >= 0 else Style()

    def source_span(self, start: int, end: int) -> tuple[int, int]:
        """The span in the source that ``text[start:end]`` came from."""
        if not self.origins:
            return start, end
        first, _ = self._origin(start)
        return first, (first if end <= start else self._origin(end - 1)[1])

    def _origin(self, position: int) -> tuple[int, int]:
        index = max(bisect.bisect_right(self.origins, position, key=lambda run: run[0]) - 1, 0)
        start, source, length = self.origins[index]
        if length is None:
            return source + position - start, source + position - start + 1
        return source, source + length

    def overrides_in(self, start: int, end: int) -> Iterator[Override]:
        """The overrides that begin in ``[start, end)``."""
        index = bisect.bisect_left(self.overrides, start, key=lambda o: o.start)
        while index < len(self.overrides) and self.overrides[index].start < end:
            yield self.overrides[index]
            index += 1

    def breaks_in(self, start: int, end: int) -> Iterator[tuple[int, float]]:
        """The breaks at positions in ``[start, end)``."""
        index = bisect.bisect_left(self.breaks, start, key=lambda b: b[0])
        while index < len(self.breaks) and self.breaks[index][0] < end:
            yield self.breaks[index]
            index += 1


_INLINE = re.compile(r"\[\[([^\[\]]*)\]\]")


def inline_phonemes(document: Document, language: str) -> Document:
    """Add an override for every ``[[phonemes]]`` in the text.

    ``[[h ə l ˈoʊ]]`` by itself is a word; written directly after a word, ``tomato[[təmˈɑtoʊ]]``, it says how to
    pronounce that word. ``|`` separates several words.

    Raises:
        SpeechVAEError: what stands in the brackets is no IPA; the message gives the position.
    """
    text = document.text
    if "[[" not in text:
        return document
    found: list[Override] = []
    for match in _INLINE.finditer(text):
        before = bisect.bisect_left(document.overrides, match.end(), key=lambda o: o.start) - 1
        if before >= 0 and document.overrides[before].end > match.start():
            continue
        begin = match.start()
        floor = found[-1].end if found else 0
        while begin > floor and (text[begin - 1].isalnum() or text[begin - 1] in "'’-"):
            begin -= 1
        try:
            phonemes = parse_words(match[1], language)
        except SpeechVAEError as error:
            line = text.count("\n", 0, match.start()) + 1
            raise SpeechVAEError(f"{match[0]!r} at character {match.start()} (line {line}): {error}") from None
        word = (begin, match.start()) if begin < match.start() else match.span()
        context = text[slice(*word)].strip("[]")
        found.append(Override(begin, match.end(), context, phonemes, word=word))
    document.overrides = sorted([*document.overrides, *found], key=lambda o: o.start)
    return document
