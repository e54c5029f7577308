"""Take files: what is written is what is read, to the last bit, and what is wrong is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechvae import Edits, SpeechVAEError, Take, parse_words
from speechvae.takes import Reading, _numbers


def a_take(**changes: Any) -> Take:
    rng = np.random.default_rng(0)
    z_u, z_p, prosody = (rng.normal(size=s).astype(np.float32) for s in ((16,), (8, 60), (4, 60)))
    reading = Reading("Größe.", "0123456789ab", z_u, z_p, prosody, 0.1 + 0.2)
    take = Take(
        "Größe.", "test", "one", 5, 0.6, 1.0, 1.1, True, 0.8, {"pitch": 1.5},
        Edits(2.0, 1.2, -3.0, ((1, 0.5),), ((1, 0.25),)), "wolf",
        [reading, replace(reading, prosody=None, centre=None)], expansion=1.2,
    )  # fmt: skip
    return replace(take, **changes)


def test_every_field_comes_back(tmp_path: Path) -> None:
    take = a_take()
    path = take.save(tmp_path / "new" / "a.take.json")
    assert path.stat().st_size < 30_000
    back = Take.load(path)
    assert replace(back, readings=[]) == replace(take, readings=[])
    for old, new in zip(take.readings, back.readings, strict=True):
        assert (old.text, old.fingerprint, old.centre) == (new.text, new.fingerprint, new.centre)
        for key in ("z_u", "z_p", "prosody"):
            a, b = getattr(old, key), getattr(new, key)
            assert (a is None and b is None) or (b.dtype == np.float32 and np.array_equal(a, b))
    assert [p.name for p in path.parent.iterdir()] == ["a.take.json"]


@settings(max_examples=300)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_numbers_keep_every_bit(value: float) -> None:
    text = json.dumps(_numbers(np.array([value], np.float32)))
    assert np.asarray(json.loads(text), np.float32)[0] == np.float32(value)


def test_numbers_have_no_more_digits_than_needed() -> None:
    assert json.dumps(_numbers(np.array([[0.1, -2.5]], np.float32))) == "[[0.1, -2.5]]"


def test_a_failed_save_leaves_nothing(tmp_path: Path) -> None:
    take = a_take(axes={"pitch": object()})
    with pytest.raises(TypeError):
        take.save(tmp_path / "a.take.json")
    assert list(tmp_path.iterdir()) == []


def test_files_of_format_1_are_read(voice: Any, tmp_path: Path) -> None:
    audio = voice.say("Hello there. And you?", seed=3, steadiness=1.0)
    data = json.loads(audio.take.save(tmp_path / "a.take.json").read_text(encoding="utf-8"))
    for key in ("steadiness", "axes", "edits", "name"):
        del data[key]
    for reading in data["readings"]:
        del reading["prosody"], reading["centre"]
    (tmp_path / "old.json").write_text(json.dumps({**data, "format": 1}), encoding="utf-8")
    old = Take.load(tmp_path / "old.json")
    assert old.steadiness == 1.0 and old.edits == Edits() and old.axes == {}
    assert np.array_equal(voice.perform(old).wav, audio.wav)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 3}, "another format"),
        ({"speaker": 5}, "speaker must be a string"),
        ({"seed": -1}, "seed must be"),
        ({"temperature": 9}, "temperature must lie between 0 and 3"),
        ({"length_scale": None}, "length_scale must lie between"),
        ({"steadiness": 1.1}, "steadiness must lie between"),
        ({"axes": {"pitch": 9}}, "axis pitch must lie between"),
        ({"edits": {"pitch": 99}}, "pitch must lie between -24 and 24"),
        ({"edits": {"loudness": 1}}, "loudness"),
        ({"unknown": 1}, "unknown"),
        ({"readings": [{"text": "a", "fingerprint": "b", "z_u": [1], "z_p": [[1, 2]], "prosody": [[1, 2]]}]}, "shape"),
        ({"readings": [{"text": "a", "fingerprint": "b", "z_u": [float("nan")], "z_p": [[1, 2]]}]}, "not finite"),
    ],
)
def test_files_with_impossible_values_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = a_take().save(tmp_path / "a.take.json")
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **change}), encoding="utf-8")
    with pytest.raises(SpeechVAEError, match=f"a.take.json is not a take file.*{message}"):
        Take.load(path)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(SpeechVAEError, match="no take at"):
        Take.load(tmp_path / "nothing.take.json")
    with pytest.raises(SpeechVAEError, match="is a folder"):
        Take.load(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pitch": 25}, "pitch must lie between -24 and 24, not 25"),
        ({"range": -0.1}, "range must lie"),
        ({"energy": float("nan")}, "energy must lie"),
        ({"pitch": "high"}, "pitch must lie"),
        ({"emphasis": ((0, 1.0),)}, "words are numbered 1"),
        ({"emphasis": ((2, 3.0),)}, "emphasis of word 2 must lie between -1 and 2"),
        ({"breaks": ((2, 1.0), (2, 2.0))}, "word 2 is named twice"),
        ({"breaks": ((1, 11.0),)}, "breaks of word 1 must lie between 0 and 10"),
    ],
)
def test_impossible_edits(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpeechVAEError, match=message):
        Edits(**options)


@pytest.mark.parametrize(
    ("text", "words"), [("3", [3]), ("3,7-9", [3, 7, 8, 9]), (" 9 , 1 - 2,1", [1, 2, 9]), ("4-4", [4])]
)
def test_lists_of_words(text: str, words: list[int]) -> None:
    assert parse_words(text) == words


@pytest.mark.parametrize("text", ["", ",", "3,", "0", "9-7", "0-2", "a", "1.5", "-3", "1--2", "1 2", "1-2-3"])
def test_lists_that_are_none(text: str) -> None:
    with pytest.raises(SpeechVAEError, match="words are numbered from 1|not a list of word numbers"):
        parse_words(text)
