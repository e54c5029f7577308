"""Trimming, levels and refusals on made-up recordings."""

from __future__ import annotations

import numpy as np
import pytest

from speechvae.validation import Limits, active_frames, clip_gain, frame_levels, measure, rate_outliers, speaker_gain

RATE = 24000


def voice(seconds: float, level: float = -20.0, rate: int = RATE) -> np.ndarray:
    """Syllables: a buzz whose loudness rises and falls five times a second; rms in dBFS of the whole."""
    t = np.arange(round(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 20))
    wav = buzz * (0.15 + np.abs(np.sin(2 * np.pi * 2.5 * t)))
    return np.asarray(wav * 10 ** (level / 20) / np.sqrt(np.mean(wav**2)), np.float32)


def clip(before: float, speech: float, after: float, level: float = -20.0, noise: float = -65.0) -> np.ndarray:
    wav = np.concatenate([np.zeros(round(before * RATE)), voice(speech, level), np.zeros(round(after * RATE))])
    wav = wav + 10 ** (noise / 20) * np.random.default_rng(0).normal(size=len(wav))
    return wav.astype(np.float32)


@pytest.mark.parametrize(("level", "noise"), [(-20.0, -75.0), (-20.0, -50.0), (-35.0, -68.0)])
def test_trimming_finds_the_speech_above_any_noise_floor(level: float, noise: float) -> None:
    found = measure(clip(0.8, 1.5, 0.6, level, noise), RATE)
    assert not found.reason
    assert found.start == pytest.approx(0.8 - 0.12, abs=0.04)
    assert found.end == pytest.approx(2.3 + 0.12, abs=0.04)
    assert found.speech == pytest.approx(1.5, abs=0.1)
    assert found.level == pytest.approx(level, abs=2.5)
    assert found.duration == pytest.approx(2.9)


def test_one_word_in_a_long_silence_is_found() -> None:
    found = measure(clip(6.0, 0.4, 6.0), RATE)
    assert found.start == pytest.approx(5.88, abs=0.04) and found.end == pytest.approx(6.52, abs=0.04)


def test_margins_end_with_the_file() -> None:
    wav = clip(0.05, 1.0, 0.03)
    found = measure(wav, RATE)
    assert found.start == 0.0 and round(found.end * RATE) == len(wav)


def test_a_clip_without_silence_is_kept_whole() -> None:
    found = measure(voice(1.0), RATE)
    assert (found.reason, found.start, found.end) == ("", 0.0, 1.0)


def test_rumble_is_not_speech() -> None:
    wav = clip(0.8, 1.5, 0.6)
    t = np.arange(len(wav)) / RATE
    found = measure(wav + (0.02 * np.sin(2 * np.pi * 25 * t)).astype(np.float32), RATE)
    assert found.start == pytest.approx(0.68, abs=0.04) and found.end == pytest.approx(2.42, abs=0.04)


def test_clicks_are_not_speech() -> None:
    wav = clip(0.8, 1.5, 0.9)
    for at in (0.2, 2.9):
        wav[round(at * RATE) : round(at * RATE) + 200] += 0.5
    found = measure(wav, RATE)
    assert found.start == pytest.approx(0.68, abs=0.04) and found.end == pytest.approx(2.42, abs=0.04)


def test_pauses_do_not_count_as_speech() -> None:
    wav = np.concatenate([clip(0.2, 1.0, 0.5), clip(0.5, 1.0, 0.2)])
    found = measure(wav, RATE)
    assert found.speech == pytest.approx(2.0, abs=0.15)
    assert found.end - found.start == pytest.approx(3.24, abs=0.06)
    active, filled = active_frames(frame_levels(wav, RATE))
    assert not filled[140:200].any() and not (active & ~filled).any()


def with_nan() -> np.ndarray:
    wav = clip(0.2, 1.0, 0.2)
    wav[5000] = np.nan
    return wav


@pytest.mark.parametrize(
    ("wav", "rate", "reason"),
    [
        (voice(1.0, rate=8000), 8000, "sample rate too low"),
        (voice(0.25), RATE, "too short"),
        (clip(1.0, 0.05, 1.0), RATE, "silent"),
        (clip(0.1, 21.0, 0.1), RATE, "too long"),
        (np.zeros(RATE, np.float32), RATE, "silent"),
        (clip(0.3, 1.0, 0.3, level=-85, noise=-90), RATE, "silent"),
        (0.1 * np.random.default_rng(0).normal(size=RATE).astype(np.float32), RATE, "no speech found"),
        (np.clip(clip(0.2, 1.0, 0.2) * 12, -1, 1), RATE, "clipped"),
        (with_nan(), RATE, "broken samples"),
        (np.zeros(0, np.float32), RATE, "too short"),
    ],
)
def test_refusals(wav: np.ndarray, rate: int, reason: str) -> None:
    found = measure(wav, rate)
    assert found.reason == reason and found.detail


def test_long_silence_does_not_make_a_clip_too_long() -> None:
    assert not measure(clip(15.0, 2.0, 8.0), RATE).reason
    assert measure(clip(0.1, 2.0, 0.1), RATE, Limits(max_seconds=1.5)).reason == "too long"


def test_gain_brings_the_median_to_the_target() -> None:
    assert 20 * np.log10(speaker_gain([-40, -33, -20], [0.1, 0.1, 0.1])) == pytest.approx(10, abs=0.01)
    assert speaker_gain([-20], [0.5]) < 1


def test_gain_is_limited_by_the_peaks() -> None:
    assert speaker_gain([-40.0] * 5, [0.5] * 5) * 0.5 == pytest.approx(0.97, abs=0.001)
    # one clip in thousands may exceed the limit: it must not hush the whole speaker
    assert speaker_gain([-40.0] * 4000, [0.2] * 3999 + [0.9]) > 4


def test_clips_come_nearer_to_their_speakers_level_and_do_not_clip() -> None:
    quiet, loud = clip_gain(2.0, -35.0, -29.0, 0.1), clip_gain(2.0, -23.0, -29.0, 0.1)
    assert 20 * np.log10(quiet / 2) == pytest.approx(4, abs=0.01)  # 6 dB under: a third of it stays
    assert 20 * np.log10(loud / 2) == pytest.approx(-4, abs=0.01)
    assert clip_gain(2.0, -35.0, -29.0, 0.1, kept=1.0) == 2.0
    assert clip_gain(2.0, -35.0, -29.0, 0.1, kept=0.0) == pytest.approx(2 * 10 ** (6 / 20), abs=1e-3)
    assert clip_gain(2.0, -35.0, -29.0, 0.4) * 0.4 == pytest.approx(0.97, abs=0.001)


def test_wrong_texts_stand_out_by_their_rate() -> None:
    rng = np.random.default_rng(0)
    units = {f"u{i}": float(rng.integers(10, 60)) for i in range(200)}
    seconds = {name: n / 12 * float(np.exp(rng.normal(0, 0.12))) for name, n in units.items()}
    assert rate_outliers(units, seconds) == {}
    seconds |= {"u3": units["u3"] / 35, "u4": units["u4"] / 4}
    assert set(rate_outliers(units, seconds)) == {"u3", "u4"}


def test_few_clips_are_only_held_against_what_anyone_can_say() -> None:
    found = rate_outliers({"a": 10, "b": 10, "c": 100}, {"a": 1.0, "b": 0.4, "c": 1.0})
    assert set(found) == {"c"} and "100.0 a second" in found["c"]
