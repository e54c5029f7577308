"""The internal form of text: sentences made of words made of phonemes.

Plain text, SSML and every language arrive at the same two classes, so that whatever comes after the
frontend (training, synthesis, word timings) need not know where the text came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

START = "^"  # leading silence
END = "$"  # trailing silence
SPACE = " "  # boundary between two words without punctuation
PUNCTUATION = (",", ".", "?", "!", ";", ":", "…", "—")

# Where several marks stand between two words, the leftmost of these is kept: it says most about the melody.
MARK_STRENGTH = ("?", "!", "…", ".", "—", ";", ":", ",")


@dataclass(frozen=True)
class Word:
    """One spoken word.

    Attributes:
        text: the word as written in the source; several spoken words of one number ("42") share it.
        phonemes: IPA symbols with stress marks on the vowels, e.g. ``("h", "ə", "l", "ˈoʊ")``; never empty.
        start, end: character span in the source text, ``source[start:end]``.
        rate: speaking rate relative to the voice, > 1 is faster (SSML ``prosody rate``).
        pitch: shift in semitones (SSML ``prosody pitch``).
        emphasis: 0 = none, 0.5 = moderate, 1 = strong, -0.5 = reduced (SSML ``emphasis``).
        spoken: the word as spoken where it differs from `text` ("forty" for "42"), else "".
    """

    text: str
    phonemes: tuple[str, ...]
    start: int
    end: int
    rate: float = 1.0
    pitch: float = 0.0
    emphasis: float = 0.0
    spoken: str = ""


@dataclass(frozen=True)
class Sentence:
    """A sentence, or a piece of one, to be spoken in one go.

    Attributes:
        text: the source text of the sentence.
        words: the spoken words, at least one.
        boundaries: one symbol per word: what stands after it (`SPACE` or one of `PUNCTUATION`). The last
            one is the final punctuation.
        break_after: one entry per word: seconds of extra pause after it, None where nothing was asked for.
        break_before: seconds of extra pause before the first word.
        start, end: character span of the sentence in the source text.
    """

    text: str
    words: tuple[Word, ...]
    boundaries: tuple[str, ...]
    break_after: tuple[float | None, ...] = ()
    break_before: float = 0.0
    start: int = 0
    end: int = 0

    def __post_init__(self) -> None:
        if len(self.boundaries) != len(self.words):
            raise ValueError(f"{len(self.words)} words need as many boundaries, got {len(self.boundaries)}")
        if not self.break_after:
            object.__setattr__(self, "break_after", (None,) * len(self.words))
        if len(self.break_after) != len(self.words):
            raise ValueError(f"{len(self.words)} words need as many breaks, got {len(self.break_after)}")

    def symbols(self) -> tuple[list[str], list[int]]:
        """The symbol sequence for the models and, for each symbol, the index of its word (-1 = none).

        ``^`` + phonemes of the first word + boundary + phonemes of the second word ... + final punctuation
        + ``$``. Every symbol is one position of `x` and lasts at least one frame.
        """
        symbols, owners = [START], [-1]
        for index, (word, boundary) in enumerate(zip(self.words, self.boundaries, strict=True)):
            symbols.extend(word.phonemes)
            owners.extend([index] * len(word.phonemes))
            symbols.append(boundary)
            owners.append(-1)
        symbols.append(END)
        owners.append(-1)
        return symbols, owners


def join_sentences(sentences: Sequence[Sentence]) -> Sentence | None:
    """Join consecutive sentences of one source text into one, with their punctuation kept inside.

    Meant for recordings whose text has more than one sentence. Returns None for an empty list.
    """
    if not sentences:
        return None
    breaks: list[float | None] = []
    for index, sentence in enumerate(sentences):
        breaks.extend(sentence.break_after)
        following = sentences[index + 1].break_before if index + 1 < len(sentences) else 0.0
        if following > 0:
            breaks[-1] = (0.0 if breaks[-1] is None else breaks[-1]) + following
    return Sentence(
        text="".join(s.text for s in sentences),
        words=tuple(w for s in sentences for w in s.words),
        boundaries=tuple(b for s in sentences for b in s.boundaries),
        break_after=tuple(breaks),
        break_before=sentences[0].break_before,
        start=sentences[0].start,
        end=sentences[-1].end,
    )
