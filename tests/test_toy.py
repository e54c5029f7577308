"""The generated corpus: its sound agrees with the factors it was drawn from."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from speechvae.audio import load, track_f0
from speechvae.config import Config
from speechvae.dataset import read_manifest
from speechvae.prepare import prepare


@pytest.fixture(scope="module")
def toy(toy_recipe: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    toy_recipe.generate(folder, count=24)
    return folder


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_same_seed_same_corpus(toy_recipe: ModuleType, toy: Path, tmp_path: Path) -> None:
    toy_recipe.generate(tmp_path / "again", count=6)  # fewer utterances are a beginning of more
    for name in ("toy000_1", "toy001_3"):
        a, b = (f / "audio" / f"{name}.wav" for f in (toy, tmp_path / "again"))
        assert a.read_bytes() == b.read_bytes()
    assert lines(tmp_path / "again" / "factors.jsonl") == lines(toy / "factors.jsonl")[:6]
    toy_recipe.generate(tmp_path / "other", count=6, seed=1)
    assert lines(tmp_path / "other" / "factors.jsonl") != lines(toy / "factors.jsonl")[:6]


def test_takes_share_the_text_and_differ_in_prosody(toy: Path) -> None:
    entries, factors = lines(toy / "manifest.jsonl"), lines(toy / "factors.jsonl")
    table = (toy / "metadata.csv").read_text().splitlines()
    assert [f"{e['id']}|{e['speaker']}|{e['text']}" for e in entries] == table
    for i in range(0, 24, 3):
        takes = entries[i : i + 3]
        assert len({(t["text"], tuple(t["symbols"]), t["speaker"], t["prompt"]) for t in takes}) == 1
        assert len({(f["pitch"], f["rate"], f["energy"], f["range"]) for f in factors[i : i + 3]}) == 3
        assert len({tuple(f["frames"]) for f in factors[i : i + 3]}) == 3
    for entry in entries:
        assert all("".join(entry["symbols"][a:b]) == word for word, a, b in entry["words"])


def test_the_sound_has_the_drawn_prosody(toy: Path) -> None:
    errors, heard_level, drawn_level = [], [], []
    found = wanted = 0
    for entry, drawn in list(zip(lines(toy / "manifest.jsonl"), lines(toy / "factors.jsonl"), strict=True))[::4]:
        wav, rate = load(toy / entry["audio"])
        assert rate == 24000 and len(wav) == 256 * sum(drawn["frames"]) and np.abs(wav).max() < 0.97
        owner = np.repeat(np.arange(len(entry["symbols"])), drawn["frames"])
        heard, meant = track_f0(wav, rate, 256), np.asarray(drawn["f0"])[owner]
        both = (heard > 0) & (meant > 0)
        found, wanted = found + both.sum(), wanted + (meant > 0).sum()
        errors += list(12 * np.abs(np.log2(heard[both] / meant[both])))
        power = np.square(wav.reshape(-1, 256)).mean(1)
        for i, (symbol, level) in enumerate(zip(entry["symbols"], drawn["level"], strict=True)):
            if symbol in "aeiou":
                heard_level.append(10 * np.log10(power[owner == i].mean()))
                drawn_level.append(level)
            elif symbol in "^$,":
                assert 10 * np.log10(np.median(power[owner == i])) < -50
    assert found > 0.8 * wanted
    assert np.median(errors) < 0.5 and np.mean(np.asarray(errors) < 2) > 0.9  # semitones; they glide between phonemes
    assert np.corrcoef(heard_level, drawn_level)[0, 1] > 0.9


def test_questions_rise(toy: Path) -> None:
    ends: dict[str, list[float]] = {"?": [], ".": []}
    for entry, drawn in zip(lines(toy / "manifest.jsonl"), lines(toy / "factors.jsonl"), strict=True):
        voiced = [f for f in drawn["f0"] if f > 0]
        ends[entry["symbols"][-2]].append(12 * np.log2(voiced[-1] / np.median(voiced)))
    assert np.mean(ends["?"]) - np.mean(ends["."]) > 3


def test_prepare_needs_no_frontend_and_cuts_no_frame(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("speechvae.text.get_frontend", lambda *_, **__: pytest.fail("symbols were given"))
    report = prepare(toy, tmp_path, features=False, progress=False)
    assert report.accepted[toy.name] == 24 and not report.refused
    rows, alignment = read_manifest(tmp_path), lines(toy / "alignment.jsonl")
    for row, true in zip(rows, alignment, strict=True):
        assert row["id"] == true["id"] and row["symbols"] == true["symbols"]
        assert int(round((row["end"] - row["start"]) * 24000)) // 256 == sum(true["frames"])
    assert set(json.loads((tmp_path / "speakers.json").read_text())) == {"low", "high"}


def test_all_splits_occur_in_the_default_corpus(toy_recipe: ModuleType) -> None:
    from speechvae.corpus import split_of

    assert {split_of(f"toy{i:03d}") for i in range(80)} == {"train", "dev", "test"}


def test_config(repo: Path) -> None:
    cfg = Config.load(repo / "recipes" / "toy" / "config.yaml")
    assert cfg.audio.sample_rate == 24000 and cfg.audio.hop == 256 and cfg.default_speaker == "high"
    assert cfg.prepare.level_kept == 1.0  # else two thirds of the energy factor would be taken off
