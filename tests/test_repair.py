"""Repaired recordings: only the named words change, and the joins are where they are said to be."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechvae import cli
from speechvae.errors import SpeechVAEError
from speechvae.files import read_sound, write_like, write_sound
from speechvae.recordings.analysis import analyse
from speechvae.recordings.repair import Repair, _stretches, repair
from speechvae.recordings.splice import agreement, splice

TEXT = "Its diameter was not more than two hundred yards."  # kathleen a0210_1, of the dev split


@pytest.fixture
def small(small: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The small voice, to which every text seems to fit."""
    monkeypatch.setattr("speechvae.recordings.analysis.WORST_FIT", -100.0)
    return small


def hum(seconds: float, rate: int = 24000) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    tone = sum(np.sin(2 * np.pi * 180 * k * t) / k for k in range(1, 9))
    edge = np.zeros(rate // 5)
    return np.concatenate([edge, 0.1 * tone * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * t)), edge]).astype(np.float32)


def outside_is_untouched(done: Repair, wav: np.ndarray) -> bool:
    """All samples before, between and after the spans are those of wav, bit for bit."""
    rate, old, new = done.rate, 0, 0
    same = True
    for s in done.spans:
        a, b = round(s.start * rate), round(s.end * rate)
        c, d = round(s.new_start * rate), round(s.new_end * rate)
        same &= np.array_equal(wav[old:a], done.wav[new:c])
        old, new = b, d
    return bool(same and np.array_equal(wav[old:], done.wav[new:]))


# -- cutting and joining -----------------------------------------------------------------------------------------------


def test_a_splice_lines_the_waves_up() -> None:
    rate = 16000
    t = np.arange(rate) / rate
    old = np.sin(2 * np.pi * 200 * t)
    new = np.sin(2 * np.pi * 200 * (t + 0.0017))  # out of phase
    cut = splice(old, new, rate, (6000, 6000), (10000, 10000))
    joined = np.concatenate([old[: cut.first], cut.new, old[cut.last :]])
    assert np.abs(np.diff(joined)).max() < 1.1 * np.abs(np.diff(old)).max()  # no click
    fade = cut.new[:400]
    assert agreement(fade, old[cut.first : cut.first + 400]) > 0.99
    assert 5200 <= cut.first <= 6000 and 10000 <= cut.last <= 10800


def test_a_splice_at_the_very_ends() -> None:
    old, new = np.ones(1000), np.full(3000, 0.5)
    cut = splice(old, new, 8000, (0, 0), (1000, 3000))
    assert cut.first == 0 and cut.last == 1000 and 2000 < len(cut.new) <= 3000
    assert np.isfinite(cut.new).all()


def test_stretches_of_words() -> None:
    assert _stretches([0, 1, 2], 3) == []
    assert _stretches([0, None, 2], 3) == [([1], [1])]
    assert _stretches([0, None, None, 1], 2) == [([], [1, 2])]
    assert _stretches([0, 3], 4) == [([1, 2], [])]
    assert _stretches([None, 1, None], 2) == [([0], [0]), ([], [2])]


# -- any recording -----------------------------------------------------------------------------------------------------


def test_only_the_spans_change(small: Any) -> None:
    wav = hum(3.0)
    text = "One two three four five six."
    done = repair(small, wav, 24000, text, words=[2, 5], seed=1)
    assert [(s.old, s.new) for s in done.spans] == [("two", "two"), ("five", "five")]
    assert outside_is_untouched(done, wav) and np.isfinite(done.wav).all()
    assert not np.array_equal(done.wav, wav)
    again, other = (repair(small, wav, 24000, text, words=[2, 5], seed=n) for n in (1, 2))
    assert np.array_equal(again.wav, done.wav)
    assert not (len(other.wav) == len(done.wav) and np.array_equal(other.wav, done.wav))
    assert done.take is not None and small.perform(done.take).wav.size > 0


def test_other_words(small: Any) -> None:
    wav = hum(3.0)
    done = repair(small, wav, 24000, "One two and a half three five.", old_text="One two three four five.")
    assert [(s.old, s.new) for s in done.spans] == [("", "and a half"), ("four", "")]
    assert outside_is_untouched(done, wav)


def test_rates_and_channels(small: Any) -> None:
    stereo = np.stack([hum(2.0, 44100), 0.5 * hum(2.0, 44100)], 1).astype(np.float64)
    done = repair(small, stereo, 44100, "One two three four.", words=[3])
    assert done.wav.ndim == 2 and done.wav.dtype == np.float64 and done.rate == 44100
    assert outside_is_untouched(done, stereo)


def test_nothing_to_repair(small: Any) -> None:
    for kwargs, message in (
        ({}, "nothing is to be said anew"),
        ({"words": [9]}, "no word 9"),
        ({"words": [1, 2, 3, 4]}, "every word"),
        ({"old_text": "Quite other words indeed."}, "every word"),
    ):
        with pytest.raises(SpeechVAEError, match=message):
            repair(small, hum(2.0), 24000, "One two three four.", **kwargs)


