"""From corpora to a work folder: what is refused, what is written, what is done again."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from speechvae.audio import load, write_wav
from speechvae.config import AudioConfig
from speechvae.corpus import Corpus
from speechvae.errors import SpeechVAEError
from speechvae.journal import Journal
from speechvae.prepare import Report, prepare
from speechvae.text import SymbolTable

RATE = 24000


def speech(seconds: float = 1.0, rate: int = RATE, level: float = 0.1, seed: int = 0) -> np.ndarray:
    """Something like speech with 0.3 s of near-silence on both sides."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    pitch = 110 + 60 * rng.random()
    buzz = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 15)) * (0.2 + np.abs(np.sin(15 * t)))
    quiet = np.zeros(round(0.3 * rate))
    wav = np.concatenate([quiet, level * buzz, quiet])
    return (wav + 3e-4 * rng.normal(size=len(wav))).astype(np.float32)


SENTENCES = ("The birch canoe slid.", "Glue the sheet to it.", "He likes hot tea.", "Four hours of work.")


def corpus(folder: Path, count: int = 4, rate: int = RATE, level: float = 0.1, speaker: str = "ann") -> Path:
    lines = []
    for i in range(count):
        write_wav(folder / "audio" / f"u{i}.wav", speech(1.0, rate, level, i), rate)
        lines.append(f"u{i}|{speaker}|{SENTENCES[i % 4]}\n")
    (folder / "metadata.csv").write_text("".join(lines))
    return folder


def run(source: Any, work: Path, **options: Any) -> Report:
    return prepare(source, work, **{"features": False, "progress": False, "phonemise": False, **options})


def rows(work: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (work / "manifest.jsonl").read_text().splitlines()]


def reasons(report: Report) -> dict[str, str]:
    return {r.id: r.reason for r in report.refused}


def test_bad_entries_are_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "c", 4)
    audio = folder / "audio"
    (audio / "corrupt.wav").write_bytes(b"RIFF....no wave at all")
    (audio / "hollow.wav").write_bytes(b"")
    write_wav(audio / "silent.wav", np.zeros(RATE), RATE)
    write_wav(audio / "clipped.wav", speech(level=1.5), RATE)
    write_wav(audio / "slow.wav", speech(rate=8000), 8000)
    write_wav(audio / "short.wav", speech()[:3000], RATE)
    write_wav(audio / "wrong.wav", speech(), RATE)
    write_wav(audio / "mute.wav", speech(), RATE)
    names = ("corrupt", "hollow", "silent", "clipped", "slow", "short", "gone")
    lines = [f"{name}|ann|Some words here." for name in names]
    lines += ["u0|ann|The same id again.", "mute|ann|  ", "no fields", "wrong|ann|" + "Far too many words. " * 20]
    with (folder / "metadata.csv").open("a") as file:
        file.write("\n".join(lines))
    report = run(folder, tmp_path / "w")
    assert reasons(report) == {
        "corrupt": "cannot be decoded", "hollow": "cannot be decoded", "silent": "silent", "clipped": "clipped",
        "slow": "sample rate too low", "short": "too short", "gone": "no audio file", "u0": "duplicate id",
        "mute": "empty text", "metadata.csv:14": "cannot be read", "wrong": "unlikely speech rate",
    }  # fmt: skip
    assert [r["id"] for r in rows(tmp_path / "w")] == ["u0", "u1", "u2", "u3"]
    assert (report.read["c"], report.accepted["c"]) == (15, 4)
    table = report.table()
    assert "clipped" in table and "c/corrupt" in table and "gone.wav" in table
    assert json.loads((tmp_path / "w" / "report.json").read_text())["refused"][0].keys() == {
        "corpus", "id", "reason", "detail"
    }  # fmt: skip


def test_manifest(tmp_path: Path) -> None:
    report = run(corpus(tmp_path / "c"), tmp_path / "w", phonemise=True)
    assert not report.refused
    for row in rows(tmp_path / "w"):
        assert row["symbols"][0] == "^" and row["symbols"][-2:] == [".", "$"]
        assert "".join(w[0] for w in row["words"]) == "".join(c for c in row["text"] if c.isalpha())
        inside = {i for _, first, last in row["words"] for i in range(first, last)}
        assert {row["symbols"][i] for i in set(range(len(row["symbols"]))) - inside} <= {"^", "$", " ", "."}
        assert row["start"] == pytest.approx(0.18, abs=0.05) and row["end"] == pytest.approx(1.42, abs=0.05)
        assert row["duration"] == pytest.approx(row["end"] - row["start"])
        assert row["split"] in ("train", "dev", "test") and row["prompt"] == row["id"]
        assert Path(row["audio"]).is_absolute() and Path(row["audio"]).is_file()
    table = SymbolTable.load(tmp_path / "w" / "symbols.json")
    assert all(table.encode(r["symbols"]) for r in rows(tmp_path / "w"))
    assert json.loads((tmp_path / "w" / "speakers.json").read_text()) == ["ann"]
    assert not list((tmp_path / "w").glob("*.part"))


