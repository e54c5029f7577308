"""Recordings as readings: where the sounds lie, what the latents are, and how a reading is carried over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speechvae.audio import resample, write_wav
from speechvae.errors import SpeechVAEError
from speechvae.recordings.analysis import aligner_of, analyse, by_sentence, fill_bands
from speechvae.recordings.transfer import Departure, closeness, departure, nats_of, reading_of, style_of, transfer
from speechvae.takes import Take

TEXT = "Its diameter was not more than two hundred yards."  # kathleen a0210_1, of the dev split


def hum(seconds: float, rate: int = 24000) -> np.ndarray:
    """A voice-like sound between silences."""
    t = np.arange(round(seconds * rate)) / rate
    tone = sum(np.sin(2 * np.pi * 180 * k * t + 0.5 * np.sin(7 * t)) / k for k in range(1, 9))
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * t)
    edge = np.zeros(rate // 5)
    return np.concatenate([edge, 0.1 * tone * swell, edge]).astype(np.float32)


def any_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random aligner finds that nothing fits."""
    monkeypatch.setattr("speechvae.recordings.analysis.WORST_FIT", -100.0)


def test_shapes_and_sums(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    any_fit(monkeypatch)
    a = analyse(small, hum(1.5), 24000, "Hello there, world.")
    n, frames = len(a.encoded.symbols), a.recording.mel.shape[1]
    assert int(a.alignment.w.sum()) == frames == len(a.recording.f0) == len(a.recording.wav) // 256
    assert a.measured.shape == (4, n) and np.isfinite(a.measured).all()
    assert a.z.z_u.shape == (1, 4) and a.z.z_p.shape == (1, 2, n)
    assert len(a.word_fits()) == 3 and a.fit <= 0 and a.score <= a.fit
    times = a.word_times()
    assert [w for w, _, _ in times] == ["Hello", "there", "world"]
    assert times[0][1] >= a.recording.start and times[-1][2] <= a.recording.end + 0.01
    assert all(x[2] <= y[1] + 1e-6 for x, y in zip(times, times[1:], strict=False))


def test_level_does_not_matter(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    any_fit(monkeypatch)
    a, b = (analyse(small, hum(1.5) * g, 24000, "Hello there.") for g in (1.0, 0.25))
    assert b.recording.gain == pytest.approx(4 * a.recording.gain, rel=0.01)
    assert np.allclose(a.measured, b.measured, atol=0.02)
    assert analyse(small, hum(1.5), 24000, "Hello there.", level=False).recording.gain == 1.0


def test_the_pitch_of_others_is_shifted(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    any_fit(monkeypatch)
    mean = float(small.model.f0_mean[0])
    other = analyse(small, hum(1.5), 24000, "Hello there.", own=False)
    voiced = other.recording.f0[other.recording.f0 > 0]
    assert other.pitch_shift == pytest.approx(mean - float(np.log(voiced).mean()), abs=1e-4)
    same = analyse(small, hum(1.5), 24000, "Hello there.", own=True)
    assert same.pitch_shift == 0.0
    moved = float((other.prosody.f0 - same.prosody.f0).mean()) * 0.25
    assert moved == pytest.approx(other.pitch_shift, abs=0.02)


def test_what_cannot_be_followed(small: Any, voice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpeechVAEError, match="does not fit the recording"):
        monkeypatch.setattr("speechvae.recordings.analysis.WORST_FIT", -0.001)
        analyse(small, hum(1.5), 24000, "Hello there.")
    for wav, rate, text, message in (
        (np.zeros(24000, np.float32), 24000, "Hello.", "silent"),
        (np.full(24000, np.nan, np.float32), 24000, "Hello.", "broken samples"),
        (hum(1.0), 4000, "Hello.", "sample rate too low"),
        (np.zeros((2, 24000), np.float32), 24000, "Hello.", "mono"),
        (hum(1.0), 24000, " ... ", "nothing to speak"),
        (hum(0.4), 24000, "A text of very many words, far too many for so short a sound. " * 3, "too short"),
    ):
        with pytest.raises(SpeechVAEError, match=message):
            analyse(small, wav, rate, text)
    with pytest.raises(SpeechVAEError, match="no speaker 'nobody'"):
        analyse(small, hum(1.0), 24000, "Hello.", "nobody")
    with pytest.raises(SpeechVAEError, match="no aligner"):
        analyse(voice, hum(1.0), 24000, "Hello.")
    assert aligner_of(small) is aligner_of(small)


def test_empty_bands_are_filled() -> None:
    mel = torch.randn(100, 50)
    assert torch.equal(fill_bands(mel), mel)
    low = mel.clone()
    low[85:] = -15.0
    filled = fill_bands(low)
    assert torch.equal(filled[:80], low[:80]) and filled[85:].min() > -5


def test_departures(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    any_fit(monkeypatch)
    a = analyse(small, hum(1.5), 24000, "Hello there.")
    away = departure(small, a)
    back = reading_of(small, a.encoded, away)
    assert np.allclose(back.z_u, a.z.z_u[0], atol=1e-4) and np.allclose(back.z_p, a.z.z_p[0], atol=1e-3)
    some = Departure(torch.full((1, 4), 2.0), torch.full((1, 2, 10), 1.0))
    assert some.nats == pytest.approx(0.5 * (16 + 20) / 10)
    assert some.limited(0.5).nats == pytest.approx(0.5) and some.limited(5.0) is some and some.limited(None) is some
    assert float(some.limited(0.0).p.abs().max()) == 0.0


def test_a_transfer_is_a_take(small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    any_fit(monkeypatch)
    text = "Hello there, world. And here we go."
    take = transfer(small, hum(3.0), 24000, text, nats=0.3)
    assert len(take.readings) == len(small.frontend(text)) == 2
    assert nats_of(small, take) <= 0.3 + 1e-3
    again = Take.load(take.save(tmp_path / "t.take.json"))
    assert np.array_equal(small.perform(take).wav, small.perform(again).wav)
    none = transfer(small, hum(3.0), 24000, text, nats=0)
    assert nats_of(small, none) == pytest.approx(0.0, abs=1e-3)
    style = transfer(small, hum(3.0), 24000, text, new_text="Quite other words.")
    assert style.text == "Quite other words." and style.readings[0].prosody is None
    assert style_of(small, hum(3.0), 24000, text).shape == (4,)
    for kwargs, message in (
        ({"nats": -1.0}, "nats must be 0 or more"),
        ({"exact": True, "new_text": "Other."}, "leave out exact"),
        ({"new_text": "..."}, "nothing to speak"),
    ):
        with pytest.raises(SpeechVAEError, match=message):
            transfer(small, hum(3.0), 24000, text, **kwargs)


def test_exact_keeps_the_durations(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    any_fit(monkeypatch)
    take = transfer(small, hum(1.5), 24000, "Hello there.", exact=True)
    a = analyse(small, hum(1.5), 24000, "Hello there.")
    pinned = take.readings[0].prosody
    assert pinned is not None and np.array_equal(pinned, a.measured)
    said = [round((p.end - p.start) * 93.75) for p in small.perform(take).phonemes]
    assert said[1:-1] == a.alignment.w[1:-1].tolist()  # the silence at the edges is limited


# -- the shipped voice and a recording ---------------------------------------------------------------------------------


def test_words_of_a_recording(kathleen: Any, clip: tuple[np.ndarray, int]) -> None:
    wav, rate = clip
    a = analyse(kathleen, wav, rate, TEXT)
    assert a.fit > -0.6 and a.pitch_shift == 0.0
    ends = [end for _, _, end in a.word_times()]
    assert ends == sorted(ends) and all(end - start > 0.04 for _, start, end in a.word_times())
    low = analyse(kathleen, resample(wav, rate, 16000), 16000, TEXT)
    assert low.fit > -1.0
    other = [start for _, start, _ in low.word_times()]
    assert np.abs(np.array(other) - [s for _, s, _ in a.word_times()]).max() < 0.1
    with pytest.raises(SpeechVAEError, match="does not fit"):
        analyse(kathleen, wav, rate, "And then the whole crew went below to sleep.")


def test_transfer_follows_the_melody(kathleen: Any, clip: tuple[np.ndarray, int]) -> None:
    wav, rate = clip
    near, far = (transfer(kathleen, wav, rate, TEXT, nats=n) for n in (None, 0.0))
    close, loose = (closeness(kathleen, wav, rate, TEXT, kathleen.perform(t)) for t in (near, far))
    assert close["f0_correlation"] > 0.7 and close["f0_correlation"] > loose["f0_correlation"]
    assert close["duration_correlation"] > 0.85 and close["duration_correlation"] > loose["duration_correlation"]
    assert closeness(kathleen, wav, rate, TEXT, kathleen.perform(transfer(kathleen, wav, rate, TEXT, exact=True)))[
        "duration_correlation"
    ] == pytest.approx(1.0, abs=0.01)


def test_sentences_of_a_recording(kathleen: Any, clip: tuple[np.ndarray, int], tmp_path: Path) -> None:
    wav, rate = clip
    twice, text = np.concatenate([wav, wav]), f"{TEXT} {TEXT}"
    whole = analyse(kathleen, twice, rate, text)
    first, second = by_sentence(kathleen, whole, text)
    assert first.fit > -0.7 and second.fit > -0.7
    assert first.recording.mel.shape[1] + second.recording.mel.shape[1] == whole.recording.mel.shape[1]
    path = write_wav(tmp_path / "twice.wav", twice, rate)
    assert path.is_file() and len(transfer(kathleen, twice, rate, text).readings) == 2
