"""Symbols and their numbers: what a model is trained on and must be saved with it."""

from __future__ import annotations

import json
import logging
import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import SpeechVAEError
from .types import END, PUNCTUATION, SPACE, START

PAD = "_"
_FIXED = (PAD, START, END, SPACE, *PUNCTUATION)
_STRESS = "ˈˌ"
_LENGTH = "ːˑ"

# Phonemes that a voice may lack, and what comes nearest to them in the languages we know. Tried in order.
_RELATIVES: dict[str, tuple[str, ...]] = {
    "ɚ": ("ɝ", "ə", "ɐ"), "ɝ": ("ɚ", "ɜ", "ə"), "ɜ": ("ɝ", "ɚ", "ə"), "ɐ": ("ə", "ʌ", "ɚ"), "ʌ": ("ɐ", "ə", "ɑ"),
    "ə": ("ʌ", "ɐ", "ɪ"), "ɒ": ("ɑ", "ɔ"), "ɑ": ("ɒ", "a", "æ"), "a": ("ɑ", "æ", "ʌ"), "æ": ("a", "ɛ"),
    "ɔ": ("ɒ", "o", "ɑ", "oʊ"), "o": ("oʊ", "ɔ"), "oʊ": ("əʊ", "o", "ɔ"), "əʊ": ("oʊ", "o"), "e": ("eɪ", "ɛ"),
    "eɪ": ("e", "ɛ"), "ɛ": ("e", "æ"), "i": ("ɪ",), "ɪ": ("i", "ə"), "u": ("ʊ",), "ʊ": ("u",), "y": ("i", "u"),
    "ʏ": ("ɪ", "ʊ", "i"), "ø": ("œ", "ɝ", "ɚ", "ʊ"), "œ": ("ø", "ɛ", "ɚ"), "ɨ": ("ɪ", "i"), "aɪ": ("a", "ɑ"),
    "aʊ": ("a", "ɑ"), "ɔɪ": ("ɔʏ", "ɔ"), "ɔʏ": ("ɔɪ", "ɔ"), "ɹ": ("r", "ʁ", "ɾ"), "r": ("ɹ", "ʁ", "ɾ"),
    "ʁ": ("ɹ", "r"), "ʀ": ("ʁ", "ɹ"), "ɾ": ("t", "d", "ɹ"), "g": ("ɡ",), "ɡ": ("g",), "x": ("h", "k"),
    "ç": ("ʃ", "x", "h"), "ɣ": ("ɡ",), "β": ("v", "b"), "ɬ": ("l",), "ɫ": ("l",), "ʎ": ("l",), "ɲ": ("n",),
    "ʔ": ("t",), "t͡s": ("t",), "p͡f": ("f",), "t͡ʃ": ("ʃ", "t"), "d͡ʒ": ("ʒ", "d"), "ʒ": ("ʃ",), "ʍ": ("w",),
    "θ": ("s", "f"), "ð": ("d", "z"), "ŋ": ("n",), "w": ("v", "u"), "v": ("w", "f"), "j": ("i",),
}  # fmt: skip


