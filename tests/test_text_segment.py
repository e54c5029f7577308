"""Segmentation: nothing gets lost, sentences end where they end, long ones are cut in linear time."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from speechvae.text.segment import iter_segments, segment

ALPHABET = "aB1 .,;:!?…—–-'\"”)]([\n\t\u00a0é日😀"


@settings(deadline=None)
@given(st.text(ALPHABET, max_size=400), st.integers(5, 60))
@example("x" * 1000, 10)
@example(". " * 50, 5)
@example("\n \n" * 40, 7)
@example("a—" * 100, 5)
def test_lossless_and_bounded(text: str, limit: int) -> None:
    pieces = segment(text, limit)
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= limit for piece in pieces)


@settings(deadline=None)
@given(st.text(), st.booleans())
def test_lossless_on_any_unicode(text: str, german: bool) -> None:
    assert "".join(segment(text, language="de-de" if german else "en-us")) == text


@settings(max_examples=60, deadline=None)
@given(st.text(ALPHABET, max_size=200), st.data())
def test_cuts_and_protected_spans_are_kept(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(text) - 1)), max_size=4)))
    cuts = [c for c in cuts if c < len(text)]
    start = data.draw(st.integers(0, len(text)))
    protected = [(start, min(len(text), start + data.draw(st.integers(1, 15))))]
    protected = [(a, b) for a, b in protected if b > a and not any(a < c < b for c in cuts)]
    found = list(iter_segments(text, data.draw(st.integers(2, 40)), cuts=cuts, protected=protected))
    assert "".join(text[s.start : s.end] for s in found) == text
    assert all(s.start < s.end for s in found)
    assert set(cuts) <= {s.end for s in found}
    for a, b in protected:
        assert [s.end for s in found if a < s.end < b] == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Hello there. How are you? Fine!", 3),
        ("Mr. Smith met Dr. Jones on Main St. yesterday.", 1),
        ("He came at 5 p.m. and left.", 1),
        ("He came at 5 p.m. The next day he left.", 2),
        ("J. R. R. Tolkien wrote it.", 1),
        ("It was I. Then he left.", 2),
        ("The U.S. Army came. The U.S. The end.", 3),
        ("See No. 5, please. No. I will not.", 3),
        ("Eggs, etc. are cheap. Eggs, etc. Then milk.", 3),
        ('"No!" he said. "Why?" she asked.', 2),
        ('He said "Go." Then he went.', 2),
        ("It costs 3.50 dollars. Cheap.", 2),
        ("Wait... what? Well... No.", 3),
        ("One\n\nTwo\n \nThree", 3),
        ("One line\nand the next.", 1),
        ("What?! Really?!! Yes.", 3),
        ("He has a Ph.D. in physics. Good.", 2),
    ],
)
def test_english_sentences(text: str, count: int) -> None:
    found = segment(text)
    assert len(found) == count, found


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Am 3. Oktober kam er. Dann ging er.", 2),
        ("Das war 1990. Dann kam er.", 2),
        ("Z.B. Dr. Müller, d.h. er selbst.", 1),
        ("Nr. 5 lebt. Gut.", 2),
    ],
)
def test_german_sentences(text: str, count: int) -> None:
    found = segment(text, language="de-de")
    assert len(found) == count, found


def test_long_sentences_are_cut_at_clauses_then_at_spaces() -> None:
    clause = "and he walked along the river for a while, "
    found = segment(clause * 10, 100)
    assert all(piece.endswith(", ") for piece in found[:-1]) and len(found) <= 6
    found = segment("word " * 100, 100)
    assert all(piece.endswith(" ") and len(piece) > 90 for piece in found)
    assert segment("x" * 250, 100) == ["x" * 100, "x" * 100, "x" * 50]


def test_short_sentences_stay_whole() -> None:
    text = "One, two; three: four - five. "
    assert segment(text * 3) == [text] * 3


@pytest.mark.parametrize(
    "unit", ["x", ".", "!?", ". ", "\n", "\n ", " ", "a.", "Mr. ", "—", "-", "'", '"', "(", "a,", "1", ".\n", "…", "[["]
)
def test_linear_time(unit: str) -> None:
    def cost(size: int) -> float:
        text = unit * (size // len(unit))
        start = time.process_time()
        assert "".join(segment(text)) == text
        return time.process_time() - start

    # Quadratic work on 100,000 characters would take minutes.
    assert cost(100_000) < 2.0


def test_first_piece_without_reading_all() -> None:
    text = "A short sentence. " * 200_000
    start = time.process_time()
    first = next(iter_segments(text))
    assert (first.start, first.end) == (0, 18) and time.process_time() - start < 0.2