def test_several_sentences_become_one_sequence(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "c", 1)
    (folder / "metadata.csv").write_text("u0|ann|Is it? Yes. Go on!\n")
    run(folder, tmp_path / "w", phonemise=True)
    (row,) = rows(tmp_path / "w")
    assert (row["symbols"].count("^"), row["symbols"].count("$")) == (1, 1)
    assert [s for s in row["symbols"] if s in "?.!"] == ["?", ".", "!"]
    assert [w[0] for w in row["words"]] == ["Is", "it", "Yes", "Go", "on"]


def test_each_speaker_gets_one_level(tmp_path: Path) -> None:
    soft = corpus(tmp_path / "a", 4, level=0.02, speaker="soft")
    report = run([soft, corpus(tmp_path / "b", 4, level=0.2, speaker="loud")], tmp_path / "w", level_kept=1.0)
    gains = {r["speaker"]: r["gain"] for r in rows(tmp_path / "w")}
    assert all(r["gain"] == gains[r["speaker"]] for r in rows(tmp_path / "w"))
    assert gains["soft"] / gains["loud"] == pytest.approx(10, rel=0.05)
    for name, s in report.speakers.items():
        assert s["level"] + s["gain_db"] == pytest.approx(-23, abs=0.2), name


@pytest.mark.parametrize("kept", [0.0, 1 / 3, 1.0])
def test_a_share_of_the_differences_between_clips_is_kept(tmp_path: Path, kept: float) -> None:
    folder = corpus(tmp_path / "c", 3)
    wav, rate = load(folder / "audio" / "u0.wav")
    write_wav(folder / "audio" / "u0.wav", wav * 10 ** (-6 / 20), rate)
    run(folder, tmp_path / "before", level_kept=1.0)
    assert len({r["gain"] for r in rows(tmp_path / "before")}) == 1
    run(folder, tmp_path / "w", level_kept=kept)
    quiet, *others = (20 * np.log10(r["gain"]) for r in rows(tmp_path / "w"))
    assert quiet - np.median(others) == pytest.approx((1 - kept) * 6, abs=1.0)


def test_corpora_with_the_same_ids(tmp_path: Path) -> None:
    report = run([corpus(tmp_path / "x" / "c"), corpus(tmp_path / "d", speaker="ben")], tmp_path / "w")
    assert not report.refused
    assert [r["id"] for r in rows(tmp_path / "w")][3:5] == ["u3", "d-u0"]
    both = {(r["prompt"], r["split"]) for r in rows(tmp_path / "w")}
    assert len(both) == 4  # the prompts are the same, and so are their splits
    # two folders of one name are told apart
    report = run([tmp_path / "x" / "c", corpus(tmp_path / "y" / "c")], tmp_path / "w2")
    assert list(report.read) == ["c", "c-2"]


def test_words_and_symbols_that_nobody_can_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Word(SimpleNamespace):
        pass

    class Sentence(SimpleNamespace):
        def symbols(self) -> tuple[list[str], list[int]]:
            phonemes = [(p, i) for i, w in enumerate(self.words) for p in w.phonemes]
            return ["^", *(p for p, _ in phonemes), ".", "$"], [-1, *(i for _, i in phonemes), -1, -1]

    class Frontend:
        def utterance(self, text: str) -> Any:
            if "canoe" in text:
                return Sentence(words=[Word(text="birch", phonemes=("b",)), Word(text="xyzzy", phonemes=())])
            if "Glue" in text:
                raise RuntimeError("lost")
            return None if "tea" in text else Sentence(words=[Word(text="four", phonemes=("f", "ˈɔ", "ɹ") * 3)])

    monkeypatch.setattr("speechvae.text.get_frontend", lambda language, lexicon=None: Frontend())
    folder = corpus(tmp_path / "c")
    report = run(folder, tmp_path / "w", phonemise=True)
    assert reasons(report) == {"u0": "word without phonemes", "u1": "text not understood", "u2": "nothing to speak"}
    assert "xyzzy" in report.table() and "lost" in report.table()
    known = SymbolTable.from_corpus([["f", "ɹ"]])
    with pytest.raises(SpeechVAEError, match=r"(?s)no utterance can be used.*unknown symbol"):
        run(folder, tmp_path / "w2", phonemise=True, symbols=known)
    assert not (tmp_path / "w2" / "manifest.jsonl").exists()


