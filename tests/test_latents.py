"""What the latents carry, where it is known beforehand; the contact sheet."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from speechvae.errors import SpeechVAEError
from speechvae.metrics import latents as lt
from speechvae.models.decoder import Prosody
from speechvae.models.speech_vae import F0_SCALE, Latents


def encoded(voice: Any, text: str = "One tone, and another.") -> Any:
    return voice.encode(voice.frontend(text)[0])


def recording_of(voice: Any, z: Latents, e: Any, semitones: float = 0.0, stretch: float = 1.0) -> lt.Aligned:
    """What the model itself says with `z`, as if it had been recorded; its f0 and durations off by a known amount."""
    with torch.inference_mode():
        p = voice.model.prosody(e.h, e.x_mask, z, e.g)
        w = (p.logw[:, 0].exp() * 8).round().clamp_min(1).long()
        mel = voice.model.decode(e.h, z, e.g, p, w)
    shift = semitones * math.log(2) / 12 / F0_SCALE
    measured = Prosody(p.logw, p.f0 + shift, torch.ones_like(p.vuv), p.energy)
    n = len(e.symbols)
    return lt.Aligned("x", e.x_mask, e.speaker, e.h, e.g, mel, w, measured, [(1, 4), (5, n - 2)])


def test_errors_of_a_reconstruction_that_is_off_by_a_known_amount(voice: Any) -> None:
    e = encoded(voice)
    with torch.inference_mode():
        z = voice.model.sample(e.h, e.x_mask, e.g, generator=torch.Generator().manual_seed(1))
    exact = lt.reconstruction_errors(voice.model, recording_of(voice, z, e), z)
    assert exact["f0_square"] == pytest.approx(0, abs=1e-6) and exact["mcd"] == pytest.approx(0, abs=1e-4)
    assert exact["f0_correlation"] == pytest.approx(1)
    off = lt.reconstruction_errors(voice.model, recording_of(voice, z, e, semitones=2), z)
    assert math.sqrt(off["f0_square"]) == pytest.approx(2, rel=1e-3)
    # the recording's durations are eight times the heads', up to rounding
    assert off["log_duration"] == pytest.approx(math.log(8), abs=0.05)
    assert off["log_word_duration"] == pytest.approx(math.log(8), abs=0.05)


def test_the_mel_distortion_is_in_decibels() -> None:
    mel = np.random.default_rng(0).normal(-3, 0.3, (100, 50))
    k, amount = 3, 0.2
    wave = amount * np.cos(np.pi * k * (np.arange(100) + 0.5) / 100)[:, None]
    assert lt.log_mel_distortion(mel, mel + wave) == pytest.approx(10 / math.log(10) * math.sqrt(2) * amount)
    assert lt.log_mel_distortion(mel, mel + 1.0) == pytest.approx(0, abs=1e-9)  # the level is left out
    silent = np.concatenate([mel, np.full((100, 50), -11.0)], 1)
    worse = silent + np.concatenate([np.zeros((100, 50)), np.random.default_rng(1).normal(0, 1, (100, 50))], 1)
    assert lt.log_mel_distortion(silent, worse) == pytest.approx(0, abs=1e-9)  # silence does not count


def test_latent_use_tells_posterior_from_prior(voice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    e = encoded(voice)
    known: dict[int, Latents] = {}
    clips = []
    for seed in range(6):
        with torch.inference_mode():
            z = voice.model.sample(e.h, e.x_mask, e.g, 2.0, 2.0, torch.Generator().manual_seed(seed))
        z = Latents(torch.cat([torch.full((1, 1), 7.0), z.z_u[:, 1:]], 1), z.z_p)  # a unit that says nothing
        clip = recording_of(voice, z, e)
        known[id(clip)] = z
        clips.append(clip)
    def found(model: Any, clip: lt.Aligned, **_: Any) -> lt.Posterior:
        return lt.Posterior(known[id(clip)], known[id(clip)], 3.0, 40.0)

    monkeypatch.setattr(lt, "posterior", found)
    use = lt.latent_use(voice.model, clips)
    best, drawn, plain = (use.sources[s] for s in lt.SOURCES)
    assert best["f0_rmse_semitones"] < 1e-3 < plain["f0_rmse_semitones"]
    assert drawn["f0_rmse_semitones"] > 0 and use.gain["f0_rmse_semitones"] == pytest.approx(100, abs=0.1)
    du, n = known[id(clips[0])].z_u.shape[1], len(e.symbols)
    assert use.levels["z_u"] == {"active": du - 1, "units": du, "nats": 3.0}
    assert use.levels["z_p"]["nats"] == pytest.approx(40.0 / n) and use.clips == 6
    with pytest.raises(SpeechVAEError, match="at least one"):
        lt.latent_use(voice.model, [])


def test_divergence_of_a_posterior_that_equals_the_prior(voice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    e = encoded(voice)
    model = voice.model
    with torch.inference_mode():
        z = model.sample(e.h, e.x_mask, e.g, 0.0, 0.0)
        clip = recording_of(voice, z, e)
        m_u, logs_u = model.prior_u(e.h, e.x_mask, e.g)

    def same(*_: Any) -> Any:
        from speechvae.models.speech_vae import Gaussians

        shape = z.z_p.shape
        return Gaussians(m_u + 2 * logs_u.exp(), logs_u, torch.zeros(shape), torch.zeros(shape)), z

    monkeypatch.setattr(model, "posterior", same)
    found = lt.posterior(model, clip)
    assert found.kl_u == pytest.approx(2 * m_u.shape[1], rel=1e-4)  # two standard deviations: 2 nats a unit
    assert found.noise.z_u == pytest.approx(2, rel=1e-4) and found.noise.z_p.abs().max() < 1e-4


def test_active_units_are_those_that_vary() -> None:
    means = np.random.default_rng(0).normal(0, [1.0, 0.2, 0.05, 0.0], (500, 4))
    assert lt.active_units(means) == 2


def test_factors_are_recovered_on_readings_not_seen() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 1, (200, 5)), rng.normal(0, 1, (100, 5))
    weights = rng.normal(0, 1, 5)
    assert lt.recovered(x, x @ weights + 3, y, y @ weights + 3) == pytest.approx(1)
    noisy = weights @ weights  # as much noise as signal: R² of a half
    fit = lt.recovered(x, x @ weights + rng.normal(0, noisy**0.5, 200), y, y @ weights + rng.normal(0, noisy**0.5, 100))
    assert 0.3 < fit < 0.65
    assert lt.recovered(x, rng.normal(0, 1, 200), y, rng.normal(0, 1, 100)) < 0.05


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.1, 0.2, 0.3], True), ([0.3, 0.2, 0.1, 0], True), ([0, 0.2, 0.1, 0.3], False),
        ([0, 0.1, 0.0990, 0.2], True),  # a reversal of half a percent of the way
        ([0, 0.1, 0.0950, 0.2], False), ([0, 0.3, -0.1, 0.004], None),
    ],
)  # fmt: skip
def test_monotone(values: list[float], expected: bool | None) -> None:
    assert lt.monotone(np.array(values)) is expected


def test_smoothness_of_heads_that_are_known(voice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where long phonemes are high in one reading and low in the other, their weights pull the mean f0 about."""
    e = encoded(voice)
    n = len(e.symbols)
    tilt = torch.linspace(-1, 1, n)[None, None]

    def even(h: Any, x_mask: Any, z: Latents, g: Any) -> Prosody:
        a = z.z_u[:, :1, None].expand(-1, 1, n)
        return Prosody(a, a, torch.ones_like(a), a)

    def tilted(h: Any, x_mask: Any, z: Latents, g: Any) -> Prosody:
        a = z.z_u[:, :1, None].expand(-1, 1, n)
        return Prosody(2 * tilt * a, 0.1 * a + 2 * tilt * a, torch.ones_like(a), a)

    monkeypatch.setattr(voice.model, "prosody", even)
    found = lt.smoothness(voice.model, [e], pairs=60)
    assert min(found["f0"], found["duration"], found["both"]) > 0.95 and found["f0_pairs"] > 50
    monkeypatch.setattr(voice.model, "prosody", tilted)
    found = lt.smoothness(voice.model, [e], pairs=60)
    assert found["duration"] > 0.95 and found["f0"] < 0.9


