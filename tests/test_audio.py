"""Features, files and pitch against known signals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchaudio

from speechvae.audio import (
    LogMel,
    frame_energy,
    griffin_lim,
    load,
    mel_filters,
    mel_to_amplitude,
    resample,
    track_f0,
    write_wav,
)  # fmt: skip
from speechvae.config import AudioConfig
from speechvae.errors import SpeechVAEError

CFG = AudioConfig()


def tone(hz: float, seconds: float = 1.0, level: float = 0.3, rate: int = 24000) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    harmonics = [np.sin(2 * np.pi * hz * k * t) / k for k in range(1, 8)]
    return (level * np.sum(harmonics, 0) / 2).astype(np.float32)


def test_log_mel_is_the_published_transform_without_its_last_frame() -> None:
    wav = torch.from_numpy(tone(180.0))[None]
    reference = torchaudio.transforms.MelSpectrogram(24000, 1024, hop_length=256, n_mels=100, center=True, power=1)
    expected = reference(wav).clamp_min(1e-7).log()
    mel = LogMel(CFG)(wav)
    assert mel.shape == (1, 100, wav.shape[1] // 256)
    torch.testing.assert_close(mel, expected[..., : mel.shape[2]])


def test_log_mel_takes_very_short_audio_but_not_less_than_a_frame() -> None:
    assert LogMel(CFG)(torch.zeros(1, 256)).shape == (1, 100, 1)
    with pytest.raises(SpeechVAEError, match="shorter than one frame"):
        LogMel(CFG)(torch.zeros(1, 255))


def test_silence_lies_at_the_floor() -> None:
    assert LogMel(CFG)(torch.zeros(1, 2560)).max().item() == pytest.approx(np.log(1e-7))


def test_griffin_lim_keeps_pitch_and_spectrum_and_repeats_itself() -> None:
    wav = torch.from_numpy(tone(200.0))[None]
    mel = LogMel(CFG)(wav)
    before = torch.random.get_rng_state()
    out = griffin_lim(mel, CFG)
    assert torch.equal(before, torch.random.get_rng_state())
    assert out.shape == (1, mel.shape[2] * 256)
    assert torch.equal(out, griffin_lim(mel, CFG))
    inner = slice(4, -4)
    loud = mel[..., inner] > mel.max() - 3
    assert (LogMel(CFG)(out)[..., inner] - mel[..., inner])[loud].abs().mean() < 0.25
    f0 = track_f0(out[0].numpy(), 24000, 256)
    assert np.median(f0[f0 > 0]) == pytest.approx(200.0, rel=0.02)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_griffin_lim_of_a_few_frames(frames: int) -> None:
    wav = griffin_lim(torch.full((1, 100, frames), -5.0), CFG)
    assert wav.shape == (1, frames * 256) and torch.isfinite(wav).all()


def test_the_pseudo_inverse_gives_the_mels_back() -> None:
    mel = LogMel(CFG)(torch.randn(1, 24000) * 0.1)
    amplitude = mel_to_amplitude(mel, torch.linalg.pinv(mel_filters(CFG).T))
    again = (mel_filters(CFG).T @ amplitude).log()
    assert (again - mel).abs().mean() < 0.05


@pytest.mark.parametrize("hz", [90.0, 150.0, 240.0, 400.0])
def test_f0_of_a_tone(hz: float) -> None:
    f0 = track_f0(tone(hz), 24000, 256)
    assert len(f0) == 24000 // 256
    assert np.mean(f0 > 0) > 0.85
    assert np.median(f0[f0 > 0]) == pytest.approx(hz, rel=0.02)


def test_creak_does_not_pull_f0_down_an_octave() -> None:
    """Every second pulse fainter: within a voice of 160 Hz, a stretch that a tracker may hear as 80 Hz."""
    wav = np.concatenate([tone(160.0), tone(80.0, 0.25), tone(160.0)])
    f0 = track_f0(wav, 24000, 256)
    voiced = f0[f0 > 0]
    assert np.median(voiced) == pytest.approx(160.0, rel=0.02)
    assert voiced.min() > 95.0


def test_f0_of_silence_and_of_noise_is_unvoiced() -> None:
    assert not track_f0(np.zeros(24000, np.float32), 24000, 256).any()
    noise = np.random.default_rng(0).normal(0, 0.1, 24000).astype(np.float32)
    assert np.mean(track_f0(noise, 24000, 256) > 0) < 0.2
    assert len(track_f0(np.zeros(10, np.float32), 24000, 256)) == 0


def test_faint_hum_in_a_pause_is_unvoiced() -> None:
    wav = np.concatenate([tone(200.0), tone(120.0, level=0.3 * 10 ** (-55 / 20)), tone(200.0)])
    f0 = track_f0(wav, 24000, 256)
    assert not f0[100:180].any() and (f0[10:80] > 0).all()


def test_energy_follows_the_level() -> None:
    mel = LogMel(CFG)(torch.from_numpy(np.stack([tone(200, level=0.1), tone(200, level=0.2)])))
    difference = frame_energy(mel)[1, 5:-5] - frame_energy(mel)[0, 5:-5]
    torch.testing.assert_close(difference, torch.full_like(difference, float(np.log(2))), atol=0.02, rtol=0)


def test_wav_files_round_trip_and_replace_whole(tmp_path: Path) -> None:
    wav = tone(300.0, 0.2)
    path = write_wav(tmp_path / "deep" / "a.wav", wav, 24000)
    write_wav(path, wav, 24000)
    back, rate = load(path)
    assert rate == 24000 and np.abs(back - wav).max() < 1e-4
    assert [p.name for p in path.parent.iterdir()] == ["a.wav"]


def test_unreadable_audio_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF this is not audio")
    with pytest.raises(SpeechVAEError, match="bad.wav cannot be decoded"):
        load(bad)
    with pytest.raises(SpeechVAEError, match="no audio file"):
        load(tmp_path / "missing.wav")


def test_resampling_keeps_pitch() -> None:
    low = resample(tone(200.0), 24000, 16000)
    assert len(low) == 16000
    f0 = track_f0(low, 16000, 160)
    assert np.median(f0[f0 > 0]) == pytest.approx(200.0, rel=0.02)


def test_fingerprint_changes_with_any_setting() -> None:
    assert AudioConfig().fingerprint() == CFG.fingerprint()
    other = AudioConfig(hop=300)
    assert other.fingerprint() != CFG.fingerprint()
    with pytest.raises(SpeechVAEError, match="hop: 300 instead of 256"):
        CFG.check(other, "the cache")
