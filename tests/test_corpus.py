"""Readers, ids and splits."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechvae.corpus import Corpus, Utterance, detect_format, prompts_of, read_corpus, split_of
from speechvae.errors import SpeechVAEError


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")  # readers look at names only
    return path


def read(source: Any, **options: Any) -> tuple[list[Utterance], dict[str, str]]:
    problems: dict[str, str] = {}
    return list(read_corpus(source, on_problem=problems.__setitem__, **options)), problems


def test_split_is_the_crc_rule() -> None:
    # crc32: 71657640, 1069893121 and the check value of the algorithm, 3421780262
    assert [split_of(p) for p in ("a0029", "a0005", "123456789")] == ["test", "dev", "train"]
    splits = [split_of(f"prompt-{i}") for i in range(4000)]
    assert 0.03 < splits.count("test") / 4000 < 0.07
    assert 0.03 < splits.count("dev") / 4000 < 0.07


@pytest.mark.parametrize(
    ("entries", "prompts"),
    [
        ([("a1_1", "One."), ("a1_2", "one"), ("a2_1", "Two.")], ["a1", "a1", "a2"]),
        ([("p239_1", "One."), ("p239_2", "Two."), ("p239_3", "Three.")], ["p239_1", "p239_2", "p239_3"]),
        ([("a1_1", "One."), ("a2_1", "Two.")], ["a1_1", "a2_1"]),  # no prompt has a second take
        ([("a1_1", "One."), ("a1_2", "One."), ("b", "Two.")], ["a1_1", "a1_2", "b"]),
        ([("x_1", ""), ("x_2", "")], ["x_1", "x_2"]),  # no text, no evidence
        ([], []),
    ],
)
def test_prompt_ids(entries: list[tuple[str, str]], prompts: list[str]) -> None:
    assert prompts_of(entries) == prompts


def test_speaker_csv(tmp_path: Path) -> None:
    for name in ("a_1.flac", "a_2.opus", "deep/c.WAV", "x.1.wav"):
        touch(tmp_path / "audio" / name)
    (tmp_path / "metadata.csv").write_bytes(
        b"\xef\xbb\xbfa_1|ann|One  |  two.\n\na_2|ann|One | two.\n../../etc/passwd|ann|No.\nbroken\n\xff\xfe|ann|No.\n"
        b"deep/c|ben|Three\nx.1||Four\ngone.wav|ben|Five\n"
    )
    found, problems = read(tmp_path, speaker="someone")
    by_id = {u.id: u for u in found}
    assert list(by_id) == ["a_1", "a_2", "deep-c", "x.1", "gone"]
    assert by_id["a_1"].text == "One | two."
    assert by_id["a_1"].audio == tmp_path / "audio" / "a_1.flac"
    assert by_id["deep-c"].audio == tmp_path / "audio" / "deep" / "c.WAV"
    assert (by_id["x.1"].audio, by_id["x.1"].speaker) == (tmp_path / "audio" / "x.1.wav", "someone")
    assert by_id["gone"].audio == tmp_path / "audio" / "gone.wav"  # that it is missing is found by validation
    assert set(problems) == {"metadata.csv:4", "metadata.csv:5", "metadata.csv:6"}
    assert "file" in problems["metadata.csv:4"] and "UTF-8" in problems["metadata.csv:6"]


def test_takes_of_a_prompt_share_their_split(tmp_path: Path) -> None:
    lines = [f"p{i}_{take}|ann|Sentence number {i}." for i in range(100) for take in (1, 2, 3)]
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    found, _ = read(tmp_path)
    assert {u.prompt for u in found} == {f"p{i}" for i in range(100)}
    assert all(u.split == split_of(u.id.split("_")[0]) for u in found)
    assert {u.split for u in found} == {"train", "dev", "test"}


def test_ljspeech_prefers_the_normalised_text(tmp_path: Path) -> None:
    touch(tmp_path / "wavs" / "LJ1.wav")
    (tmp_path / "metadata.csv").write_text('LJ1|In 1853, "he".|In eighteen, "he".\nLJ2|Dr. No|\nLJ3|Alone\nLJ4\n')
    found, problems = read(Corpus(tmp_path, speaker="lj"))
    assert [(u.id, u.speaker, u.text) for u in found] == [
        ("LJ1", "lj", 'In eighteen, "he".'), ("LJ2", "lj", "Dr. No"), ("LJ3", "lj", "Alone")
    ]  # fmt: skip
    assert found[0].audio == tmp_path / "wavs" / "LJ1.wav"
    assert list(problems) == ["metadata.csv:4"]


def test_pairs_beside_each_other(tmp_path: Path) -> None:
    for name, text in {"one": "First.", "ann/two": "Second\nline.", "ann/three": None}.items():
        touch(tmp_path / f"{name}.mp3")
        if text is not None:
            (tmp_path / f"{name}.txt").write_text(text)
    found, problems = read(tmp_path, speaker="me")
    assert [(u.id, u.speaker, u.text) for u in found] == [
        ("ann-two", "ann", "Second line."), ("one", "me", "First.")
    ]  # fmt: skip
    assert problems == {"ann/three": "no .txt file for this recording"}


def test_pairs_in_parallel_trees(tmp_path: Path) -> None:
    touch(tmp_path / "wav48/p225/p225_001.wav")
    (tmp_path / "txt/p225").mkdir(parents=True)
    (tmp_path / "txt/p225/p225_001.txt").write_text("Please call Stella.\n")
    found, problems = read(tmp_path)
    assert [(u.id, u.speaker, u.text) for u in found] == [("p225-p225_001", "p225", "Please call Stella.")]
    assert not problems


def test_jsonl(tmp_path: Path) -> None:
    entries: list[Any] = [
        {"audio": "w/a.wav", "text": "Hello.", "speaker": "ann", "split": "test"},
        {"audio": "b.wav", "id": "bee", "symbols": ["h", "i", "."], "words": [["hi", 0, 2]], "prompt": "greet"},
        {"audio": "/abs/c.flac", "id": "c", "text": "Full.", "symbols": ["^", "f", ".", "$"], "words": [["f", 1, 2]]},
        {"text": "no audio"}, {"audio": "d.wav", "split": "validation"}, {"audio": "e.wav", "symbols": "^a$"},
        {"audio": "f.wav", "symbols": ["a"], "words": [["a", 0, 9]]}, ["list"], {"audio": "g.wav", "id": "../g"},
    ]  # fmt: skip
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("\n".join([*map(json.dumps, entries), "{not json"]))
    found, problems = read(manifest)
    a, b, c = found
    assert (a.id, a.speaker, a.text, a.split, a.symbols) == ("w-a", "ann", "Hello.", "test", None)
    assert a.audio == tmp_path / "w" / "a.wav"
    assert (b.id, b.speaker, b.prompt, b.split) == ("bee", "m", "greet", split_of("greet"))
    assert b.symbols == ("^", "h", "i", ".", "$")
    assert b.words == (("hi", 1, 3),)  # moved by the "^" that was added
    assert (c.audio, c.symbols, c.words) == (Path("/abs/c.flac"), ("^", "f", ".", "$"), (("f", 1, 2),))
    assert list(problems) == [f"m.jsonl:{n}" for n in range(4, 11)]
    assert "validation" in problems["m.jsonl:5"] and "outside" in problems["m.jsonl:7"]


class Rows:
    """Looks like a `datasets.Dataset`: column names, a length, rows by number."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows, self.asked = rows, 0
        self.column_names = list(rows[0])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        self.asked += 1
        if self.rows[number]["text"] == "explode":
            raise RuntimeError("corrupt shard")
        return self.rows[number]


