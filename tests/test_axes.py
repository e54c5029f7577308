"""Axes: found where they are known to lie, calibrated to the unit they claim, written into a voice."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from speechvae import Voice, axes
from speechvae.errors import SpeechVAEError
from speechvae.models.decoder import Prosody
from speechvae.models.speech_vae import F0_SCALE, Latents
from speechvae.voice_files import Axis, read_settings, save_voice, tiny_voice

DU, DP = 4, 2  # of the test voice


def prosody(w: Any, f0: Any, vuv: Any, energy: Any) -> Prosody:
    rows = [torch.tensor(np.atleast_2d(v), dtype=torch.float32)[:, None] for v in (np.log(w), f0, vuv, energy)]
    return Prosody(*rows)


def test_properties_of_a_known_prosody() -> None:
    mask = torch.ones(1, 1, 5, dtype=torch.bool)
    p = prosody([50, 10, 30, 10, 50], [9, 1, 3, 7, 9], [1, 1, 1, 0, 1], [9, 2, 4, 9, 9])
    pitch, spread, rate, energy = axes.properties(p, mask)[0].tolist()
    # silence at the ends and the unvoiced phoneme do not count: f0 1 for 10 frames, 3 for 30
    assert pitch == pytest.approx(2.5 * F0_SCALE) and energy == pytest.approx(3.5)
    assert spread == pytest.approx(math.log(math.sqrt(0.75) * F0_SCALE))
    assert rate == pytest.approx(math.log(3 / 50))


def test_padding_changes_no_property() -> None:
    short = prosody([5, 10, 30, 5], [0, 1, 3, 0], [0, 1, 1, 0], [0, 2, 4, 0])
    long = prosody([5, 10, 30, 5, 77, 7], [0, 1, 3, 0, 8, 8], [0, 1, 1, 0, 1, 1], [0, 2, 4, 0, 5, 5])
    mask = torch.tensor([[[True] * 4 + [False] * 2]])
    a, b = axes.properties(short, mask[..., :4]), axes.properties(long, mask)
    assert torch.allclose(a, b)


@pytest.fixture()
def linear(voice: Voice, monkeypatch: pytest.MonkeyPatch) -> Voice:
    """Heads that follow z_u: pitch the first value, range the second, rate the third, energy the fourth."""

    def heads(h: Any, x_mask: Any, z: Latents, g: Any) -> Prosody:
        n = h.shape[2]
        a, b, c, d = (z.z_u[:, i, None, None] for i in range(DU))
        wave = torch.linspace(-1, 1, n)
        f0 = (0.5 * a + wave * b.exp()) / F0_SCALE
        return Prosody((2 - 0.2 * c).expand(-1, 1, n), f0, torch.ones_like(f0), d.expand(-1, 1, n) + 0.1 * a)

    monkeypatch.setattr(voice.model, "prosody", heads)
    return voice


def texts(voice: Voice, count: int = 6) -> list[Any]:
    e = voice.encode(voice.frontend("One tone, and another.")[0])
    found = []
    for seed in range(count):
        torch.manual_seed(seed)
        found.append(axes._Text(e.h, e.x_mask, e.g, Latents(torch.randn(1, DU), torch.randn(1, DP, len(e.symbols)))))
    return found


def test_an_axis_moves_its_property_alone_and_by_its_unit(linear: Voice) -> None:
    latents = np.random.default_rng(0).normal(0, 1, (4000, DU + DP))
    sd = np.array([0.1, 0.2, 0.05, 0.3])
    directions, moves, length = axes._calibrate(linear, texts(linear), latents, sd, [0, 1, 2, 3])
    assert moves == pytest.approx(np.eye(4), abs=0.01)
    # pitch moves by 0.5 for one of z_u's first value, and takes energy along unless the fourth makes up for it
    assert directions[0, :DU] == pytest.approx([0.2, 0, 0, -0.02], abs=0.02)
    assert directions[1, 1] == pytest.approx(0.2, abs=0.02) and directions[2, 2] == pytest.approx(0.25, abs=0.02)
    assert length == pytest.approx(np.linalg.norm(directions, axis=1), rel=0.1)


def test_of_directions_with_one_effect_the_likeliest_is_taken(voice: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    def heads(h: Any, x_mask: Any, z: Latents, g: Any) -> Prosody:
        both = (z.z_u[:, 0] + z.z_u[:, 1])[:, None, None]
        flat = both.expand(-1, 1, h.shape[2])
        return Prosody(flat * 0 + 2, flat, flat * 0 + 1, flat * 0)

    monkeypatch.setattr(voice.model, "prosody", heads)
    # the second value varies three times as much: nine tenths of the way lie along it
    latents = np.random.default_rng(0).normal(0, [1, 3, 1, 1, 1, 1], (20000, DU + DP))
    directions, moves, _ = axes._calibrate(voice, texts(voice), latents, np.full(4, F0_SCALE), [0])
    assert moves[0, 0] == pytest.approx(1, abs=1e-3)
    assert directions[0, :2] == pytest.approx([0.1, 0.9], abs=0.01)


def fitted(voice: Voice, monkeypatch: pytest.MonkeyPatch, count: int = 400) -> axes.Fit:
    """`fit` on a training set in which z_u is normal and the properties follow it as the heads do."""
    rng = np.random.default_rng(0)
    speakers = np.arange(count) % 2
    latents = rng.normal(0, 1, (count, DU + DP)) + 10 * speakers[:, None]
    own = latents - 10 * speakers[:, None]
    values = np.stack([0.5 * own[:, 0], own[:, 1], 0.2 * own[:, 2], own[:, 3]], 1) + 3 * speakers[:, None]
    values[0, 1] = -8.0  # a clip with one voiced sound
    monkeypatch.setattr(axes, "_clips", lambda *_: None)
    monkeypatch.setattr(axes, "_training_set", lambda *_: (latents, values, speakers))
    monkeypatch.setattr(axes, "_readings", lambda *_: texts(voice))
    return axes.fit("nowhere", voice)


def test_fit_gives_a_standard_deviation_within_the_speakers(linear: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    found = fitted(linear, monkeypatch)
    assert list(found.axes) == list(axes.PROPERTIES) and 390 < found.clips < 400
    assert found.axes["pitch"].sd == pytest.approx(0.5 * 12 / math.log(2), rel=0.1)
    assert found.axes["pitch"].unit == "semitones" and found.axes["energy"].unit == "dB"
    assert found.axes["range"].sd == pytest.approx(math.exp(1), rel=0.15)
    assert found.axes["energy"].sd == pytest.approx(20 / math.log(10), rel=0.1)
    assert found.axes["pitch"].z_u[0] == pytest.approx(1, rel=0.1) and len(found.axes["pitch"].z_p) == DP
    assert min(found.found.values()) > 0.95
    for name, moves in found.moves.items():
        assert moves == pytest.approx({p: float(p == name) for p in axes.PROPERTIES}, abs=0.02)
    assert "semitones" in found.table()
    assert axes.fit_axes("nowhere", linear) == found.axes


def test_a_property_that_the_latents_do_not_move_gets_no_axis(voice: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    def heads(h: Any, x_mask: Any, z: Latents, g: Any) -> Prosody:
        a = z.z_u[:, :1, None].expand(-1, 1, h.shape[2])
        wave = torch.linspace(-1, 1, h.shape[2]).expand_as(a)
        rate, energy = (z.z_u[:, i, None, None].expand_as(a) for i in (2, 3))
        return Prosody(2 - 0.2 * rate, (0.5 * a + wave) / F0_SCALE, torch.ones_like(a), energy)

    monkeypatch.setattr(voice.model, "prosody", heads)
    found = fitted(voice, monkeypatch)
    assert list(found.axes) == ["pitch", "rate", "energy"] and found.length["range"] > axes.LARGEST
    assert "left out" in found.table()
    with pytest.raises(SpeechVAEError, match="40 are needed"):
        fitted(voice, monkeypatch, count=10)


def test_another_voices_folder_is_refused(voice: Voice, tmp_path: Path) -> None:
    rows = [{"id": "a", "speaker": "carla", "split": "train", "symbols": ["^", "$"], "duration": 1.0}]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    with pytest.raises(SpeechVAEError, match="speakers that the voice test lacks: carla"):
        axes.fit(tmp_path, voice)


def test_axes_are_written_into_the_voice_and_nothing_else_changes(tmp_path: Path) -> None:
    settings, model, vocoder = tiny_voice(0)
    folder = save_voice(tmp_path / "mine", settings, model, vocoder)
    before = read_settings(folder).model_dump()
    axis = Axis(z_u=[0.5, 0.0, 0.0, -1.0], z_p=[0.25, 0.0], sd=1.5, unit="semitones")
    axes.write_axes(folder, {"pitch": axis})
    after = read_settings(folder).model_dump()
    assert Voice.load(folder).settings.axes == {"pitch": axis}
    assert {k: v for k, v in after.items() if k != "axes"} == {k: v for k, v in before.items() if k != "axes"}
    assert not list(folder.glob(".*"))
    with pytest.raises(SpeechVAEError, match="--force"):
        axes.write_axes(folder, {"rate": axis})
    axes.write_axes(folder, {"rate": axis}, force=True)
    assert list(read_settings(folder).axes) == ["rate"]


def test_the_command_writes_and_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from speechvae.cli_training import app

    folder = save_voice(tmp_path / "mine", *tiny_voice(0))
    axis = Axis(z_u=[0.5, 0.0, 0.0, -1.0], z_p=[0.25, 0.0], sd=1.5, unit="semitones")
    moves = {"pitch": {"pitch": 1.0, "range": 0.01, "rate": -0.02, "energy": 0.0}}
    numbers = dict.fromkeys(axes.PROPERTIES, 0.5)
    seen: list[Any] = []

    def fit(*arguments: Any) -> axes.Fit:
        seen.append(arguments)
        return axes.Fit({"pitch": axis}, moves, numbers, numbers, 200)

    monkeypatch.setattr(axes, "fit", fit)
    done = CliRunner().invoke(app, ["axes", str(tmp_path), str(folder), "--limit", "99"], catch_exceptions=False)
    assert done.exit_code == 0 and "1.5 semitones" in done.output and "-0.02" in done.output
    assert seen[0][2] == 99 and list(read_settings(folder).axes) == ["pitch"]
    with pytest.raises(SpeechVAEError, match="--force"):
        CliRunner().invoke(app, ["axes", str(tmp_path), str(folder)], catch_exceptions=False)
    assert len(seen) == 1  # refused before anything long was done


def test_the_clips_of_a_work_folder(voice: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    """Posterior means and measured properties of two clips in one batch are those of each alone."""
    from speechvae.nn.batch import Batch

    lengths = {"a": (6, 60), "b": (9, 95)}

    def batch(rows: list[dict[str, Any]]) -> Batch:
        n, t = (max(lengths[r["id"]][i] for r in rows) for i in (0, 1))
        x, w = torch.zeros(len(rows), n, dtype=torch.long), torch.zeros(len(rows), n, dtype=torch.long)
        y, f0 = torch.full((len(rows), 100, t), -11.5), torch.zeros(len(rows), t)
        for i, r in enumerate(rows):
            size, frames = lengths[r["id"]]
            generator = torch.Generator().manual_seed(size)
            x[i, :size] = torch.randint(5, 20, (size,), generator=generator)
            w[i, :size] = torch.linspace(0, frames, size + 1).round().long().diff()
            y[i, :, :frames] = torch.randn(100, frames, generator=generator)
            f0[i, :frames] = 180 + 20 * torch.randn(frames, generator=generator)
        sizes = torch.tensor([lengths[r["id"]] for r in rows])
        return Batch(ids=[r["id"] for r in rows], speaker=torch.tensor([0] * len(rows)), x=x, x_lengths=sizes[:, 0],
                     y=y, y_lengths=sizes[:, 1], w=w, f0=f0)  # fmt: skip

    rows = [{"id": "a", "duration": 1.0}, {"id": "b", "duration": 2.0}]
    both: Any = SimpleNamespace(rows=rows, collate=batch)
    x, y, who = axes._training_set(voice, both, False)
    assert x.shape == (2, DU + DP) and y.shape == (2, 4) and who.tolist() == [0, 0]
    for i, row in enumerate(rows):
        one: Any = SimpleNamespace(rows=[row], collate=batch)
        alone = axes._training_set(voice, one, False)
        assert alone[0][0] == pytest.approx(x[i], abs=1e-4) and alone[1][0] == pytest.approx(y[i], abs=1e-4)