class SymbolTable:
    """Symbols in a fixed order; a symbol's place is its number.

    The order is: padding ``_`` (0), ``^``, ``$``, space, the punctuation marks, then the phonemes sorted.

    Args:
        symbols: all symbols in order. Use `from_corpus` to make a table from data.

    Raises:
        SpeechVAEError: duplicates, empty symbols, or the fixed symbols are not where they belong.
    """

    def __init__(self, symbols: Sequence[str]) -> None:
        symbols = list(symbols)
        if tuple(symbols[: len(_FIXED)]) != _FIXED:
            raise SpeechVAEError(
                f"a symbol table must begin with {list(_FIXED)}, this one begins with {symbols[: len(_FIXED)]}"
            )
        if len(set(symbols)) != len(symbols) or any(not s for s in symbols):
            twice = sorted({s for s in symbols if symbols.count(s) > 1})
            raise SpeechVAEError(f"a symbol table needs distinct, non-empty symbols; found more than once: {twice}")
        self.symbols: list[str] = symbols
        self._ids = {symbol: index for index, symbol in enumerate(symbols)}

    def __len__(self) -> int:
        return len(self.symbols)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SymbolTable) and self.symbols == other.symbols

    def __hash__(self) -> int:
        return hash(tuple(self.symbols))

    def __repr__(self) -> str:
        return f"SymbolTable({len(self)} symbols)"

    @property
    def pad_id(self) -> int:
        """The number of the padding symbol: 0."""
        return 0

    @classmethod
    def from_corpus(cls, sequences: Iterable[Iterable[str]]) -> SymbolTable:
        """Make a table of all symbols found in symbol sequences (as `Sentence.symbols` gives them)."""
        found: set[str] = set()
        for sequence in sequences:
            if isinstance(sequence, str):
                raise SpeechVAEError(f"expected sequences of symbols, got the plain string {sequence!r}")
            found.update(sequence)
        return cls([*_FIXED, *sorted(found - set(_FIXED))])

    def encode(self, symbols: Iterable[str], nearest: bool = False) -> list[int]:
        """Numbers of `symbols`.

        Args:
            nearest: where a symbol is unknown, take it without stress, without length mark or a near
                relative, and log a warning that says so.

        Raises:
            SpeechVAEError: a symbol is unknown (and has no relative in this table).
        """
        ids: list[int] = []
        replaced: dict[str, str] = {}
        for position, symbol in enumerate(symbols):
            known = symbol if symbol in self._ids else None
            if known is None and nearest:
                known = self.nearest(symbol)
                if known is not None:
                    replaced[symbol] = known
            if known is None:
                raise SpeechVAEError(
                    f"unknown symbol {symbol!r} at position {position}: the voice was not trained on it. Its "
                    f"{len(self)} symbols are: {' '.join(self.symbols[len(_FIXED) :])}. Check the language of "
                    "the text against that of the voice."
                )
            ids.append(self._ids[known])
        if replaced:
            pairs = ", ".join(f"{a} by {b}" for a, b in sorted(replaced.items()))
            logging.getLogger(__name__).warning("the voice lacks some phonemes; replaced %s", pairs)
        return ids

    def nearest(self, symbol: str) -> str | None:
        """The symbol of this table that comes nearest to `symbol`, or None."""
        seen: set[str] = set()
        queue = [symbol]
        while queue:
            candidate = queue.pop(0)
            if candidate in seen or not candidate:
                continue
            seen.add(candidate)
            if candidate in self._ids and candidate not in _FIXED:
                return candidate
            stress, bare = _split_stress(candidate)
            short = bare.translate({ord(c): None for c in _LENGTH})
            for form in (bare, short, _without_diacritics(short)):
                queue.extend(mark + form for mark in dict.fromkeys((stress, "", "ˈ", "ˌ")))
            queue.extend(stress + relative for relative in _RELATIVES.get(short, ()))
        return None

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Symbols of `ids`.

        Raises:
            SpeechVAEError: a number is outside the table.
        """
        symbols: list[str] = []
        for index in ids:
            if not 0 <= int(index) < len(self.symbols):
                raise SpeechVAEError(f"symbol number {int(index)} is outside the table of {len(self)} symbols")
            symbols.append(self.symbols[int(index)])
        return symbols

    def save(self, path: str | Path) -> None:
        """Write the table as JSON, to a temporary name first."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps({"symbols": self.symbols}, ensure_ascii=False, indent=0), encoding="utf-8")
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: str | Path) -> SymbolTable:
        """Read a table written by `save`.

        Raises:
            SpeechVAEError: the file is missing or is not a symbol table.
        """
        path = Path(path)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SpeechVAEError(f"no symbol table at {path}; run `speechvae prepare` first") from None
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise SpeechVAEError(f"{path} cannot be read as a symbol table: {error}") from error
        symbols = data.get("symbols") if isinstance(data, dict) else None
        if not isinstance(symbols, list) or not all(isinstance(s, str) for s in symbols):
            raise SpeechVAEError(f'{path} is not a symbol table: expected {{"symbols": [...]}}')
        return cls(symbols)


def _split_stress(symbol: str) -> tuple[str, str]:
    bare = symbol.lstrip(_STRESS)
    return symbol[: len(symbol) - len(bare)], bare


def _without_diacritics(symbol: str) -> str:
    decomposed = unicodedata.normalize("NFD", symbol)
    # The tie bar of affricates is a combining mark as well, but part of what the symbol is.
    return "".join(c for c in decomposed if c == "͡" or not (unicodedata.combining(c) or c in "ʰʲʷˠˤⁿ˞"))