def test_samples_pass_through_files_unchanged(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for subtype, bits in (("PCM_16", 16), ("PCM_24", 24), ("PCM_32", 32)):
        top = 2 ** (bits - 1)
        whole = np.append(rng.integers(-top, top, 5000), [-top, top - 1, 0, 1, -1])
        path = tmp_path / f"{subtype}.wav"
        data = whole.astype(np.int16) if bits == 16 else (whole << (32 - bits)).astype(np.int32)
        soundfile.write(path, data, 8000, subtype=subtype)
        wav, rate, found = read_sound(path)
        copy = write_like(tmp_path / "copy.wav", wav, rate, found)
        there, here = (soundfile.read(f, dtype="int32")[0] for f in (path, copy))
        assert found == subtype and np.array_equal(there, here)
    wav = rng.normal(size=(100, 2)).astype(np.float32)
    soundfile.write(tmp_path / "f.wav", wav, 8000, subtype="FLOAT")
    copy = write_like(tmp_path / "g.wav", *read_sound(tmp_path / "f.wav"))
    assert np.array_equal(soundfile.read(copy, dtype="float32")[0], wav)
    for suffix in (".wav", ".flac", ".ogg", ".mp3"):
        path = write_sound(tmp_path / f"s{suffix}", np.zeros(8000, np.float32), 16000)
        assert soundfile.info(path).samplerate == 16000
    with pytest.raises(SpeechVAEError, match="no audio file"):
        read_sound(tmp_path / "none.wav")
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    with pytest.raises(SpeechVAEError, match="cannot be decoded"):
        read_sound(tmp_path / "bad.wav")


# -- the commands ------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    from speechvae.synthesis import Voice as Loaded

    monkeypatch.setattr(Loaded, "load", lambda *args: small)
    monkeypatch.chdir(tmp_path)
    soundfile.write("rec.wav", hum(2.5), 24000, subtype="PCM_16")

    def go(*args: str) -> tuple[int, str]:
        try:
            code = cli.main([*args])
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else 0
        done = capsys.readouterr()
        return code, done.out + done.err

    return go


def test_repair_command(run: Any) -> None:
    call = ("repair", "rec.wav", "--text", "One two three four.", "--words", "2-3", "-o")
    code, out = run(*call, "out.wav", "--alternatives", "2", "--seed", "5", "--picture")
    assert code == 0, out
    assert "“two three” anew" in out and Path("out-1.png").is_file() and Path("out-2.wav").is_file()
    old, new = (soundfile.read(f, dtype="int16")[0] for f in ("rec.wav", "out-1.wav"))
    span = out.split("became")[0].split("\n")[-1].split()[0]
    start = round(float(span.split("-")[0]) * 24000) - 24  # printed in whole milliseconds
    assert np.array_equal(old[:start], new[:start])
    assert run(*call, "out.wav", "--alternatives", "2", "--seed", "5") == (1, run(*call, "out-1.wav")[1])
    for args, message in (
        ((*call, "out.mp3"), "would change every sample"),
        (("repair", "rec.wav", "--text", "One two.", "--words", "x", "-o", "o.wav"), "3,7-9"),
        (("repair", "none.wav", "--text", "One two.", "--words", "1", "-o", "o.wav"), "no audio file"),
    ):
        code, out = run(*args)
        assert code == 1 and message in out and "Traceback" not in out
    assert "matplotlib" in sys.modules


def test_transfer_command(run: Any) -> None:
    call = ("transfer", "rec.wav", "--text", "One two three four.")
    code, out = run(*call, "--nats", "1", "-o", "t.wav", "--save-take", "t.take.json")
    assert code == 0 and "f0_correlation" in out and "nats a phoneme" in out and Path("t.take.json").is_file()
    assert soundfile.info("t.wav").samplerate == 24000
    code, out = run(*call, "--new-text", "Other words.", "-o", "n.flac")
    assert code == 0 and "f0_correlation" not in out
    assert "exists already" in run(*call, "-o", "t.wav")[1]
    assert "exists already" in run(*call, "-o", "u.wav", "--save-take", "t.take.json")[1]
    assert "no speaker" in run(*call, "-o", "u.wav", "--speaker", "nobody")[1]


# -- the shipped voice and a recording ---------------------------------------------------------------------------------


def test_new_words_are_understood(kathleen: Any, clip: tuple[np.ndarray, int]) -> None:
    wav, rate = clip
    new = "Its diameter was not more than seven thousand yards."
    done = repair(kathleen, wav, rate, new, old_text=TEXT, seed=2)
    assert outside_is_untouched(done, wav)
    assert [(s.old, s.new) for s in done.spans] == [("two hundred", "seven thousand")]
    heard = analyse(kathleen, done.wav, rate, new)
    fits = heard.word_fits()
    assert heard.fit > -0.8 and min(fits[6:8]) > -1.5
    levels = heard.measured[3]
    spans = heard.word_spans()
    inside = np.mean([levels[a:b].mean() for a, b in spans[6:8]])
    beside = np.mean([levels[a:b].mean() for a, b in (*spans[3:6], spans[8])])
    assert abs(inside - beside) < 1.0  # nats: as loud as the words around them
