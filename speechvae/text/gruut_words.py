"""Spoken words and their phonemes by the rules and models of gruut, quickly.

Plain text takes the fast way: `rules.expand` (cached), one look into the lexicon, the part of speech only
where a word has several pronunciations, a guess where the lexicon has none. Only tokens with digits and
SSML ``say-as`` go through gruut itself, and are cached as well.
"""

from __future__ import annotations

import logging
import re
import threading
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from ..errors import SpeechVAEError
from . import english, german
from .crf import Guesser, PartOfSpeechTagger
from .lexicon import GruutLexicon, Roles, UserLexicon, spellings
from .numerals import plain_number
from .pieces import Piece, affixes, clean
from .rules import ENGLISH, GERMAN, Expansion, Leaf, expand, expand_all

_MAX_CACHED = 20_000
_LETTER = "gruut:letter"
# gruut's German lexicon exists twice. The one made with eSpeak has stress and knows more words (73 % against
# 69 % of those of 1,354 German prompts), and its guesses keep diphthongs ("weiß": vˈaɪs, not vaeːss).
_MODELS = {"en-us": ("gruut_lang_en", ""), "de-de": ("gruut_lang_de", "espeak")}
Spoken = tuple[str, tuple[str, ...]]  # word, phonemes


class GruutWords:
    """Pronounces the pieces of a sentence.

    Args:
        language: "en-us" or "de-de".
        lexicon: the user's words.
    """

    def __init__(self, language: str, lexicon: UserLexicon) -> None:
        self.language = language
        self.user = lexicon
        module, self.prefix = _MODELS[language]
        directory = _language_directory(module)
        self.lexicon = GruutLexicon(directory / self.prefix / "lexicon.db")
        self._guesser = Guesser(directory / self.prefix / "g2p" / "model.crf")
        tagger = directory / "pos" / "model.crf"
        self._tagger = PartOfSpeechTagger(tagger) if tagger.is_file() else None
        self._rules = GERMAN if language == "de-de" else ENGLISH
        self._speakable = german.speakable if language == "de-de" else english.speakable
        self._lock = threading.RLock()
        self._expansions: dict[tuple[str, str, str], Expansion] = {}
        self._guesses: dict[str, tuple[str, ...]] = {}
        self._processor: Any = None

    def __call__(self, pieces: Sequence[Piece]) -> list[list[Spoken]]:
        """For each piece its spoken words with their phonemes; none for what cannot be pronounced."""
        with self._lock:
            groups = self._tokens(pieces)
            leaves: list[list[Leaf]] = [[] for _ in pieces]
            clause: list[tuple[int, Leaf]] = []
            spoken: list[list[Spoken]] = [[] for _ in pieces]
            for index, tokens in enumerate(groups):
                for expansion in tokens:
                    leaves[index].extend(expansion.leaves)
                    clause.extend((index, leaf) for leaf in expansion.leaves)
                    if expansion.ends_sentence:
                        self._pronounce(clause, spoken)
                        clause = []
            self._pronounce(clause, spoken)
            return spoken

    def canonical(self, pieces: Sequence[Piece]) -> list[str]:
        """For each piece the text that gruut would be given."""
        with self._lock:
            tokens: list[str] = []
            owners: list[int] = []
            for index, piece in enumerate(pieces):
                # The words of a substitute text have neighbours as well; others only hold a place.
                parts = ["x"] if piece.phonemes or piece.kind else clean(piece.spoken).split()
                tokens.extend(parts)
                owners.extend([index] * len(parts))
            self._prefetch(tokens)
            groups: list[list[str]] = [[] for _ in pieces]
            for owner, text in zip(owners, self._speakable(tokens, self.lexicon.__contains__), strict=True):
                groups[owner].append(text)
            return [" ".join(group) for group in groups]

    def _tokens(self, pieces: Sequence[Piece]) -> list[list[Expansion]]:
        """For each piece what its tokens expand to."""
        groups: list[list[Expansion]] = []
        texts = self.canonical(pieces)
        self._prefetch([word for text in texts for word in self._words_of(text)])
        for piece, text in zip(pieces, texts, strict=True):
            known = None if piece.kind else self.user.find(affixes(piece.spoken)[1])
            if known is None and not piece.kind and piece.spoken.endswith("."):
                known = self.user.find(affixes(piece.spoken)[1].rstrip("."))
            if piece.phonemes:
                words = tuple(Leaf(piece.spoken or "x", phonemes=p) for p in piece.phonemes)
                groups.append([Expansion(words)])
            elif known is not None:
                groups.append([Expansion((Leaf(affixes(piece.spoken)[1], phonemes=known),))])
            elif piece.kind:
                groups.append(self._say_as(piece))
            else:
                groups.append([self._expand(token) for token in text.split()])
        return groups

    def _words_of(self, text: str) -> list[str]:
        """The words that will be looked up for a canonical text not met before, as far as easily known."""
        new = [token for token in text.split() if (token, "", "") not in self._expansions]
        numbers = [plain_number(token, self.language) for token in new if token[:1].isdecimal()]
        return [*new, *(word for number in numbers for word in number.split())]

    def _prefetch(self, tokens: Sequence[str]) -> None:
        forms: list[str] = []
        for token in tokens:
            for part in {token, *token.split(), *re.split(r"[-_/&]", token)}:
                for word in (part, affixes(part)[1], affixes(part)[1].rstrip(".")):
                    forms.extend(spellings(word))
        self.lexicon.prefetch(forms)

    def _expand(self, token: str, kind: str = "", form: str = "") -> Expansion:
        key = (token, kind, form)
        found = self._expansions.get(key)
        if found is None:
            letter = token.rstrip(".,;:!?")
            if self.language == "de-de" and not kind and letter.lower() in german.LETTERS:
                found = Expansion((Leaf(letter, phonemes=german.LETTERS[letter.lower()]),))
            elif kind or any(c.isdecimal() for c in token):
                number = "" if kind else plain_number(token, self.language)
                if number:
                    found = expand_all(number.split(), self._rules, self.lexicon.__contains__)
                else:
                    found = self._digits_left(self._by_gruut(token, kind, form))
            else:
                found = expand(token, self._rules, self.lexicon.__contains__)
            if len(self._expansions) >= _MAX_CACHED:
                self._expansions.clear()
            self._expansions[key] = found
        return found

    def _pronounce(self, clause: list[tuple[int, Leaf]], spoken: list[list[Spoken]]) -> None:
        """Phonemes of words that stand in one sentence."""
        entries = [None if leaf.phonemes else self._entry(leaf) for _, leaf in clause]
        tags: Sequence[str] = ()
        ambiguous = any(
            entry is not None and len(entry) > 1 and not leaf.letter
            for entry, (_, leaf) in zip(entries, clause, strict=True)
        )
        if ambiguous and self._tagger is not None:
            tags = self._tagger([leaf.text for _, leaf in clause])
        for at, ((index, leaf), entry) in enumerate(zip(clause, entries, strict=True)):
            phonemes = leaf.phonemes
            if phonemes is None and entry:
                role = _LETTER if leaf.letter else f"gruut:{tags[at]}" if tags else ""
                chosen = entry.get(role)
                if chosen is None:
                    chosen = entry.get("")
                phonemes = next(iter(entry.values())) if chosen is None else chosen
            if phonemes is None:
                phonemes = self._guess(leaf.text)
            if phonemes:
                spoken[index].append((leaf.text, phonemes))

    def _entry(self, leaf: Leaf) -> Roles | None:
        known = self.user.find(leaf.text)
        return {"": known} if known is not None else self.lexicon.find(leaf.text)

    def _guess(self, word: str) -> tuple[str, ...]:
        """Phonemes of a word that the lexicon lacks."""
        found = self._guesses.get(word)
        if found is not None:
            return found
        found = ()
        if self.language.startswith("en") and not word.isascii():
            plain = "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))
            entry = self.lexicon.find(plain)
            found = next(iter(entry.values())) if entry is not None else self._guess_letters(plain)
        if not found:
            found = self._guess_letters(word)
        if not found and any(c.isalnum() for c in word):
            logging.getLogger(__name__).warning("%r cannot be pronounced in %s; it is left out", word, self.language)
        if len(self._guesses) >= _MAX_CACHED:
            self._guesses.clear()
        self._guesses[word] = found
        return found

    def _guess_letters(self, word: str) -> tuple[str, ...]:
        return self._guesser(word) if _is_latin(word) else ()

    # What needs gruut itself.

    def _say_as(self, piece: Piece) -> list[Expansion]:
        text, kind, form = clean(piece.spoken), piece.kind, piece.form
        if kind in ("characters", "spell-out"):
            return [part for char in text if not char.isspace() for part in self._character(char)]
        if kind in ("digits", "telephone"):
            return [part for char in text if char.isalnum() or char == "+" for part in self._character(char)]
        if kind == "date":
            text, kind, form = _date(text, form, self.language), "", ""
        elif kind in ("cardinal", "number") and text.isdecimal():
            # With separators gruut does not take it for a year.
            text, kind = f"{int(text[:15]):,}", ""
            text = text if self.language.startswith("en") else text.replace(",", ".")
        elif kind in ("cardinal", "number", "ordinal"):
            form, kind = "" if kind == "number" else kind, "number"
        found = self._expand(text.strip(), kind, form) if kind else Expansion(())
        if found.leaves:
            return [found]
        spoken = self._speakable(text.split(), self.lexicon.__contains__)
        return [self._expand(token) for part in spoken for token in part.split()]

    def _digits_left(self, expansion: Expansion) -> Expansion:
        """Read the digits that gruut took for no number, date or time, group by group."""
        leaves: list[Leaf] = []
        point = "point" if self.language.startswith("en") else "punkt"
        for leaf in expansion.leaves:
            groups = re.findall(r"\d+|\.(?=\d)|[^\W\d_]+", leaf.text)
            if not any(c.isdecimal() for c in leaf.text) or (len(groups) == 1 and groups[0] == leaf.text):
                leaves.append(leaf)
                continue
            for group in groups:
                text = point if group == "." else group
                leaves.extend(self._expand(text).leaves if text != leaf.text else [leaf])
        return Expansion(tuple(leaves), expansion.ends_sentence)

    def _character(self, char: str) -> list[Expansion]:
        if char.isdecimal():
            return [self._expand(str(int(char)))]
        if char.isalpha():
            return [self._expand(char) if self.language == "de-de" else Expansion((Leaf(char, letter=True),))]
        names = {".": "dot", "-": "dash", "*": "star", "/": "slash"} if self.language.startswith("en") else {
            ".": "punkt", "-": "strich", "*": "stern", "/": "schrägstrich"}  # fmt: skip
        name = names.get(char) or self._speakable([char], self.lexicon.__contains__)[0]
        return [self._expand(name)] if name.isalpha() else []

    def _by_gruut(self, token: str, kind: str, form: str) -> Expansion:
        if self._processor is None:
            from gruut.text_processor import TextProcessor

            self._processor = TextProcessor(
                default_lang=self.language, model_prefix=self.prefix, lookup_phonemes=_Lookup(self.lexicon)
            )
        text, ssml = token, bool(kind)
        if kind:
            attributes = f"interpret-as={quoteattr(kind)}" + (f" format={quoteattr(form)}" if form else "")
            escaped = token.replace("&", "&amp;").replace("<", "&lt;")
            text = f"<speak><say-as {attributes}>{escaped}</say-as></speak>"
        try:
            graph, root = self._processor.process(text, lang=self.language, ssml=ssml, pos=False, phonemize=False)
        except Exception as error:  # gruut raises whatever its number and date libraries raise
            logging.getLogger(__name__).warning("%r is read character by character: %s", token, error)
            parts = [self._character(char) for char in token if char.isalnum()] if len(token) > 1 else []
            return Expansion(tuple(leaf for part in parts for each in part for leaf in each.leaves))
        leaves: list[Leaf] = []
        _collect(graph, root.node, leaves, set())
        return Expansion(tuple(leaves))


