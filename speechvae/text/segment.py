"""Cutting text into sentences and pieces of sentences, without losing a character."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .pieces import word_list

MAX_CHARS = 200

# Never the end of a sentence: a name or a number follows.
_TITLES = frozenset(word_list(
    "mr mrs ms dr prof st messrs mme mlle rev hon gen col capt lt sgt maj cmdr adm gov sen rep pres mt "
    "fig figs vol vols ch pp eq approx cf viz vs eds hr fr frl bzw ca vgl sog z.b d.h u.a abs"
))
# The end of a sentence only where a capital follows.
_ABBREVIATIONS = frozenset(word_list(
    "etc inc ltd co corp bros dept est al ave blvd rd jr sr jan feb mar apr jun jul aug sep sept oct nov dec mon tue "
    "wed thu fri sat oz lb lbs ft min max misc tel ext ed sec e.g i.e a.m p.m ph.d mss usw ggf evtl inkl zzgl bspw "
    "str mio mrd okt dez jh"
))
# Not the end before a number ("No. 5").
_BEFORE_NUMBER = frozenset(word_list("no nos nr p art op"))
# A capital after initials ("the U.S. ...") begins a sentence only if it is one of these words.
_STARTERS = frozenset(word_list(
    "the a an it he she we they you i this that these those there here in on at but and so if when while as for "
    "from his her my our their its what why how who where then after before now no yes one not"
))
# The look-behind and the possessive quantifiers keep the search linear on runs of marks.
_CANDIDATE = re.compile(
    r"""(?<![.?!…])(?P<mark>[.?!…]++)(?P<close>["'”’“»«›‹)\]]*+)(?P<space>\s++)|(?P<par>\n[^\S\n]*+\n\s*+)"""
)
_OPENING = "\"'“‘„«»‹›([*_"
_CLOSING = "\"'”’“»«)]"
_CLAUSE = re.compile(r"[;:,…—–][\"'”’“»«)\]]*+\s++|\s(?:--?|—|–)\s|—")


@dataclass(frozen=True)
class Segment:
    """A sentence or a piece of one: its span, and whether the sentence ends here."""

    start: int
    end: int
    is_end: bool = True


def segment(text: str, max_chars: int = MAX_CHARS, language: str = "en-us") -> list[str]:
    """Pieces of `text` of at most about `max_chars` characters; ``"".join(pieces) == text``.

    Sentences stay whole where they are short enough; else they are cut at clause marks, then at spaces, then
    anywhere.
    """
    return [text[s.start : s.end] for s in iter_segments(text, max_chars, language)]


def iter_segments(
    text: str,
    max_chars: int | None = MAX_CHARS,
    language: str = "en-us",
    cuts: Sequence[int] = (),
    protected: Sequence[tuple[int, int]] = (),
    whole: Sequence[tuple[int, int]] = (),
) -> Iterator[Segment]:
    """The spans of `segment`, one at a time, in linear time.

    Args:
        max_chars: None = whole sentences only.
        cuts: sorted positions where a sentence must end.
        protected: sorted spans in which nothing is cut, however long they are.
        whole: sorted spans in which no sentence ends.
    """
    for start, end in _sentences(text, language, cuts, sorted([*protected, *whole])):
        if max_chars is None or end - start <= max_chars:
            yield Segment(start, end)
            continue
        inside = [(a, b) for a, b in protected if a < end and b > start]
        position = start
        while end - position > max_chars:
            stop = _clause_end(text, position, min(end, position + max_chars), inside)
            yield Segment(position, stop, is_end=stop == end)
            position = stop
        if position < end:
            yield Segment(position, end)


def _sentences(
    text: str, language: str, cuts: Sequence[int], closed: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """Spans of sentences; white space belongs to the sentence before it."""
    start = region = 0
    for cut in [*cuts, len(text)]:
        for match in _CANDIDATE.finditer(text, start, cut):
            while region < len(closed) and closed[region][1] <= match.end():
                region += 1
            if region < len(closed) and closed[region][0] < match.end():
                continue
            if match.end() < cut and _is_end(text, start, match, language):
                yield start, match.end()
                start = match.end()
        if start < cut:
            yield start, cut
            start = cut


def _is_end(text: str, start: int, match: re.Match[str], language: str) -> bool:
    if match["par"] is not None or match["space"].count("\n") > 1:
        return True
    follow = text[match.end() : match.end() + 40].lstrip(_OPENING)
    first = follow[:1]
    if match["mark"] != "." or match["close"]:
        return not first.islower()
    token = _last_token(text, start, match.start())
    bare = token.strip(_OPENING + _CLOSING).lower()
    if bare in _TITLES or (bare in _BEFORE_NUMBER and first.isdigit()):
        return False
    if language.startswith("de") and bare.isdecimal() and len(bare) < 3:
        return False  # an ordinal: "am 3. Oktober"
    if bare in _ABBREVIATIONS:
        return first.isupper()
    if re.fullmatch(r"(?:[^\W\d_]\.)+[^\W\d_]", bare):
        word = re.match(r"[^\W\d_]+", follow)
        return word is not None and first.isupper() and word[0].lower() in _STARTERS
    # An initial ("J. Smith"); "I" is a word.
    return not (len(bare) == 1 and bare.isalpha() and token[-1:].isupper() and token[-1:] != "I")


def _last_token(text: str, start: int, end: int) -> str:
    begin = end
    while begin > start and end - begin < 40 and not text[begin - 1].isspace():
        begin -= 1
    return text[begin:end]


def _clause_end(text: str, start: int, limit: int, protected: Sequence[tuple[int, int]]) -> int:
    """Where to cut ``text[start:limit]``: at its last clause mark, else at its last space, else at its end."""

    def allowed(position: int) -> bool:
        return not any(a < position < b for a, b in protected)

    # A piece shorter than a third would sound chopped.
    earliest = start + (limit - start) // 3
    best = 0
    for match in _CLAUSE.finditer(text, start, limit):
        if match.end() >= earliest and allowed(match.end()):
            best = match.end()
    if best:
        return best
    for position in range(limit, start + 1, -1):
        if text[position - 1].isspace() and allowed(position):
            return position
    if allowed(limit):
        return limit
    around = next((a, b) for a, b in protected if a < limit < b)
    return around[0] if around[0] > start else around[1]