class Decoder:
    """Looks like the torchcodec decoder that recent versions of `datasets` give."""

    def get_all_samples(self) -> Any:
        class Samples:
            data = np.stack([np.ones(10), np.zeros(10)])
            sample_rate = 48000

        return Samples


def wav_bytes() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.full(1600, 0.25), 16000, format="WAV")
    return buffer.getvalue()


def test_dataset_objects() -> None:
    tone = np.linspace(-0.5, 0.5, 1000)
    stereo = np.stack([tone, -tone])
    data = Rows([
        {"id": "x1", "text": "Array.", "speaker_id": 7, "audio": {"array": tone, "sampling_rate": 22050}},
        {"id": "x2", "text": "Stereo.", "speaker_id": 7, "audio": {"array": stereo, "sampling_rate": 8}},
        {"id": "x3", "text": "Bytes.", "speaker_id": 8, "audio": {"bytes": wav_bytes(), "path": None}},
        {"id": "x4", "text": "Path.", "speaker_id": 8, "audio": {"bytes": None, "path": "/a/b.flac"}},
        {"id": "x5", "text": "Decoder.", "speaker_id": None, "audio": Decoder()},
        {"id": "x6", "text": "Bad bytes.", "speaker_id": 8, "audio": {"bytes": b"no audio"}},
        {"id": "x7", "text": "explode", "speaker_id": 8, "audio": None},
        {"id": "x8", "text": "Last.", "speaker_id": 8, "audio": 3},
    ])  # fmt: skip
    problems: dict[str, str] = {}
    rows = read_corpus(data, speaker="fallback", on_problem=problems.__setitem__)
    first = next(rows)
    assert data.asked == 1  # one at a time: a corpus need not fit into memory
    found = [first, *rows]
    assert [u.id for u in found] == ["x1", "x2", "x3", "x4", "x5"]
    assert [u.speaker for u in found] == ["7", "7", "8", "8", "fallback"]
    assert first.samples is not None and first.samples.dtype == np.float32
    np.testing.assert_allclose(first.samples, tone, atol=1e-6)
    assert found[1].samples is not None and found[1].samples.shape == (1000,) and not found[1].samples.any()
    assert (found[2].sample_rate, found[3].audio) == (16000, Path("/a/b.flac"))
    assert found[2].samples is not None and found[2].samples == pytest.approx(0.25, abs=1e-3)
    assert found[4].sample_rate == 48000 and found[4].samples is not None and found[4].samples == pytest.approx(0.5)
    assert set(problems) == {"x6", "row 6", "x8"}
    assert all(u.split == split_of(u.id) and u.prompt == u.id for u in found)


