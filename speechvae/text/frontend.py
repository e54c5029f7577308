"""Frontends: from text to sentences of phonemes.

English and German use the data and rules of gruut; every other language can use espeak-ng (extra ``espeak``).
Whatever the language and whether it is plain text or SSML, the way is the same: a `Document`, cut into
segments, cut into pieces, each pronounced in the context of its sentence and traced back to the source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..errors import SpeechVAEError
from .document import Document, Style, inline_phonemes
from .lexicon import UserLexicon
from .pieces import Piece, core_span, split_pieces, strongest_mark
from .segment import MAX_CHARS, Segment, iter_segments
from .types import SPACE, Sentence, Word, join_sentences

MAX_PHONEMES = 120
GRUUT_LANGUAGES = {"en": "en-us", "en-us": "en-us", "en-gb": "en-us", "de": "de-de", "de-de": "de-de"}
# A pause from this length on is heard as a phrase boundary.
_AUDIBLE = 0.15

Lexicon = Mapping[str, str] | Mapping[str, Sequence[str]] | str | Path
Spoken = tuple[str, tuple[str, ...]]


@runtime_checkable
class Frontend(Protocol):
    """What turns text into sentences of phonemes."""

    language: str

    def __call__(self, text: str, ssml: bool = False) -> list[Sentence]:
        """All sentences of `text`; an empty list where nothing can be spoken."""
        ...

    def stream(self, text: str, ssml: bool = False) -> Iterator[Sentence]:
        """The same, each sentence pronounced when it is asked for."""
        ...

    def utterance(self, text: str) -> Sentence | None:
        """The whole of `text` as one sentence: the form for recordings."""
        ...


def get_frontend(language: str = "en-us", lexicon: Lexicon | None = None) -> Frontend:
    """The frontend for a language.

    Args:
        language: "en-us", "en-gb" (American pronunciation), "de-de", "en", "de", or any code of espeak-ng where
            the extra ``espeak`` is installed.
        lexicon: the user's pronunciations: word -> IPA, or a file with lines ``word<TAB>phonemes``.

    Raises:
        SpeechVAEError: the language is unknown, or the lexicon is faulty.
    """
    key = language.strip().lower().replace("_", "-")
    if key in GRUUT_LANGUAGES:
        from .gruut_words import GruutWords

        name = GRUUT_LANGUAGES[key]
        words = UserLexicon(lexicon, name)
        return TextFrontend(name, GruutWords(name, words))
    from .espeak import EspeakWords, is_available, languages

    if not is_available():
        raise SpeechVAEError(
            f"unknown language {language!r}; known are {', '.join(sorted(GRUUT_LANGUAGES))}. For other languages "
            "install espeak-ng: pip install 'speechvae[espeak]'"
        )
    if key not in languages():
        known = sorted({*GRUUT_LANGUAGES, *languages()})
        raise SpeechVAEError(f"unknown language {language!r}; known are {', '.join(known)}")
    return TextFrontend(key, EspeakWords(key, UserLexicon(lexicon, key)))


class TextFrontend:
    """The way from text to sentences that all languages share.

    Args:
        language: language code.
        pronounce: for the pieces of a sentence, the spoken words of each with their phonemes.
        max_chars, max_phonemes: longer sentences are cut, at clause marks where there are any. The longest
            recordings that voices are trained on have about as many.
    """

    def __init__(
        self,
        language: str,
        pronounce: Callable[[Sequence[Piece]], list[list[Spoken]]],
        max_chars: int = MAX_CHARS,
        max_phonemes: int = MAX_PHONEMES,
    ) -> None:
        self.language = language
        self.max_chars = max_chars
        self.max_phonemes = max_phonemes
        self._pronounce = pronounce

    def __call__(self, text: str, ssml: bool = False) -> list[Sentence]:
        """All sentences of `text`; an empty list where nothing can be spoken.

        Raises:
            SpeechVAEError: malformed SSML, or ``[[phonemes]]`` that are none.
        """
        return list(self.stream(text, ssml))

    def stream(self, text: str, ssml: bool = False) -> Iterator[Sentence]:
        """The same, each sentence pronounced when it is asked for: memory does not grow with the text."""
        document = self._document(text, ssml)
        for segment in self._segments(document, self.max_chars):
            sentence = self._sentence(document, segment)
            if sentence is not None:
                yield from split_long(sentence, self.max_phonemes)

    def utterance(self, text: str) -> Sentence | None:
        """The whole of `text` as one sentence, however long; None if nothing can be spoken."""
        document = self._document(text, False)
        sentences = (self._sentence(document, s) for s in self._segments(document, None))
        return join_sentences([s for s in sentences if s is not None])

    def _document(self, text: str, ssml: bool) -> Document:
        if not isinstance(text, str):
            raise SpeechVAEError(f"expected text as str, got {type(text).__name__}")
        if ssml:
            from .ssml import parse_ssml

            return inline_phonemes(parse_ssml(text, self.language), self.language)
        return inline_phonemes(Document(text), self.language)

    def _segments(self, document: Document, max_chars: int | None) -> Iterator[Segment]:
        protected = [(o.start, o.end) for o in document.overrides]
        return iter_segments(
            document.text, max_chars, self.language, document.cuts, protected, document.whole
        )

    def _sentence(self, document: Document, segment: Segment) -> Sentence | None:
        pieces = _pieces(document, segment)
        if not pieces:
            return None
        text = document.text
        words: list[Word] = []
        bounds: list[tuple[int, int]] = []  # of the characters that belong to a word and are no marks
        for piece, spoken in zip(pieces, self._pronounce(pieces), strict=True):
            style = document.style_at(piece.core[0])
            for span, (word, phonemes) in zip(_spans(text, piece, spoken), spoken, strict=True):
                words.append(_word(document, span, "" if piece.phonemes else word, phonemes, style))
                bounds.append((span[0], piece.end) if piece.phonemes or piece.kind else span)
        if not words:
            return None
        default = "." if segment.is_end else ","
        boundaries = [
            strongest_mark(text[left[1] : max(left[1], right[0])], final=False)
            if left[0] != right[0]
            else SPACE
            for left, right in zip(bounds, bounds[1:], strict=False)
        ]
        boundaries.append(strongest_mark(text[bounds[-1][1] : segment.end], final=True, default=default))
        before, after = _breaks(document, segment, bounds)
        for index, seconds in enumerate(after):
            if seconds is not None and boundaries[index] in (SPACE, ","):
                boundaries[index] = "," if seconds >= _AUDIBLE else SPACE if index + 1 < len(words) else ","
        start, end = document.source_span(segment.start, segment.end)
        return Sentence(
            text[segment.start : segment.end], tuple(words), tuple(boundaries), tuple(after), before, start, end
        )


def _pieces(document: Document, segment: Segment) -> list[Piece]:
    """Pieces of a segment, with the overrides in it as pieces of their own; breaks part words."""
    text = document.text
    pieces: list[Piece] = []
    position = segment.start
    stops = [at for at, _ in document.breaks_in(segment.start, segment.end)]
    for override in [*document.overrides_in(segment.start, segment.end), None]:
        end = segment.end if override is None else override.start
        for stop in [*(s for s in stops if position < s < end), end]:
            pieces.extend(split_pieces(text, position, stop))
            position = stop
        if override is not None:
            core = override.word if override.word is not None else core_span(text, override.start, override.end)
            position = min(override.end, segment.end)
            pieces.append(
                Piece(override.spoken, override.start, position, core, override.phonemes, override.kind, override.form)
            )
    return pieces


def _spans(text: str, piece: Piece, spoken: Sequence[Spoken]) -> list[tuple[int, int]]:
    """Where each spoken word of a piece stands; words that are not written there share the whole."""
    first, last = piece.core
    if len(spoken) < 2:
        return [(first, last)] * len(spoken)
    raw = text[first:last].lower()
    spans: list[tuple[int, int]] = []
    cursor = 0
    for word, _ in spoken:
        at = raw.find(word.lower(), cursor)
        if at < 0 or len(raw) != last - first:
            return [(first, last)] * len(spoken)
        cursor = at + len(word)
        spans.append((first + at, first + cursor))
    return spans


def _word(document: Document, span: tuple[int, int], spoken: str, phonemes: tuple[str, ...], style: Style) -> Word:
    raw = document.text[span[0] : span[1]]
    start, end = document.source_span(*span)
    spoken = "" if spoken.lower() == raw.lower() else spoken
    return Word(raw, phonemes, start, end, style.rate, style.pitch, style.emphasis, spoken)


def _breaks(
    document: Document, segment: Segment, bounds: Sequence[tuple[int, int]]
) -> tuple[float, list[float | None]]:
    """Seconds before the first word, and after each word."""
    before = 0.0
    after: list[float | None] = [None] * len(bounds)
    stop = segment.end + 1 if segment.end == len(document.text) else segment.end
    for position, seconds in document.breaks_in(segment.start, stop):
        index = sum(1 for start, _ in bounds if start < position) - 1
        if index < 0:
            before += seconds
        else:
            earlier = after[index]
            after[index] = seconds + (0.0 if earlier is None else earlier)
    return before, after


def split_long(sentence: Sentence, max_phonemes: int) -> Iterator[Sentence]:
    """Cut a sentence of more than `max_phonemes` phonemes between words, at punctuation where there is any."""
    counts = [len(word.phonemes) for word in sentence.words]
    if sum(counts) <= max_phonemes or len(counts) < 2:
        yield sentence
        return
    half, total, running = sum(counts) / 2, sum(counts), 0
    best, best_cost = 0, float("inf")
    for index in range(len(counts) - 1):
        running += counts[index]
        same_source = sentence.words[index].start == sentence.words[index + 1].start
        # Distance from the middle; a cut without punctuation, or inside a number, costs more than a lopsided one.
        cost = abs(running - half) / total + 0.35 * (sentence.boundaries[index] == SPACE) + 0.5 * same_source
        if cost < best_cost:
            best, best_cost = index + 1, cost
    mark = sentence.boundaries[best - 1]
    cut = sentence.words[best].start
    left_text, right_text = _part(sentence, 0, best), _part(sentence, best, len(counts))
    left = replace(
        sentence,
        text=left_text,
        words=sentence.words[:best],
        boundaries=(*sentence.boundaries[: best - 1], "," if mark == SPACE else mark),
        break_after=sentence.break_after[:best],
        end=cut,
    )
    right = replace(
        sentence,
        text=right_text,
        words=sentence.words[best:],
        boundaries=sentence.boundaries[best:],
        break_after=sentence.break_after[best:],
        break_before=0.0,
        start=cut,
    )
    yield from split_long(left, max_phonemes)
    yield from split_long(right, max_phonemes)


def _part(sentence: Sentence, first: int, last: int) -> str:
    """The text of some of a sentence's words; the words of one number share theirs."""
    words = sentence.words[first:last]
    if sentence.end - sentence.start == len(sentence.text):
        start = sentence.start if first == 0 else words[0].start
        following = sentence.words[last].start if last < len(sentence.words) else sentence.end
        return sentence.text[start - sentence.start : max(following, words[-1].end) - sentence.start]
    return " ".join(dict((word.start, word.text) for word in words).values())
