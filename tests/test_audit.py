"""The audit: measures of clips, judged beside the others of their speaker, in a table and on a page."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechvae import Voice, cli
from speechvae.audit.measures import BROKEN, CAP, KINDS, Kind, examine, judge, robust_z, suspicion
from speechvae.audit.run import JOURNAL, PAGE, TABLE, audit
from speechvae.errors import SpeechVAEError


def hum(seconds: float, pitch: float = 180.0, rate: int = 24000) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    tone = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 9))
    edge = np.zeros(rate // 5)
    return np.concatenate([edge, 0.1 * tone * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * t)), edge]).astype(np.float32)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Six clips, of which one cannot be decoded, one is missing, one is silent and one has a text to escape."""
    folder = tmp_path / "corpus"
    (folder / "audio").mkdir(parents=True)
    for i in range(4):
        soundfile.write(folder / "audio" / f"c{i}.wav", hum(1.2 + 0.1 * i, 170 + 5 * i), 24000)
    (folder / "audio" / "bad.wav").write_bytes(b"RIFF....")
    soundfile.write(folder / "audio" / "quiet.wav", np.zeros(24000), 24000)
    lines = [f"c{i}|one|Hello there, number {i}." for i in range(3)]
    lines += ["c3|one|Hello <b>there</b> & \"here\".", "bad|one|Hello <b>bold</b>."]
    lines += ["gone|one|Hello.", "quiet|one|Hello."]
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


