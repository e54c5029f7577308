"""The evaluation on a small corpus of tones whose figures are known beforehand."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speechvae import evaluate as ev
from speechvae import evaluate_folder
from speechvae.audio import LogMel, griffin_lim, write_wav
from speechvae.config import AudioConfig
from speechvae.corpus import Utterance, read_corpus
from speechvae.errors import SpeechVAEError
from speechvae.metrics.recordings import Recordings, another_take, centroid_clips, pick
from speechvae.metrics.report import summarise

RATE = 24000
CHEAP = ("signal", "spectrum", "f0", "duration", "stft", "sharpness")
TEXTS = {"a1": "One tone.", "a2": "Another tone.", "b1": "A third."}


def melody(hz: float, seconds: float = 0.8, rms: float = 0.05, bend: float = 0.1) -> np.ndarray:
    """A harmonic tone whose pitch falls by `bend` (natural log), with soft ends and a faint background."""
    n = round(seconds * RATE)
    f0 = hz * np.exp(np.linspace(bend / 2, -bend / 2, n))
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    wav = sum(np.sin(k * phase) / k for k in range(1, 13))
    wav *= rms / np.sqrt(np.mean(np.square(wav)))
    wav *= np.minimum(1, np.minimum(np.arange(n), np.arange(n)[::-1]) / 480)
    quiet = np.zeros(round(0.3 * RATE))
    wav = np.concatenate([quiet, wav, quiet])
    return (wav + np.random.default_rng(0).normal(0, 1e-4, len(wav))).astype(np.float32)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """Three prompts read twice, in two pitches each, recorded too softly."""
    folder = tmp_path_factory.mktemp("corpus")
    lines = []
    for place, (prompt, text) in enumerate(TEXTS.items()):
        for take in (1, 2):
            name = f"{prompt}_{take}"
            hz = 180 * (1 + 0.1 * place) * math.exp(0.1 * (take - 1))
            write_wav(folder / "audio" / f"{name}.wav", melody(hz) * 0.2, RATE)
            lines.append(f"{name}|anna|{text}\n")
    (folder / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    return list(read_corpus(folder))


@dataclass
class Said:
    wav: np.ndarray
    sample_rate: int = RATE
    rtf: float = 0.01


class ShiftedVoice:
    """Knows the first recording of each text and says it two semitones higher and a tenth longer."""

    name, language, sample_rate, default_speaker = "shifted", "en-us", RATE, "anna"
    stats = {"kl_u": 3.0, "active_u": 5}

    def __init__(self, speakers: tuple[str, ...] = ("anna",)) -> None:
        self.speakers = list(speakers)
        self.cfg = AudioConfig()
        self.vocoder = object()
        self.settings = type("Settings", (), {"audio": self.cfg})
        self.spoken: list[tuple[str, int, str | None]] = []

    def say(self, text: str, *, seed: int, speaker: str | None = None, drift: float = 0.0, **_: float) -> Said:
        self.spoken.append((text, seed, speaker))
        place = [t.strip() for t in TEXTS.values()].index(text) if text in TEXTS.values() else 0
        drift *= np.random.default_rng(seed).normal()
        return Said(melody(180 * (1 + 0.1 * place) * 2 ** (2 / 12) * math.exp(drift), 0.88))

    def stream(self, text: str, *, seed: int) -> Iterator[Said]:
        yield self.say(text, seed=seed)

    def info(self) -> dict[str, Any]:
        return {"parameters": {"acoustic": 1200}}

    def log_mel(self, wav: np.ndarray, rate: int) -> np.ndarray:
        import torch

        return LogMel(self.cfg)(torch.from_numpy(np.asarray(wav, np.float32))[None])[0].numpy()

    def vocode(self, mel: np.ndarray) -> np.ndarray:
        import torch

        return griffin_lim(torch.from_numpy(mel)[None], self.cfg, 4)[0].numpy()


def run(voice: Any, corpus: list[Utterance], **options: Any) -> ev.Report:
    options = {"split": "all", "metrics": CHEAP, "progress": False, **options}
    return ev.evaluate(voice, corpus, **options)


def test_figures_of_a_voice_that_is_off_by_a_known_amount(corpus: list[Utterance]) -> None:
    firsts = [u for u in corpus if u.id.endswith("_1")]
    report = run(ShiftedVoice(), firsts)
    said = report.systems["synthesis"]
    assert said["log_f0_rmse"] == pytest.approx(2 * math.log(2) / 12, rel=0.08)
    assert said["f0_correlation"] > 0.9
    assert said["duration_ratio"] == pytest.approx(1.1, abs=0.04)
    assert said["vuv_error"] < 0.1
    assert said["silence_start"] == pytest.approx(0.3, abs=0.04)
    assert said["rtf"] == pytest.approx(0.01)
    assert said["n"] == 3 and said["failed"] == 0
    assert said["clipped_clips"] == 0 and said["click_clips"] == 0
    assert "mcd" not in report.systems["recording"]  # no prompt has two recordings here
    assert report.voice["kl_u"] == 3 and report.voice["parameters/acoustic"] == 1200


def test_recordings_are_trimmed_and_levelled_as_for_training(corpus: list[Utterance]) -> None:
    found = run(ShiftedVoice(), corpus, copy_synthesis=False).systems["recording"]
    assert found["level"] == pytest.approx(-23, abs=0.3)
    assert found["silence_start"] == pytest.approx(0.12, abs=0.03)
    assert found["duration"] == pytest.approx(0.8 + 0.24, abs=0.06)
    # the second reading is 0.1 nats higher than the first
    assert found["log_f0_rmse"] == pytest.approx(0.1, rel=0.1)


def test_copies_come_closer_than_synthesis(corpus: list[Utterance]) -> None:
    report = run(ShiftedVoice(), corpus[:2])
    four, many, said = (report.systems[s] for s in ("vocoder copy", "Griffin-Lim copy", "synthesis"))
    assert many["log_f0_rmse"] < 0.02 < said["log_f0_rmse"]
    assert many["convergence"] <= four["convergence"] * 1.05
    assert "convergence" not in said


def test_diversity_is_measured_against_the_readings_of_a_prompt(corpus: list[Utterance]) -> None:
    # two recordings 0.1 nats apart: standard deviation 0.0707
    report = run(ShiftedVoice(), corpus, takes=8, drift=0.0707, copy_synthesis=False)
    spread = report.diversity["log_f0_mean"]
    assert spread["human"] == pytest.approx(0.0707, rel=0.05)
    assert spread["ratio"] == pytest.approx(1, abs=0.45)
    still = run(ShiftedVoice(), corpus, takes=3, copy_synthesis=False).diversity
    assert still["log_f0_mean"]["ratio"] < 0.01 and still["pairwise_mcd"]["ratio"] < 0.01
    with pytest.raises(SpeechVAEError, match="at least 2"):
        run(ShiftedVoice(), corpus, takes=1)


class Warm(ShiftedVoice):
    """The temperature is its pitch."""

    def say(self, text: str, *, seed: int, speaker: str | None = None, drift: float = 0.0, **t: float) -> Said:
        assert t.get("temperature") == t.get("style_temperature")
        return Said(melody(200 * math.exp(0.1 * t.get("temperature", 0.5)), 0.88))


def test_a_column_for_each_temperature(corpus: list[Utterance]) -> None:
    report = run(Warm(), corpus[:2], copy_synthesis=False, metrics=("f0", "duration"), temperatures=(0, 1))
    assert list(report.systems) == ["recording", "synthesis", "synthesis T=0", "synthesis T=1"]
    means = [report.systems[s]["log_f0_mean"] for s in ("synthesis T=0", "synthesis", "synthesis T=1")]
    assert np.diff(means) == pytest.approx([0.05, 0.05], abs=0.005)


def test_takes_have_temperatures_and_a_split_of_their_own(corpus: list[Utterance]) -> None:
    asked: list[dict[str, float]] = []

    class Listening(ShiftedVoice):
        def say(self, text: str, *, seed: int, **options: Any) -> Said:
            asked.append(options)
            return super().say(text, seed=seed)

    moved = [replace(u, split="test" if u.prompt == "a1" else "train") for u in corpus]
    report = run(Listening(), moved, split="test", takes=2, takes_split="all", takes_temperature=0.7,
                 takes_style_temperature=0.9, temperature=0.3, copy_synthesis=False, metrics=("f0",))  # fmt: skip
    assert report.about["prompts_read_again"] == 3 and report.systems["recording"]["n"] == 2
    drawn = [(o["temperature"], o["style_temperature"]) for o in asked if "style_temperature" in o]
    assert drawn == [(0.7, 0.9)] * 6


def test_what_the_latents_carry_is_reported(corpus: list[Utterance], tmp_path: Path) -> None:
    from speechvae import Voice
    from speechvae.metrics import latents

    voice = Voice.silent_test_voice()

    def uniform(voice: Any, clip: Any, speaker: str | None) -> latents.Aligned:
        import torch

        e = voice.encode(voice.frontend(clip.text)[0], speaker)
        y = torch.from_numpy(voice.log_mel(clip.wav, clip.rate))[None]
        n = len(e.symbols)
        ends = torch.linspace(0, y.shape[2], n + 1).round().long()
        measured = latents.Prosody(*torch.full((4, 1, 1, n), 0.5).unbind(0))
        return latents.Aligned(clip.id, e.x_mask, e.speaker, e.h, e.g, y, ends.diff()[None], measured, [(1, n - 1)])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latents, "aligned_recording", uniform)
        patch.setattr(ev, "PATHS", 10)
        report = run(voice, corpus[:3], takes=2, prosody=True, copy_synthesis=False, metrics=("f0", "sharpness"),
                     out=tmp_path / "out")  # fmt: skip
    written = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert set(written["latents"]) == {"posterior", "prior sample", "prior mean", "gain %"}
    assert written["levels"]["z_u"]["units"] == 4 and written["smoothness"]["duration_pairs"] >= 0
    assert set(written["sharpness"]) == {"synthesis"}
    names = {p.name for p in (tmp_path / "out").iterdir() if p.suffix == ".png"}
    assert names == {"distributions.png", "spreads.png", "spectra.png", "interpolation.png"}
    assert "rebuilt from" in str(report) and "paths that go one way" in str(report)


def test_a_voice_without_an_aligner_loses_that_table_only(
    corpus: list[Utterance], voice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ev, "PATHS", 10)
    report = run(voice, corpus[:2], prosody=True, copy_synthesis=False, metrics=("f0",))
    assert report.latents == {} and "both" in report.smoothness
    assert sum("latents of" in note for note in report.notes) == 2


def test_every_clip_has_a_seed_of_its_own_that_never_changes(corpus: list[Utterance]) -> None:
    a, b = ShiftedVoice(), ShiftedVoice()
    for voice in (a, b):
        run(voice, corpus, copy_synthesis=False)
    assert a.spoken == b.spoken
    seeds = [seed for text, seed, _ in a.spoken if text in TEXTS.values()]
    assert len(set(seeds)) == len(corpus)


def test_a_speaker_whom_the_voice_lacks_is_noted(corpus: list[Utterance]) -> None:
    voice = ShiftedVoice(speakers=("berta",))
    report = run(voice, corpus[:2], copy_synthesis=False)
    assert any("no speaker anna" in note for note in report.notes)
    assert {who for *_, who in voice.spoken} == {None}


def test_report_is_written_whole(corpus: list[Utterance], tmp_path: Path) -> None:
    report = run(ShiftedVoice(), corpus[:3], out=tmp_path / "out", copy_synthesis=False)
    written = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert written["systems"]["synthesis"]["mcd"] == pytest.approx(report.systems["synthesis"]["mcd"], abs=1e-5)
    rows = [json.loads(line) for line in (tmp_path / "out" / "utterances.jsonl").read_text().splitlines()]
    assert [(r["system"], r["id"]) for r in rows[:2]] == [("recording", "a1_1"), ("synthesis", "a1_1")]
    assert len(rows) == 6
    assert (tmp_path / "out" / "distributions.png").read_bytes()[:4] == b"\x89PNG"
    found = {p.name for p in (tmp_path / "out").iterdir()}
    assert found == {"report.json", "utterances.jsonl", "distributions.png", "spectra.png"}
    with pytest.raises(SpeechVAEError, match="already holds"):
        run(ShiftedVoice(), corpus, out=tmp_path / "out")


def test_table_shows_systems_side_by_side(corpus: list[Utterance], capsys: pytest.CaptureFixture[str]) -> None:
    report = run(ShiftedVoice(), corpus[:2], takes=2, copy_synthesis=False)
    report.print(width=120)
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("recording", "synthesis", "MCD", "ratio (1 = human)", "kl_u"))
    assert "MCD" in str(report) and capsys.readouterr().out == ""


def test_what_cannot_be_measured_is_a_line_not_the_end(corpus: list[Utterance], tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF????")
    silent = tmp_path / "silent.wav"
    write_wav(silent, np.zeros(RATE, np.float32), RATE)
    extra = [
        Utterance("x", "anna", "Broken.", broken, "test"), Utterance("y", "anna", "Silent.", silent, "test"),
        Utterance("z", "anna", "Gone.", tmp_path / "gone.wav", "test"),
    ]  # fmt: skip
    report = run(ShiftedVoice(), [corpus[0], *extra], copy_synthesis=False)
    assert report.systems["recording"]["n"] == 1
    assert [any(f"left out: {i} " in note for note in report.notes) for i in "xyz"] == [True] * 3

    class Mute(ShiftedVoice):
        def say(self, text: str, *, seed: int, speaker: str | None = None, drift: float = 0.0, **_: float) -> Said:
            return Said(np.zeros(RATE, np.float32))

    mute = run(Mute(), corpus[:2], copy_synthesis=False)
    assert mute.systems["synthesis"]["failed"] == 2
    with pytest.raises(SpeechVAEError, match="none of the 3 recordings"):
        run(ShiftedVoice(), extra)


def test_unknown_metrics_splits_and_packages_are_named(
    corpus: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SpeechVAEError, match="unknown metrics: speling; known: recognition"):
        run(ShiftedVoice(), corpus, without=["speling"])
    only_test = [u for u in corpus if u.split == "train"]
    with pytest.raises(SpeechVAEError, match="no utterances in the split 'nowhere'"):
        run(ShiftedVoice(), only_test, split="nowhere")
    monkeypatch.setitem(__import__("sys").modules, "moonshine_voice", None)
    with pytest.raises(SpeechVAEError, match=r"speechvae\[evaluate\].*leave 'recognition' out"):
        run(ShiftedVoice(), corpus, metrics=["recognition"])


def test_choice_of_utterances(corpus: list[Utterance]) -> None:
    assert [u.id for u in pick(corpus, "all", 3)] == ["a1_1", "a2_1", "b1_2"]
    assert len(pick(corpus, "all", 99)) == 6
    with pytest.raises(SpeechVAEError, match="at least 1"):
        pick(corpus, "all", 0)
    assert [(u.id, o.id) for u, o in another_take(corpus[:3])] == [("a1_1", "a1_2"), ("a1_2", "a1_1")]
    assert centroid_clips(corpus, ["nobody"]) == []
    assert {u.split for u in centroid_clips(corpus, ["anna"])} <= {"train", *(u.split for u in corpus)}


def test_gain_is_one_per_speaker(corpus: list[Utterance]) -> None:
    there = Recordings(corpus, RATE)
    assert there.gains["anna"] == pytest.approx(5 * 10 ** (-23 / 20) / 0.05, rel=0.1)
    assert "a1_1" in there and "nothing" not in there and there.get("nothing") is None


def test_error_rates_are_summed_over_the_text() -> None:
    rows: list[dict[str, Any]] = [
        {"system": "s", "id": "1", "word_errors": [1, 0, 0, 2], "character_errors": [1, 0, 0, 10]},
        {"system": "s", "id": "2", "word_errors": [0, 1, 0, 8], "character_errors": [0, 1, 0, 40]},
        {"system": "s", "id": "3", "error": "silent"},
    ]
    found = summarise(rows)
    assert found["wer"] == pytest.approx(0.2) and found["cer"] == pytest.approx(0.04)
    assert found["wer_low"] <= 0.2 <= found["wer_high"]
    assert found["n"] == 2 and found["failed"] == 1


def test_a_folder_of_anyones_files(
    corpus: list[Utterance], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for u in corpus[:2]:
        write_wav(tmp_path / "wavs" / f"{u.id}.wav", melody(220, 0.8), 24000)
    assert corpus[0].audio is not None
    source = corpus[0].audio.parents[1]
    without = "recognition,dnsmos,similarity,pesq,stoi"
    options = ["--wavs", str(tmp_path / "wavs"), "--corpus", str(source), "--split", "all", "--without", without]
    assert evaluate_folder.run([*options, "-o", str(tmp_path / "out")]) == 0
    assert "4 of 6 utterances have no file" in capsys.readouterr().out.replace("\n", " ")
    systems = json.loads((tmp_path / "out" / "report.json").read_text())["systems"]
    assert systems["wavs"]["n"] == 2 and systems["wavs"]["f0_mean"] == pytest.approx(220, rel=0.01)
    assert systems["recording"]["f0_mean"] == pytest.approx(math.sqrt(180 * 180 * math.exp(0.1)), rel=0.02)
    assert evaluate_folder.run([*options, "-o", str(tmp_path / "out")]) == 2
    assert "already holds" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert evaluate_folder.run(["--wavs", str(tmp_path / "empty"), "--corpus", str(source)]) == 2
    assert "no audio files" in capsys.readouterr().err


def test_a_real_voice_goes_through_the_whole_evaluation(corpus: list[Utterance], voice: Any) -> None:
    report = run(voice, corpus[:2], takes=2)
    assert {"recording", "vocoder copy", "Griffin-Lim copy", "synthesis"} == set(report.systems)
    assert report.systems["synthesis"]["n"] + report.systems["synthesis"]["failed"] == 2
    assert report.voice["rtf"] > 0 and report.voice["first_chunk_latency"] > 0
    assert report.diversity["log_duration"]["human"] >= 0


def test_everything_at_once_on_one_recording(shared_dir: Path, tmp_path: Path) -> None:
    """One real recording, coded anew by Griffin-Lim, through every measure there is."""
    for package in ("jiwer", "moonshine_voice", "speechmos", "resemblyzer", "parselmouth", "pesq", "pystoi"):
        pytest.importorskip(package)
    import torch

    source = list(read_corpus(shared_dir / "corpora" / "kathleen"))
    u = min((u for u in source if u.split == "test"), key=lambda u: len(u.text))
    clip = Recordings([u], RATE)[u.id]
    cfg = AudioConfig()
    copy = griffin_lim(LogMel(cfg)(torch.from_numpy(clip.wav)[None]), cfg)[0].numpy()
    path = write_wav(tmp_path / f"{u.id}.wav", copy, RATE)
    report = ev.measure_folder({u.id: path}, {u.id: u.text}, {u.id: u}, name="copy", copies=True, progress=False)
    found = report.systems["copy"]
    assert found["pesq"] > 2.5 and found["stoi"] > 0.9 and found["similarity"] > 0.8
    assert 2 < found["ovrl"] <= report.systems["recording"]["ovrl"] + 0.2
    assert found["mcd"] < 3 and found["log_f0_rmse"] < 0.1
    assert 0 <= found["wer"] < 1.5 and isinstance(report.rows[-1]["heard"], str)
