"""Symbol tables, phonemes people type, and the form of a sentence."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechvae.errors import SpeechVAEError
from speechvae.text import Sentence, SymbolTable, Word, join_sentences
from speechvae.text.ipa import parse_phonemes, parse_words

FIXED = ["_", "^", "$", " ", ",", ".", "?", "!", ";", ":", "…", "—"]


def sentence(*words: str, marks: str = "", start: int = 0) -> Sentence:
    made = tuple(Word(w, tuple(w), start, start + len(w)) for w in words)
    return Sentence(" ".join(words), made, tuple(marks))


def test_order_and_round_trip(tmp_path: Path) -> None:
    table = SymbolTable.from_corpus([["^", "z", "ˈoʊ", ".", "$"], ["^", "b", " ", "b", "?", "$"]])
    assert table.symbols == [*FIXED, "b", "z", "ˈoʊ"]
    assert table.encode(["^", "b", "ˈoʊ", "$"]) == [1, 12, 14, 2]
    assert table.decode([1, 12, 14, 2]) == ["^", "b", "ˈoʊ", "$"]
    table.save(tmp_path / "new" / "symbols.json")
    assert SymbolTable.load(tmp_path / "new" / "symbols.json") == table
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["symbols.json"]


@settings(deadline=None)
@given(st.lists(st.text(st.characters(categories=["Ll", "Lm"]), min_size=1, max_size=3), min_size=1))
def test_decode_undoes_encode(symbols: list[str]) -> None:
    table = SymbolTable.from_corpus([symbols])
    assert table.decode(table.encode(symbols)) == symbols
    assert len(table) == len(FIXED) + len(set(symbols))


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("ˌoʊ", "ˈoʊ"), ("oʊ", "ˈoʊ"), ("əʊ", "ˈoʊ"), ("iː", "i"), ("ˈiː", "i"), ("ɒ", "ˈɑ"), ("r", "ɹ"), ("g", "ɡ"),
        ("ç", "h"), ("x", "h"), ("t͡ʃ", "t"), ("n̩", "n"), ("tʰ", "t"), ("ã", "ˈɑ"), ("ɜː", "ə"), ("øː", "ə"),
    ],
)  # fmt: skip
def test_nearest_relative(asked: str, given: str, caplog: pytest.LogCaptureFixture) -> None:
    table = SymbolTable([*FIXED, "h", "i", "n", "t", "ə", "ɡ", "ɹ", "ˈoʊ", "ˈɑ"])
    with caplog.at_level(logging.WARNING):
        assert table.decode(table.encode([asked], nearest=True)) == [given]
    assert f"{asked} by {given}" in caplog.text


def test_unknown_symbol_is_named() -> None:
    table = SymbolTable([*FIXED, "a"])
    with pytest.raises(SpeechVAEError, match="'b' at position 1"):
        table.encode(["a", "b"])
    with pytest.raises(SpeechVAEError, match="ǃ"):
        table.encode(["ǃ"], nearest=True)
    with pytest.raises(SpeechVAEError, match="number 99"):
        table.decode([99])
    with pytest.raises(SpeechVAEError, match="-1"):
        table.decode([-1])


@pytest.mark.parametrize("symbols", [[], ["a"], [*FIXED, "a", "a"], [*FIXED, ""], FIXED[::-1]])
def test_faulty_tables_are_refused(symbols: list[str]) -> None:
    with pytest.raises(SpeechVAEError):
        SymbolTable(symbols)


def test_plain_string_is_no_sequence_of_symbols() -> None:
    with pytest.raises(SpeechVAEError, match="plain string"):
        SymbolTable.from_corpus(["hello"])


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"symbols": 3}', '{"symbols": [1]}', '{"symbols": ["a"]}', "ÿ"])
def test_faulty_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "symbols.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(SpeechVAEError):
        SymbolTable.load(path)
    with pytest.raises(SpeechVAEError, match="prepare"):
        SymbolTable.load(tmp_path / "none.json")


def test_saved_as_readable_json(tmp_path: Path) -> None:
    SymbolTable([*FIXED, "ˈoʊ"]).save(tmp_path / "s.json")
    text = (tmp_path / "s.json").read_text(encoding="utf-8")
    assert "ˈoʊ" in text and json.loads(text)["symbols"][-1] == "ˈoʊ"


def test_symbols_of_a_sentence() -> None:
    symbols, owners = sentence("ab", "c", marks=",?").symbols()
    assert symbols == ["^", "a", "b", ",", "c", "?", "$"]
    assert owners == [-1, 0, 0, -1, 1, -1, -1]


def test_a_boundary_per_word() -> None:
    with pytest.raises(ValueError, match="2 words"):
        sentence("a", "b", marks=".")


def test_join() -> None:
    first, second = sentence("ab", marks="."), sentence("c", "d", marks=" ?", start=4)
    joined = join_sentences([first, second])
    assert joined is not None and joined.symbols()[0] == ["^", "a", "b", ".", "c", " ", "d", "?", "$"]
    assert join_sentences([]) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h ə l ˈoʊ", "h ə l ˈoʊ"), ("həlˈoʊ", "h ə l ˈoʊ"), ("həˈloʊ", "h ə l ˈoʊ"), ("/həˈləʊ/", "h ə l ˈoʊ"),
        ("'tʃɜːtʃ", "t͡ʃ ˈɜː t͡ʃ"), ("t͡ʃ", "t͡ʃ"), ("dʒˈʌdʒ", "d͡ʒ ˈʌ d͡ʒ"), ("ˈri:d", "ɹ ˈiː d"), ("bɝd", "b ɚ d"),
        ("t ʃ", "t ʃ"), ("a.ɪ", "a ɪ"), ("ˌɪntəˈnæʃnəl", "ˌɪ n t ə n ˈæ ʃ n ə l"), ("ãː", "ãː"),
    ],
)  # fmt: skip
def test_typed_phonemes(text: str, expected: str) -> None:
    assert parse_phonemes(text, "en-us") == tuple(expected.split())


def test_units_depend_on_the_language() -> None:
    assert parse_phonemes("aɪ", "de-de") == ("a", "ɪ")
    assert parse_words("h ə l ˈoʊ | w ˈɚ l d", "en-us") == (("h", "ə", "l", "ˈoʊ"), ("w", "ˈɚ", "l", "d"))


@pytest.mark.parametrize("text", ["", "  ", "ABC", "h3", "ˈ", "͡a", "ːa", "hə,lo", "😀"])
def test_typed_phonemes_that_are_none(text: str) -> None:
    with pytest.raises(SpeechVAEError):
        parse_phonemes(text, "en-us")
