"""Recordings through a vocoder: level, rates, lengths, folders; and the figures that compare copies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch

from speechvae.audio import LogMel, griffin_lim, resample
from speechvae.cli import main
from speechvae.config import AudioConfig
from speechvae.errors import SpeechVAEError
from speechvae.metrics import active_level
from speechvae.metrics import periodicity as p
from speechvae.resynthesis import (
    Resynthesiser,
    gain_for,
    griffin_lim_stream,
    mel_stream,
    recordings_in,
    resample_stream,
)
from speechvae.vocoders import load_vocoder

AUDIO = AudioConfig()
RATE = AUDIO.sample_rate


def tone(seconds: float, rate: int = RATE, level: float = 0.1, f0: float = 150.0) -> np.ndarray:
    """A buzz that comes and goes like syllables, over a faint noise."""
    t = np.arange(round(seconds * rate)) / rate
    wav = sum(np.sin(2 * np.pi * f0 * k * t) / k for k in range(1, 12)) * np.clip(np.sin(2 * np.pi * 2 * t), 0, 1)
    noise = np.random.default_rng(0).normal(size=len(t))
    return (level * wav + 0.003 * level * noise).astype(np.float32)


@pytest.fixture(scope="module")
def plain() -> Resynthesiser:
    return Resynthesiser(None, iterations=4)


@pytest.fixture(scope="module")
def shipped() -> Resynthesiser:
    return Resynthesiser(load_vocoder("kathleen"), name="kathleen")


def blocks_of(wav: np.ndarray, sizes: tuple[int, ...]) -> list[np.ndarray]:
    return np.split(wav, np.cumsum(sizes)[np.cumsum(sizes) < len(wav)])


@pytest.mark.parametrize("sizes", [(10**6,), (1, 2, 3000, 100, 40000), (256,) * 400, (700,) * 200])
def test_mels_in_pieces_are_the_mel_of_the_whole(sizes: tuple[int, ...]) -> None:
    wav = tone(2.1)
    whole = LogMel(AUDIO)(torch.from_numpy(np.pad(wav, (0, -len(wav) % 256)))[None])
    out = torch.cat(list(mel_stream(blocks_of(wav, sizes), AUDIO)), -1)
    torch.testing.assert_close(out, whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("rate", "target"), [(44100, 24000), (16000, 24000), (24000, 24000), (48000, 16000)])
def test_resampling_in_pieces(rate: int, target: int) -> None:
    wav = tone(1.0, rate)
    out = np.concatenate(list(resample_stream(blocks_of(wav, (5000, 1, 17000)), rate, target)))
    expected = resample(wav, rate, target)
    assert len(out) == len(expected)
    np.testing.assert_allclose(out, expected, atol=1e-4)


def test_the_gain_brings_speech_to_the_level_of_training() -> None:
    for level in (0.003, 0.03, 0.3):
        wav = tone(3.0, level=level)
        gain = gain_for(blocks_of(wav, (24000, 24000)), RATE)
        assert active_level(wav * gain, RATE) == pytest.approx(-23, abs=0.3)
    assert gain_for([np.zeros(5000, np.float32)], RATE) == 1.0
    click = np.zeros(24000, np.float32)
    click[7] = 0.5
    assert gain_for([click], RATE) <= 0.99 / 0.5
    with pytest.raises(SpeechVAEError, match="empty"):
        gain_for([], RATE)


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
@pytest.mark.parametrize("level", [0.002, 0.2])
def test_copies_keep_duration_and_level(shipped: Resynthesiser, rate: int, level: float) -> None:
    wav = tone(1.3, rate, level)
    out = shipped.samples(wav, rate)
    assert abs(len(out) - 1.3 * RATE) <= 1
    assert active_level(out, RATE) == pytest.approx(active_level(wav, rate), abs=1.5)


def test_a_copy_is_that_of_the_vocoder(shipped: Resynthesiser) -> None:
    wav = tone(3.0)
    gain = gain_for([wav], RATE)
    with torch.inference_mode():
        mel = LogMel(AUDIO)(torch.from_numpy(np.pad(wav * np.float32(gain), (0, -len(wav) % 256)))[None])
        assert shipped.vocoder is not None
        whole = shipped.vocoder(mel)[0].numpy()[: len(wav)] / gain
    pieces = Resynthesiser(shipped.vocoder, chunk=50)
    np.testing.assert_allclose(pieces.samples(wav, RATE), whole, atol=1e-4)


@pytest.mark.parametrize("samples", [1, 100, 256, 600, 1500])
def test_the_shortest_clips(plain: Resynthesiser, shipped: Resynthesiser, samples: int) -> None:
    wav = tone(1.0)[3000 : 3000 + samples]
    for worker in (plain, shipped):
        out = worker.samples(wav, RATE)
        assert out.shape == (samples,) and np.isfinite(out).all()


def test_griffin_lim_in_pieces() -> None:
    wav = tone(8.0)
    mel = LogMel(AUDIO)(torch.from_numpy(wav)[None])
    short = torch.cat(list(griffin_lim_stream([mel[..., :100], mel[..., 100:]], AUDIO, 8)), -1)
    torch.testing.assert_close(short, griffin_lim(mel, AUDIO, 8))
    pieces = list(griffin_lim_stream(mel.split(37, -1), AUDIO, 8, chunk=200))
    out = torch.cat(pieces, -1)
    assert len(pieces) > 2 and out.shape == short.shape
    assert (LogMel(AUDIO)(out) - mel).abs().mean() < 1.15 * (LogMel(AUDIO)(short) - mel).abs().mean()


def sounds() -> dict[str, np.ndarray]:
    t = np.arange(RATE) / RATE
    rng = np.random.default_rng(0)
    return {
        "silence": np.zeros(RATE), "noise": rng.normal(size=RATE), "clipped noise": np.clip(5 * rng.normal(size=RATE),
        -1, 1), "sweep": np.sin(2 * np.pi * (50 * t + 5700 * t * t)), "constant": np.ones(RATE),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(sounds()))
def test_unheard_of_sounds_stay_finite_and_below_full_scale(shipped: Resynthesiser, name: str) -> None:
    wav = sounds()[name]
    level = (wav * gain_for([wav], RATE)).astype(np.float32)  # as every recording is given to the vocoder
    out = shipped.samples(level, RATE)
    assert np.isfinite(out).all() and np.abs(out).max() < 1.0
    rms = float(np.sqrt(np.mean(np.square(out))))
    assert rms < 1.5 * float(np.sqrt(np.mean(np.square(level)))) + 1e-4
    assert np.isfinite(shipped.samples(100 * level, RATE)).all()


def write(path: Path, wav: np.ndarray, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, wav, rate)
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three recordings of different kinds, one broken file, other things."""
    folder = tmp_path / "in"
    write(folder / "a.wav", np.stack([tone(0.8, 44100)] * 2, 1), 44100)
    write(folder / "deep" / "er" / "b.flac", tone(0.5, 16000), 16000)
    write(folder / "deep" / "c.ogg", tone(0.5))
    write(folder / ".hidden" / "d.wav", tone(0.5))
    (folder / "broken.wav").write_bytes(b"RIFF not quite")
    (folder / "text.txt").write_text("hello")
    return folder