class Page(HTMLParser):
    """Tags and links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href") and v is not None]


def test_robust_z() -> None:
    values = np.array([1.0, 1.1, 0.9, 1.0, 5.0, np.nan])
    up, down, both = (robust_z(values, Kind("", bad, 0.1)) for bad in (1, -1, 0))
    assert up[4] == CAP and up[5] == 0 and down[4] == 0 and both[4] == CAP
    assert up[1] == pytest.approx(0.1 / (1.4826 * 0.1)) and down[2] > 0 and up[2] == 0
    assert (robust_z(np.array([3.0]), Kind("", 1, 0.1)) == 0).all()
    assert suspicion({"a": 4.0, "b": 2.0, "c": 1.0}) == 3.0


def test_measures_of_a_clip(small: Any) -> None:
    found = examine(small, hum(1.5), 24000, small.frontend.utterance("Hello there."), "one")
    for name in set(KINDS) - {"colour"}:
        assert np.isfinite(found[name]), name
    assert [w[0] for w in found["words"]] == ["Hello", "there"] and len(found["colours"]) == 12
    assert found["pitch"] == pytest.approx(np.log(180), abs=0.05)
    noisy = hum(1.5) + np.random.default_rng(0).normal(size=len(hum(1.5))).astype(np.float32) * 0.01
    worse = examine(small, noisy, 24000, small.frontend.utterance("Hello there."), "one")
    assert worse["contrast"] < found["contrast"] - 20
    clipped = examine(small, np.clip(hum(1.5), -0.08, 0.08), 24000, small.frontend.utterance("Hello there."), "one")
    assert clipped["clipped"] > found["clipped"] + 1
    cut = examine(small, hum(1.5)[: 24000], 24000, small.frontend.utterance("Hello there."), "one")
    assert cut["abrupt_end"] > found["abrupt_end"] + 20
    assert json.loads(json.dumps(found)) == {**found, "words": [list(w) for w in found["words"]]}


def test_speakers_are_judged_apart(small: Any) -> None:
    sentence = small.frontend.utterance("Hello there.")
    low = [examine(small, hum(1.2 + i / 20, 120 + i), 24000, sentence, "one") for i in range(4)]
    high = [examine(small, hum(1.2 + i / 20, 240 + i), 24000, sentence, "two") for i in range(4)]
    apart = judge([*low, *high, low[0]], ["one"] * 4 + ["two"] * 5)
    assert apart[8].scores["pitch"] > 5 > max(v.scores["pitch"] for v in apart[:8])
    broken = judge([{"error": "no"}, *low], ["one"] * 5)
    assert broken[0].suspicion == BROKEN and broken[0].reason == "no"


def test_bad_files_become_rows(small: Any, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    rows = audit(small, corpus, out, progress=False)
    reasons = {r.utterance.id: r.verdict.reason for r in rows}
    assert len(rows) == 7 and {r.utterance.id for r in rows[:3]} == {"bad", "gone", "quiet"}
    assert "decoded" in reasons["bad"] and "no audio file" in reasons["gone"] and "silent" in reasons["quiet"]
    with (out / TABLE).open(encoding="utf-8", newline="") as f:
        table = list(csv.DictReader(f))
    assert [r["id"] for r in table] == [r.utterance.id for r in rows]
    assert float(table[-1]["fit"]) < 0 and table[-1]["pitch_z"] != ""
    text = (out / PAGE).read_text(encoding="utf-8")
    page = Page(text)
    assert "b" not in page.tags and "&lt;b&gt;bold" in text
    assert page.tags.count("audio") == 6 and all((out / link).is_file() for link in page.links)
    assert "http" not in text


def test_an_audit_goes_on_where_it_stopped(
    small: Any, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import speechvae.audit.run as module

    seen: list[str] = []

    def counted(voice: Any, u: Any, sentences: Any) -> Any:
        seen.append(u.id)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return original(voice, u, sentences)

    original = module._examine
    monkeypatch.setattr(module, "_examine", counted)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        audit(small, corpus, out, progress=False)
    assert len((out / JOURNAL).read_text().splitlines()) == 2
    rows = audit(small, corpus, out, progress=False)
    assert len(rows) == 7 and len(seen) == 3 + 5
    audit(small, corpus, out, progress=False)
    assert len(seen) == 8
    soundfile.write(corpus / "audio" / "c1.wav", hum(2.0), 24000)  # another recording
    audit(small, corpus, out, progress=False)
    assert seen[8:] == ["c1"]


def test_audit_command(
    small: Any, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from speechvae.synthesis import Voice as Loaded

    monkeypatch.setattr(Loaded, "load", lambda *args: small)
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as done:
        cli.main(["audit", str(corpus), "-o", str(out), "-n", "3"])
    assert done.value.code == 0
    assert "of 3 clips are suspicious" in capsys.readouterr().out
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    assert cli.main(["audit", str(corpus), "-o", str(other)]) == 1
    assert "holds other things" in capsys.readouterr().err
    assert cli.main(["audit", str(tmp_path / "none"), "-o", str(tmp_path / "x")]) == 1
    assert "no corpus" in capsys.readouterr().err
    with pytest.raises(SpeechVAEError, match="no split 'best'"):
        audit(small, corpus, out, split="best", progress=False)


def test_a_voice_without_aligner_says_so(voice: Any, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(SpeechVAEError, match="no aligner"):
        audit(voice, corpus, tmp_path / "out", progress=False)


def test_the_swapped_pair_comes_first(shared_dir: Path, tmp_path: Path) -> None:
    source = shared_dir / "corpora" / "kathleen"
    ids = ["a0177_1", "a0194_1", "a0204_1", "a0210_1", "a0273_1", "a0284_1", "a0301_1", "a0383_1"]
    rows = [line.split("|") for line in (source / "metadata.csv").read_text("utf-8").splitlines()]
    texts = {id: text for id, _, text in rows if id in ids}
    texts["a0194_1"], texts["a0210_1"] = texts["a0210_1"], texts["a0194_1"]
    (tmp_path / "audio").mkdir()
    for id in ids:
        shutil.copyfile(source / "audio" / f"{id}.opus", tmp_path / "audio" / f"{id}.opus")
    lines = (f"{id}|kathleen|{text}\n" for id, text in texts.items())
    (tmp_path / "metadata.csv").write_text("".join(lines))
    found = audit(Voice.load("kathleen"), tmp_path, tmp_path / "out", progress=False)
    assert {r.utterance.id for r in found[:2]} == {"a0194_1", "a0210_1"}
    assert found[1].verdict.suspicion > 2 * found[2].verdict.suspicion
    assert "hardly fits" in found[0].verdict.reason


def test_the_check_of_the_recipe(recipe_script: Callable[[str], Any]) -> None:
    check = recipe_script("english/audit_check.py")
    rng = np.random.default_rng(0)
    wav = (0.1 * rng.normal(size=24000)).astype(np.float32)
    noise = check.corrupt("noise", wav, rng) - wav
    assert 10 * np.log10(np.mean(wav**2) / np.mean(noise**2)) == pytest.approx(10, abs=0.2)
    assert (np.abs(check.corrupt("clipped", wav, rng)) >= np.quantile(np.abs(wav), 0.98) - 1e-6).mean() > 0.015
    assert len(check.corrupt("truncated", wav, rng)) == 15600 and check.corrupt("swapped", wav, rng) is wav
    assert check.auc(np.array([3.0, 2.0]), np.array([1.0, 2.0])) == 0.875
