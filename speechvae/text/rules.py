"""How gruut takes a word apart, without gruut.

gruut (https://github.com/rhasspy/gruut, MIT) works on a graph of the whole text and asks its lexicon
again and again. For a run of characters without digits its result depends on that run alone, so the same
steps in the same order on a flat list give the same words in a hundredth of the time, and can be cached.
A test compares the two. Numbers, dates, times and money stay with gruut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

PASSES = 5  # gruut's own limit

_BEGIN_EN, _END_EN = "\"'“«[(<*_", "\"'”»])>*_"
_BEGIN_DE, _END_DE = '"“«[(<’„', '"”»])>’'
_MINOR = (",", ";", ":", "...")
_MAJOR = re.compile(r"^(.*?)([.?!]+)$", re.DOTALL)
_WORD_BREAK = re.compile(r"[-_]")
_NON_WORD = re.compile(r"^(\W|_)+$")
_INITIALISM = re.compile(r"^(?:[A-Z]{2,}|(?:[a-zA-Z]\.)+)$")
_ABBREVIATIONS_EN = {
    r"([cC])o\.": r"\1ompany", r"([dD])r\.": r"\1octor", r"([dD])rs\.": r"\1octors", r"([jJ])r\.('s)?": r"\1unior\2",
    r"([lL])td\.": r"\1imited", r"([mM])r\.": r"\1ister", r"([mM])s\.": r"\1iss", r"([mM])rs\.": r"\1issus",
    r"([sS])t\.": r"\1treet", r"([vV])s\.?": r"\1ersus", r"([mM])t\.": r"\1ount",
}  # fmt: skip
_EXACT_EN = {"&": "and", "II": "two", "III": "three", "IV": "four", "VI": "six", "VII": "seven", "VIII": "eight"}


@dataclass(frozen=True)
class Rules:
    """What differs between languages."""

    begin: str
    end: str
    abbreviations: tuple[tuple[re.Pattern[str], str], ...] = ()
    exact: dict[str, str] = field(default_factory=dict)
    replacements: tuple[tuple[str, str], ...] = (("’", "'"),)
    initialisms: bool = False
    drop_non_words: bool = False


ENGLISH = Rules(
    _BEGIN_EN,
    _END_EN,
    tuple((re.compile(f"^{p}(?P<mark>[.?!])?$"), t + r"\g<mark>") for p, t in _ABBREVIATIONS_EN.items()),
    _EXACT_EN,
    initialisms=True,
    drop_non_words=True,
)
GERMAN = Rules(_BEGIN_DE, _END_DE, replacements=(("’", "'"), ("ß", "ss")))


@dataclass(frozen=True)
class Leaf:
    """A spoken word: `letter` if it is the name of a letter; `phonemes` if they are settled already."""

    text: str
    letter: bool = False
    phonemes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Expansion:
    """What became of a token: its spoken words, and whether it ended a sentence."""

    leaves: tuple[Leaf, ...]
    ends_sentence: bool = False


@dataclass(frozen=True)
class _Node:
    text: str
    known: bool = False  # in the lexicon: not to be taken apart
    letter: bool = False


def expand(token: str, rules: Rules, in_lexicon: Callable[[str], bool]) -> Expansion:
    """Take a token without white space and digits apart as gruut does."""

    def node(text: str) -> _Node:
        return _Node(text, in_lexicon(text))

    nodes = [node(token)]
    ends = False
    for _ in range(PASSES):
        before = nodes
        nodes = _each(nodes, lambda n: _replace(n, rules, node))
        nodes = _each(nodes, lambda n: _quotes(n, rules, node))
        nodes = _each(nodes, lambda n: _minor(n, node))
        nodes = _each(nodes, lambda n: _abbreviation(n, rules, node))
        nodes = _each(nodes, lambda n: _letters(n, rules))
        count = sum(_MAJOR.match(n.text) is not None for n in nodes if not n.known)
        ends = ends or count > 0
        nodes = _each(nodes, lambda n: _major(n, node))
        nodes = _each(nodes, lambda n: _hyphens(n, node))
        if rules.drop_non_words:
            nodes = [n for n in nodes if n.known or _NON_WORD.match(n.text) is None]
        if nodes == before:
            break
    return Expansion(tuple(Leaf(n.text, n.letter) for n in nodes), ends)


def expand_all(tokens: Iterable[str], rules: Rules, in_lexicon: Callable[[str], bool]) -> Expansion:
    """Several tokens as one expansion."""
    made = [expand(token, rules, in_lexicon) for token in tokens]
    return Expansion(tuple(leaf for each in made for leaf in each.leaves), any(each.ends_sentence for each in made))


def _each(nodes: list[_Node], step: Callable[[_Node], list[_Node] | None]) -> list[_Node]:
    result: list[_Node] = []
    for node in nodes:
        made = None if node.known else step(node)
        result.extend([node] if made is None else made)
    return result


def _replace(node: _Node, rules: Rules, make: Callable[[str], _Node]) -> list[_Node] | None:
    text = node.text
    for old, new in rules.replacements:
        text = text.replace(old, new)
    return None if text == node.text else [make(text)]


def _quotes(node: _Node, rules: Rules, make: Callable[[str], _Node]) -> list[_Node] | None:
    # The last character always stays, as in gruut: a lone quote is dropped later, as a non-word.
    text = node.text
    while len(text) > 1 and text[0] in rules.begin:
        text = text[1:]
    while len(text) > 1 and text[-1] in rules.end:
        text = text[:-1]
    return None if text == node.text else [make(text)]


def _minor(node: _Node, make: Callable[[str], _Node]) -> list[_Node] | None:
    for mark in _MINOR:
        if node.text.endswith(mark):
            word = node.text[: -len(mark)]
            return [make(word)] if word else []
    return None


def _abbreviation(node: _Node, rules: Rules, make: Callable[[str], _Node]) -> list[_Node] | None:
    for pattern, template in rules.abbreviations:
        match = pattern.match(node.text)
        if match is not None:
            return [make(match.expand(template))]
    exact = rules.exact.get(node.text)
    return None if exact is None else [make(exact)]


def _letters(node: _Node, rules: Rules) -> list[_Node] | None:
    if not rules.initialisms or len(node.text) < 2 or _INITIALISM.match(node.text) is None:
        return None
    return [_Node(c, letter=True) for c in node.text.replace(".", "")]


def _major(node: _Node, make: Callable[[str], _Node]) -> list[_Node] | None:
    match = _MAJOR.match(node.text)
    if match is None:
        return None
    return [make(match[1])] if match[1] else []


def _hyphens(node: _Node, make: Callable[[str], _Node]) -> list[_Node] | None:
    parts = _WORD_BREAK.split(node.text)
    return None if len(parts) < 2 else [make(part) for part in parts if part]