def run(*words: Any) -> int:
    try:
        return main([str(w) for w in words])
    except SystemExit as e:
        return int(e.code or 0)


def test_a_folder_of_recordings(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command = ("resynthesise", corpus, "-o", out, "--vocoder", "griffinlim", "--iterations", 2)
    assert run(*command) == 1
    told = capsys.readouterr()
    assert "3 written at 24000 Hz, 0 there already, 1 failed" in told.out
    assert "broken.wav" in told.err and "cannot be decoded" in told.err
    files = [out / "a.wav", out / "deep" / "c.wav", out / "deep" / "er" / "b.wav"]
    assert recordings_in(out) == files
    for path, seconds in zip(files, (0.8, 0.5, 0.5), strict=True):
        assert (sf.info(path).samplerate, sf.info(path).channels) == (RATE, 1)
        assert sf.info(path).duration == pytest.approx(seconds, abs=1e-3)
    files[0].unlink()
    before = files[1].stat().st_mtime_ns
    assert run(*command) == 1
    assert "1 written at 24000 Hz, 2 there already" in capsys.readouterr().out
    assert files[1].stat().st_mtime_ns == before
    assert run(*command[:-1], 3) == 1
    assert "another vocoder" in capsys.readouterr().err
    (corpus / "broken.wav").unlink()
    assert run(*command[:-1], 3, "--force") == 0
    assert "3 written" in capsys.readouterr().out and files[1].stat().st_mtime_ns > before
    assert json.loads((out / "resynthesis.json").read_text())["iterations"] == 3
    assert not list(out.rglob("*.part"))


def test_recordings_whose_copies_would_be_one_file(tmp_path: Path, plain: Resynthesiser) -> None:
    for name in ("a.wav", "a.flac"):
        write(tmp_path / "in" / name, tone(0.3))
    report = plain.folder(tmp_path / "in", tmp_path / "in" / "out", progress=False)
    assert [c.path.name for c in report.written] == ["a.wav"] and "already" in report.failed[0][1]
    # The copies lie below the recordings and are none themselves.
    assert len(plain.folder(tmp_path / "in", tmp_path / "in" / "out", progress=False).skipped) == 1
    with pytest.raises(SpeechVAEError, match="folder of their own"):
        plain.folder(tmp_path / "in", tmp_path / "in")
    (tmp_path / "none").mkdir()
    with pytest.raises(SpeechVAEError, match="no recordings"):
        plain.folder(tmp_path / "none", tmp_path / "x")


def test_one_recording(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "copy.flac"
    assert run("resynthesise", corpus / "a.wav", "-o", out) == 0
    assert "0.80 s at 24000 Hz (recording: 44100 Hz)" in capsys.readouterr().out
    copy, rate = sf.read(out)
    wav, source = sf.read(corpus / "a.wav")
    level = active_level(wav.mean(1).astype(np.float32), source)
    assert active_level(copy.astype(np.float32), rate) == pytest.approx(level, abs=1.0)
    for words, message in (
        ((corpus / "a.wav", "-o", out), "exists already"),
        ((corpus / "a.wav", "-o", tmp_path / "x.txt"), "audio format"),
        ((corpus / "none.wav", "-o", tmp_path / "y.wav"), "no recording"),
        ((corpus / "broken.wav", "-o", tmp_path / "y.wav"), "cannot be decoded"),
        ((corpus, "-o", out), "its copies need one"),
        ((corpus / "a.wav", "-o", tmp_path / "y.wav", "--vocoder", "nobody"), "no vocoder 'nobody'"),
    ):
        assert run("resynthesise", *words) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "y.wav").exists() and not list(tmp_path.glob("*.part"))


def test_damaged_samples_are_refused(tmp_path: Path, plain: Resynthesiser) -> None:
    wav = tone(0.5)
    wav[99] = np.nan
    sf.write(tmp_path / "bad.wav", wav, RATE, subtype="FLOAT")
    with pytest.raises(SpeechVAEError, match=r"bad\.wav: not-a-number"):
        plain.file(tmp_path / "bad.wav", tmp_path / "out.wav")
    sf.write(tmp_path / "empty.wav", wav[:0], RATE)
    with pytest.raises(SpeechVAEError, match="empty"):
        plain.file(tmp_path / "empty.wav", tmp_path / "out.wav")
    assert not (tmp_path / "out.wav").exists()


def test_a_real_recording_stays_intelligible_and_level(shared_dir: Path, shipped: Resynthesiser) -> None:
    from speechvae.audio import load
    from speechvae.metrics import stoi

    wav, rate = load(sorted((shared_dir / "corpora" / "kathleen" / "audio").glob("*.opus"))[0])
    wav = resample(wav, rate, RATE)
    out = shipped.samples(wav, RATE)
    assert active_level(out, RATE) == pytest.approx(active_level(wav, RATE), abs=1.0)
    assert stoi(wav, out, RATE) > 0.9


# -- the figures that compare copies -------------------------------------------------------------------------------


def test_periodicity_of_tones_and_noise() -> None:
    pytest.importorskip("parselmouth")
    t = np.arange(RATE) / RATE
    noise = np.random.default_rng(0).normal(size=RATE)
    buzz = np.sign(np.sin(2 * np.pi * 150 * t))
    values = [float(np.median(p.periodicity(0.1 * w, RATE))) for w in (buzz, buzz + noise, noise)]
    assert values[0] > 0.98 > 0.8 > values[1] > 0.4 > values[2]
    assert not p.periodicity(np.zeros(RATE), RATE).any()
    assert len(p.periodicity(0.1 * buzz, RATE)) == 101 and not p.periodicity(buzz[:500], RATE).any()
    # Equal parts of tone and noise: half of the power repeats.
    assert values[1] == pytest.approx(0.5, abs=0.1)


def test_voicing_f1() -> None:
    truth = np.array([0, 100, 110, 120, 0, 0])
    assert p.voicing_f1(truth, truth * 2) == 1
    assert p.voicing_f1(truth, np.array([0, 0, 110, 120, 90, 0])) == pytest.approx(2 / 3)
    assert p.voicing_f1(truth, np.zeros(6)) == 0 and np.isnan(p.voicing_f1(np.zeros(6), np.zeros(6)))
    assert p.periodicity_error(np.array([0.0, 1.0]), np.array([1.0, 1.0])) == pytest.approx(0.5**0.5)
    with pytest.raises(SpeechVAEError, match="time-aligned"):
        p.voicing_f1(truth, np.zeros(60))


def test_copy_figures() -> None:
    pytest.importorskip("parselmouth")
    wav = tone(2.0)
    same = p.copy_figures(wav, wav, RATE)
    assert same == {"vuv_f1": 1, "periodicity_error": 0, "stft_convergence": 0, "stft_log_magnitude": 0}
    worse = p.copy_figures(wav, wav + 0.05 * np.random.default_rng(1).normal(size=len(wav)), RATE)
    assert worse["periodicity_error"] > 0.05 and worse["stft_log_magnitude"] > 0.5


def test_ltas_difference_finds_the_band_that_was_changed() -> None:
    from scipy.signal import butter, sosfilt

    noise = [np.random.default_rng(i).normal(size=40000) * 0.05 for i in range(2)]
    centres, gaps = p.ltas_difference(noise, [2 * w for w in noise], RATE)
    assert len(centres) == 21 and centres[0] == pytest.approx(100, rel=0.01)
    np.testing.assert_allclose(gaps, 20 * np.log10(2), atol=1e-6)
    low = [sosfilt(butter(8, 4000, fs=RATE, output="sos"), w) for w in noise]
    _, gaps = p.ltas_difference(noise, low, RATE)
    assert np.abs(gaps[centres < 3000]).max() < 0.5 and gaps[centres > 7000].max() < -30
    assert gaps[np.argmin(np.abs(centres - 4000))] == pytest.approx(-3, abs=1.5)
    with pytest.raises(SpeechVAEError, match="does not fit"):
        p.ltas_difference(noise, noise, 16000)