def test_dataset_columns() -> None:
    row = {"wave": {"array": np.zeros(9), "sampling_rate": 16000}, "said": "Hi.", "text": "unused"}
    (found,) = read_corpus(Rows([row]), columns={"audio": "wave", "text": "said"})
    assert (found.id, found.text) == ("000000", "Hi.")
    with pytest.raises(SpeechVAEError, match=r"no audio column; it has wave, said, text"):
        read_corpus(Rows([row]))
    with pytest.raises(SpeechVAEError, match=r"no text column"):
        read_corpus(Rows([row]), columns={"audio": "wave", "text": "missing"})

    class Splits:
        column_names = {"train": ["audio", "text"]}

    with pytest.raises(SpeechVAEError, match=r"data\['train'\]"):
        read_corpus(Splits())
    with pytest.raises(SpeechVAEError, match="int"):
        read_corpus(3)


def test_streamed_dataset_without_length() -> None:
    class Stream:
        column_names = ["audio", "sentence"]

        def __iter__(self) -> Any:
            yield {"audio": "a.wav", "sentence": "One."}
            yield {"audio": "b.wav", "sentence": "Two."}

    assert [(u.id, u.text, u.audio) for u in read_corpus(Stream())] == [
        ("000000", "One.", Path("a.wav")), ("000001", "Two.", Path("b.wav"))
    ]  # fmt: skip


def test_layouts_are_recognised(tmp_path: Path) -> None:
    touch(tmp_path / "lj/metadata.csv")
    (tmp_path / "lj/wavs").mkdir()
    touch(tmp_path / "own/metadata.csv")
    touch(tmp_path / "json/manifest.jsonl")
    touch(tmp_path / "json/metadata.csv")
    touch(tmp_path / "pairs/x/a.ogg")
    touch(tmp_path / "hub/dataset_info.json")
    touch(tmp_path / "hub/state.json")
    found = {p.name: detect_format(p) for p in tmp_path.iterdir()}
    assert found == {"lj": "ljspeech", "own": "speaker", "json": "jsonl", "pairs": "pairs", "hub": "dataset"}


def test_what_is_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(SpeechVAEError, match="no corpus at"):
        read_corpus(tmp_path / "missing")
    with pytest.raises(SpeechVAEError, match="is no corpus"):
        read_corpus(tmp_path)
    with pytest.raises(SpeechVAEError, match="unknown corpus format 'kaldi'"):
        read_corpus(tmp_path, "kaldi")
    with pytest.raises(SpeechVAEError, match=r"no metadata\.csv"):
        read_corpus(tmp_path, "speaker")
    with pytest.raises(SpeechVAEError, match="does not exist"):
        read_corpus(tmp_path / "missing", "pairs")


def test_problems_are_warnings_by_default(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("broken\n")
    with pytest.warns(UserWarning, match=r"metadata\.csv:1: not of the form"):
        assert list(read_corpus(tmp_path)) == []


def test_real_corpora(shared_dir: Path) -> None:
    found, problems = read(shared_dir / "corpora" / "kathleen")
    assert len(found) == 1539 and not problems
    assert {u.prompt for u in found if u.id.startswith("a0289_")} == {"a0289"}
    assert all(u.audio is not None and u.audio.suffix == ".opus" for u in found)
    assert all(u.split == split_of(u.id.partition("_")[0]) for u in found)
    found, problems = read(shared_dir / "corpora" / "vctk_p239")
    assert len(found) == 483 and not problems
    assert all(u.prompt == u.id and u.speaker == "p239" for u in found)