def test_contact_sheet_is_a_png_of_1500_pixels(voice: Any, tmp_path: Path) -> None:
    import struct

    from speechvae.plots import contact_sheet

    readings = [voice.say("One tone. " * 6, seed=i) for i in range(3)] + [voice.say("Short.", seed=9)]
    path = contact_sheet(readings * 5, tmp_path / "folder" / "sheet.png")
    data = path.read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and width == 1500 and 1500 < height < 4000
    assert [p.name for p in path.parent.iterdir()] == ["sheet.png"]
    few = contact_sheet(readings[:1], tmp_path / "one.png", labels=["mine"])
    assert struct.unpack(">II", few.read_bytes()[16:24])[1] < 400
    for bad, labels in (([], None), (readings, ["one"])):
        with pytest.raises(SpeechVAEError):
            contact_sheet(bad, tmp_path / "no.png", labels=labels)


def test_long_readings_are_cut_at_the_same_word() -> None:
    from types import SimpleNamespace

    from speechvae.plots import _row_ends
    from speechvae.sound import WordTime

    def reading(step: float) -> Any:
        words = [WordTime(str(i), i * step, (i + 1) * step) for i in range(40)]
        return SimpleNamespace(words=words, duration=40 * step)

    # at half a second a word 20 words fit, at 0.4 s 25 would
    assert _row_ends([reading(0.5), reading(0.4)]) == pytest.approx([10.0, 8.0])
    assert _row_ends([reading(0.1)]) == pytest.approx([4.0])