class _Lookup:
    """Our lexicon in the form in which gruut asks."""

    def __init__(self, lexicon: GruutLexicon) -> None:
        self._lexicon = lexicon

    def __call__(self, word: str, role: str | None = None, do_transforms: bool = True) -> list[str] | None:
        entry = self._lexicon.find(word) if do_transforms else self._lexicon.roles(word)
        if entry is None:
            return None
        chosen = entry.get(role or "", entry.get(""))
        return list(next(iter(entry.values())) if chosen is None else chosen)


def _collect(graph: Any, node: int, leaves: list[Leaf], seen: set[int]) -> None:
    if node in seen:
        return
    seen.add(node)
    children = list(graph.successors(node))
    data = graph.nodes[node]["data"]
    if not children and type(data).__name__ == "WordNode":
        leaves.append(Leaf(data.text, letter=data.role == _LETTER))
    for child in children:
        _collect(graph, child, leaves, seen)


def _is_latin(word: str) -> bool:
    letters = [c for c in word if c.isalpha()]
    return bool(letters) and all(unicodedata.name(c, "").startswith("LATIN") for c in letters)


def _language_directory(module: str) -> Path:
    import importlib

    try:
        return Path(importlib.import_module(module).get_lang_dir())
    except ImportError:
        raise SpeechVAEError(
            f"the gruut data for this language is not installed: pip install {module.replace('_', '-')}"
        ) from None


def _date(text: str, form: str, language: str) -> str:
    """A date whose parts stand in the order `form` ("dmy") as the language's own way to write it."""
    numbers = re.findall(r"\d+", text)
    order = form.lower().replace("yyyy", "y").replace("mm", "m").replace("dd", "d")
    if len(order) != len(numbers) or sorted(order) != ["d", "m", "y"]:
        return text
    part = dict(zip(order, (int(n) for n in numbers), strict=True))
    if language.startswith("en"):
        return f"{part['m']}/{part['d']}/{part['y']}"
    return f"{part['d']}.{part['m']}.{part['y']}"
