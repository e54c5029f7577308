"""Speech into files: ids, seeds, resuming, and what happens when a line or a run breaks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from speechvae import SpeechVAEError
from speechvae.batch import Style, check_id, parse_lines, read_manifest, run_batch, seed_for, speak_to_file

LINES = ["hello|Hello there.", "", "bye|Good bye.", "empty|...  "]


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir() if p.name.endswith(".part")]


# -- reading the list ------------------------------------------------------------------------------------------------


def test_lines_without_ids_are_named_by_their_place() -> None:
    good, bad = parse_lines(["First.\n", "\n", "Second, a|b.\n"])
    assert [(line.id, line.text) for line in good] == [("00001", "First."), ("00003", "Second, a|b.")]
    assert bad == []


@pytest.mark.parametrize("first", ["Either | or.", "To be|or not.", "|x|"])
def test_a_bar_in_a_plain_first_line_is_text(first: str) -> None:
    good, bad = parse_lines([first, "id|text"])
    assert [line.text for line in good] == [first, "id|text"] and bad == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("../evil|Text.", "an id has"),
        ("a/b|Text.", "an id has"),
        (".hidden|Text.", "an id has"),
        ("-o|Text.", "an id has"),
        ("a b|Text.", "an id has"),
        ("dot.|Text.", "an id has"),
        ("|Text.", "an id has"),
        ("nul|Text.", "device"),
        ("com1.take|Text.", "device"),
        ("x" * 201 + "|Text.", "200 bytes"),
        ("A1|Same id in capitals.", "line 1"),
        ("no bar here", "no `|`"),
        ("lonely|", "no text"),
    ],
)
def test_bad_lines_are_refused_with_their_number(line: str, reason: str) -> None:
    good, bad = parse_lines(["a1|Fine.", line, "z9|Fine too."])
    assert [x.id for x in good] == ["a1", "z9"]
    assert len(bad) == 1 and bad[0].number == 2 and reason in bad[0].reason


@settings(max_examples=40)
@given(st.text(max_size=30))
def test_an_accepted_id_stays_in_its_folder(name: str) -> None:
    if check_id(name) is None:
        assert Path("out", f"{name}.wav").parent == Path("out")
        assert not set(name) & set('/\\:*?"<>|\0\n') and name not in {".", ".."}


def test_seeds_depend_on_id_and_base_alone() -> None:
    assert seed_for(1, "a") == seed_for(1, "a") == 1595312585
    assert len({seed_for(base, name) for base in range(20) for name in "abcdefghij"}) == 200


# -- writing files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_formats(voice: Any, tmp_path: Path, ending: str) -> None:
    done = speak_to_file(voice, "Hello there. It works.", tmp_path / "new" / f"x.{ending}", seed=3)
    wav, rate = soundfile.read(str(done.path))
    assert rate == done.sample_rate == voice.sample_rate and wav.ndim == 1
    assert abs(len(wav) / rate - done.duration) < 0.1
    assert done.seed == 3 and done.elapsed > 0 and done.rtf == done.elapsed / done.duration
    assert leftovers(tmp_path / "new") == []


def test_file_holds_what_say_returns(voice: Any, tmp_path: Path) -> None:
    text = "One sentence. And another one!"
    done = speak_to_file(voice, text, tmp_path / "x.wav", seed=5, style=Style(speaker="two", temperature=0.3))
    wav, _ = soundfile.read(str(done.path), dtype="float32")
    said = voice.say(text, seed=5, speaker="two", temperature=0.3).wav
    np.testing.assert_allclose(wav, said, atol=1 / 32000)
    other, _ = soundfile.read(str(speak_to_file(voice, text, tmp_path / "y.wav", seed=6).path), dtype="float32")
    assert len(other) != len(wav) or not np.allclose(other, wav, atol=1e-3)


def test_without_a_seed_each_reading_is_new(voice: Any, tmp_path: Path) -> None:
    seeds = {speak_to_file(voice, "Hello.", tmp_path / f"{n}.wav").seed for n in range(3)}
    assert len(seeds) == 3


@pytest.mark.parametrize(("name", "message"), [("x", "format"), ("x.txt", "format"), ("folder.wav", "folder")])
def test_impossible_outputs(voice: Any, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(SpeechVAEError, match=message):
        speak_to_file(voice, "Hello.", tmp_path / name)


def test_existing_file_is_kept(voice: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"mine")
    with pytest.raises(SpeechVAEError, match="--force"):
        speak_to_file(voice, "Hello.", path)
    assert path.read_bytes() == b"mine"
    speak_to_file(voice, "Hello.", path, overwrite=True)
    assert path.read_bytes()[:4] == b"RIFF"


def test_failure_leaves_nothing_behind(voice: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"mine")
    stream = type(voice).stream

    def breaking(self: Any, *args: Any, **kwargs: Any) -> Any:
        yield next(stream(self, *args, **kwargs))
        raise SpeechVAEError("the second sentence broke")

    monkeypatch.setattr(type(voice), "stream", breaking)
    with pytest.raises(SpeechVAEError, match="second sentence"):
        speak_to_file(voice, "Hello. There.", path, overwrite=True)
    assert path.read_bytes() == b"mine" and leftovers(tmp_path) == []


def test_long_text_is_not_held_in_memory(voice: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chunk = next(iter(voice.stream("Hello.", seed=1)))
    held: list[int] = []

    def many(self: Any, *args: Any, **kwargs: Any) -> Any:
        import weakref

        refs = []
        for _ in range(20):
            wav = chunk.wav.copy()
            refs.append(weakref.ref(wav))
            yield type(chunk)(**{**chunk.__dict__, "wav": wav})
            del wav
            held.append(sum(ref() is not None for ref in refs))

    monkeypatch.setattr(type(voice), "stream", many)
    done = speak_to_file(voice, "whatever", tmp_path / "x.wav")
    assert abs(done.duration - 20 * len(chunk.wav) / chunk.sample_rate) < 1e-6
    assert max(held) <= 2


# -- many utterances -------------------------------------------------------------------------------------------------


def test_batch_writes_files_and_rows(voice: Any, tmp_path: Path) -> None:
    report = run_batch(LINES, tmp_path, voice, seed=1)
    assert report.ok and report.written == ["hello", "bye", "empty"] and report.skipped == []
    found = rows(tmp_path)
    assert [r["id"] for r in found] == report.written
    for row in found:
        info = soundfile.info(str(tmp_path / row["file"]))
        assert abs(info.duration - row["duration"]) < 1e-3 and info.samplerate == row["sample_rate"]
        assert row["seed"] == seed_for(1, row["id"]) and row["voice"] == voice.name and row["batch_seed"] == 1
    assert found[0]["text"] == "Hello there."


def test_batch_is_deterministic_and_order_free(voice: Any, tmp_path: Path) -> None:
    run_batch(LINES, tmp_path / "a", voice, seed=1)
    run_batch(LINES[::-1], tmp_path / "b", voice, seed=1)
    run_batch(LINES, tmp_path / "c", voice, seed=2)
    for name in ("hello.wav", "bye.wav"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "c" / name).read_bytes()


def test_stopped_run_goes_on_where_it_was(voice: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run_batch(LINES, whole, voice, seed=1)
    stream = type(voice).stream

    def stopping(self: Any, text: str, **kwargs: Any) -> Any:
        if text.startswith("Good"):
            raise KeyboardInterrupt
        return stream(self, text, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(type(voice), "stream", stopping)
        run_batch(LINES, parts, voice, seed=1)
    assert [r["id"] for r in rows(parts)] == ["hello"] and leftovers(parts) == []
    first = (parts / "hello.wav").stat().st_mtime_ns
    with (parts / "manifest.jsonl").open("a", encoding="utf-8") as f:
        f.write('{"id": "bye", "te')  # what a crash in the middle of a write leaves
    report = run_batch(LINES, parts, voice)
    assert report.skipped == ["hello"] and report.written == ["bye", "empty"]
    assert (parts / "hello.wav").stat().st_mtime_ns == first
    assert rows(parts) == rows(whole)
    for name in ("hello.wav", "bye.wav"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()
    again = run_batch(LINES, parts, voice, seed=1)
    assert again.written == [] and len(again.skipped) == 3


def test_one_bad_line_does_not_stop_the_rest(voice: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = type(voice).stream

    def picky(self: Any, text: str, **kwargs: Any) -> Any:
        if "known" in text:
            raise SpeechVAEError("this text cannot be said")
        if "odd" in text:
            raise RuntimeError("tensor trouble")
        return stream(self, text, **kwargs)

    monkeypatch.setattr(type(voice), "stream", picky)
    report = run_batch(["a|A known failure.", "b|Fine.", "c|An odd one.", "b|Twice.", "d|Fine."], tmp_path, voice)
    assert not report.ok and report.written == ["b", "d"]
    assert [(r.number, r.id) for r in report.refused] == [(1, "a"), (3, "c"), (4, "b")]
    assert report.refused[0].reason == "this text cannot be said"
    assert report.refused[1].reason == "RuntimeError: tensor trouble"
    assert sorted(p.name for p in tmp_path.glob("*.wav")) == ["b.wav", "d.wav"]


def test_other_work_is_not_overwritten(voice: Any, tmp_path: Path) -> None:
    run_batch(["a|Hello.", "b|Bye."], tmp_path, voice, seed=1)
    before = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "mine.wav").write_bytes(b"mine")

    def reason(line: str, **options: Any) -> str:
        report = run_batch([line], tmp_path, voice, **options)
        assert report.written == [] and len(report.refused) == 1
        return report.refused[0].reason

    assert "another text" in reason("a|Hello again.", seed=1)
    assert "batch_seed" in reason("a|Hello.", seed=2)
    assert "length_scale" in reason("a|Hello.", seed=1, style=Style(length_scale=1.5))
    assert "not in manifest.jsonl" in reason("mine|Hello.", seed=1)
    assert (tmp_path / "a.wav").read_bytes() == before and (tmp_path / "mine.wav").read_bytes() == b"mine"

    report = run_batch(["a|Hello again."], tmp_path, voice, seed=2, overwrite=True)
    assert report.written == ["a"] and (tmp_path / "a.wav").read_bytes() != before
    assert [(r["id"], r["text"]) for r in rows(tmp_path)] == [("a", "Hello again."), ("b", "Bye.")]


def test_a_foreign_manifest_is_left_alone(voice: Any, tmp_path: Path) -> None:
    foreign = '{"id": "x", "text": "A corpus row.", "symbols": []}\n'
    (tmp_path / "manifest.jsonl").write_text(foreign, encoding="utf-8")
    with pytest.raises(SpeechVAEError, match="line 1 is not a row"):
        run_batch(["a|Hello."], tmp_path, voice)
    assert (tmp_path / "manifest.jsonl").read_text(encoding="utf-8") == foreign
    with pytest.raises(SpeechVAEError, match="not a row"):
        read_manifest(tmp_path / "manifest.jsonl")
