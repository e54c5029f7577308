"""The tools of the English recipe, on sounds whose result is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from speechvae import metrics as m
from speechvae.metrics.recordings import Clip


@pytest.fixture(scope="module")
def script(recipe_script: Callable[[str], ModuleType]) -> ModuleType:
    pytest.importorskip("jiwer")
    return recipe_script("english/intelligibility.py")


class LoudnessRecogniser:
    """Understands what has no noise in it, and loses the last word of the rest."""

    heard = 0

    def transcribe(self, wav: np.ndarray, rate: int) -> str:
        LoudnessRecogniser.heard += 1
        return "one two three four" if np.abs(wav[:240]).max() < 1e-3 else "one two three"


def test_words_are_counted_by_system_and_condition(
    script: ModuleType, voice: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(m, "Recogniser", LoudnessRecogniser)
    wav = np.zeros(24000, np.float32)
    wav[6000:18000] = 0.1 * np.sin(np.arange(12000) * 0.1)
    clips = [Clip(str(i), wav, 24000, "one two three four") for i in range(3)]

    def silent(mel: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.resize(wav, mel.shape[2] * 256))[None]

    def hissing(mel: torch.Tensor) -> torch.Tensor:
        return silent(mel) + 0.01

    noise = m.speech_shaped_noise([wav], 24000, 2.0)
    heard = tmp_path / "heard.jsonl"
    tried = {"griffin-lim 32": hissing, "ours": silent}
    script.listen(clips, voice, 1, tried, script.Listener(noise, [5.0]), heard)
    rows = [json.loads(line) for line in heard.read_text().splitlines()]
    assert [key for key, _ in rows] == ["copies/0", "copies/1", "copies/2", "readings/0-0"]
    assert "recording" in rows[0][1]["heard"] and "recording" not in rows[3][1]["heard"]
    found = script.count(heard)
    rates = {key: sum(errors, m.Errors()).rate for key, errors in found.items()}
    assert rates["copies", "quiet", "ours"] == 0 and rates["copies", "quiet", "griffin-lim 32"] == 0.25
    assert rates["copies", "quiet", "recording"] == 0 and rates["copies", "5 dB", "ours"] == 0.25
    table = script.show(found, "griffin-lim 32")
    assert "| copies | quiet | ours | 3 | 12 | 0.0000 | 0.000 to 0.000 | -0.2500 | -0.2500 to -0.2500 |" in table
    # going on repeats nothing
    before = LoudnessRecogniser.heard
    script.listen(clips, voice, 2, tried, script.Listener(noise, [5.0]), heard)
    assert LoudnessRecogniser.heard == before + 4
    assert len(heard.read_text().splitlines()) == 5