def test_a_second_run_does_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, work = corpus(tmp_path / "c"), tmp_path / "w"
    written: list[str] = []

    def fake_features(row: dict[str, Any], cfg: AudioConfig, work: Path, wav: np.ndarray | None = None) -> Path:
        from speechvae.dataset import feature_path

        written.append(row["id"])
        path = feature_path(work, row["id"])
        path.parent.mkdir(exist_ok=True)
        assert wav is None or len(wav) == round(row["end"] * RATE) - round(row["start"] * RATE)
        path.write_text(f"{row['gain']}")
        if row["id"] == "u2" and len(written) == 3:
            raise KeyboardInterrupt
        return path

    monkeypatch.setattr("speechvae.dataset.cache_features", fake_features)
    with pytest.raises(KeyboardInterrupt):
        run(folder, work, features=True)
    assert written == ["u0", "u1", "u2"]
    with monkeypatch.context() as patch:
        patch.setattr("speechvae.audio.load", lambda path: pytest.fail(f"{path} was decoded again"))
        report = run(folder, work, features=True)
        assert written[3:] == ["u2", "u3"]
        assert report.accepted["c"] == 4 and "2 of 4 clips had their features" in report.table()
        run(folder, work, features=True)
        assert len(written) == 5
    assert not list(work.glob("*.part"))

    # a louder clip joins the corpus: the speaker's gain changes, and with it all features
    write_wav(folder / "audio" / "u1.wav", speech(1.0, RATE, 0.2, 1), RATE)
    write_wav(folder / "audio" / "u3.wav", speech(1.0, RATE, 0.2, 1), RATE)
    run(folder, work, features=True)
    assert sorted(written[5:]) == ["u0", "u1", "u2", "u3"]


def test_a_clip_whose_features_fail_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(row: dict[str, Any], *_: Any, **__: Any) -> None:
        if row["id"] == "u1":
            raise ValueError("too odd")

    monkeypatch.setattr("speechvae.dataset.cache_features", failing)
    report = run(corpus(tmp_path / "c"), tmp_path / "w", features=True)
    assert reasons(report) == {"u1": "features failed"}
    assert [r["id"] for r in rows(tmp_path / "w")] == ["u0", "u2", "u3"]


def test_real_features_of_another_sample_rate(tmp_path: Path) -> None:
    from speechvae.dataset import read_features

    cfg = AudioConfig()
    run(corpus(tmp_path / "c", 1, rate=44100), tmp_path / "w", features=True, audio_cfg=cfg)
    (row,) = rows(tmp_path / "w")
    found = read_features(tmp_path / "w", row["id"], cfg)
    assert found["mel"].shape == (100, int(row["duration"] * RATE) // cfg.hop)
    active = found["wav"].float()[4000:-4000] / 32767
    assert 20 * np.log10(float(active.square().mean().sqrt())) == pytest.approx(-23, abs=1.5)


def test_datasets_leave_their_samples_in_the_work_folder(tmp_path: Path) -> None:
    class Data(list[dict[str, Any]]):
        column_names = ["audio", "text"]

    audio = [{"array": speech(1.0, 16000, seed=i), "sampling_rate": 16000} for i in range(2)]
    data = Data({"audio": a, "text": text} for a, text in zip(audio, SENTENCES, strict=False))
    run(data, tmp_path / "w")
    run(data, tmp_path / "one", limit=1)
    assert len(rows(tmp_path / "one")) == 1
    for row in rows(tmp_path / "w"):
        assert Path(row["audio"]) == tmp_path / "w" / "audio" / f"{row['id']}.wav"
        assert Path(row["audio"]).is_file() and row["speaker"] == "speaker"


def test_limit_spreads_over_the_corpus(tmp_path: Path) -> None:
    run(corpus(tmp_path / "c", 9), tmp_path / "w", limit=3)
    assert [r["id"] for r in rows(tmp_path / "w")] == ["u0", "u4", "u8"]


@pytest.mark.slow
def test_several_processes_give_the_same(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "c")
    run(folder, tmp_path / "one")
    run(folder, tmp_path / "two", jobs=2)
    assert (tmp_path / "one" / "manifest.jsonl").read_text() == (tmp_path / "two" / "manifest.jsonl").read_text()


def test_broken_journal_lines_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text('["a", 1]\n["b", 2]\n["a", 3]\n["c", {"x": ')
    journal = Journal(path)
    assert journal.data == {"a": 3, "b": 2}
    journal.add("d", 4)
    journal.close()
    assert Journal(path).data == {"a": 3, "b": 2, "d": 4}


def test_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(SpeechVAEError, match="--corpus"):
        run([], tmp_path / "w")
    with pytest.raises(SpeechVAEError, match="no corpus at"):
        run(tmp_path / "missing", tmp_path / "w")


def test_an_unknown_language_is_no_fault_of_the_clips(tmp_path: Path) -> None:
    with pytest.raises(SpeechVAEError, match="xx-yy"):
        run(Corpus(corpus(tmp_path / "c"), language="xx-yy"), tmp_path / "w", phonemise=True)


def test_real_recordings(shared_dir: Path, tmp_path: Path) -> None:
    names = ("kathleen", "ljspeech", "vctk_p239")
    report = run([shared_dir / "corpora" / n for n in names], tmp_path, limit=12, phonemise=True)
    assert not report.refused
    found = rows(tmp_path)
    assert len(found) == 36 and {r["speaker"] for r in found} == {"kathleen", "lj", "p239"}
    # most of this reader's clips begin with half a second of silence, over a loud rumble
    assert np.median([r["start"] for r in found if r["speaker"] == "p239"]) > 0.4
    assert np.median([r["start"] for r in found if r["speaker"] == "kathleen"]) < 0.05


def test_a_corpus_that_is_not_there_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(SpeechVAEError, match="nowhere"):
        prepare([tmp_path / "nowhere"], tmp_path / "work", progress=False)
    assert not list((tmp_path / "work").glob("*.part"))
