"""Calibration: whatever a prior believed, posterior draws get unit noise under it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from speechvae.calibrate import calibrate, standardise
from speechvae.config import Config
from speechvae.dataset import read_features, read_manifest, write_durations
from speechvae.nn import gaussian
from speechvae.prepare import prepare
from speechvae.stages.vae import VAEStage

TINY = {
    "vae": {
        "hidden": 16, "text_layers": 1, "text_heads": 2, "speaker_dim": 4, "z_u_dim": 3, "z_p_dim": 2,
        "posterior_dim": 16, "posterior_layers": 1, "prior_layers": 1, "head_layers": 1, "decoder_dim": 16,
        "decoder_layers": 1, "flow_dim": 8, "train": {"steps": 6, "batch_size": 4},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def stage(toy_recipe: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> VAEStage:
    corpus, work = tmp_path_factory.mktemp("corpus"), tmp_path_factory.mktemp("work")
    toy_recipe.generate(corpus, count=40)
    prepare([corpus], work, progress=False)
    config = Config.parse(TINY, "here")
    durations = {}
    for row in read_manifest(work):
        frames = read_features(work, row["id"], config.audio)["mel"].shape[1]
        durations[row["id"]] = torch.linspace(0, frames, len(row["symbols"]) + 1).round().long().diff()
    write_durations(work, durations)
    made = VAEStage(config, Path(work))
    torch.manual_seed(0)
    made.build()
    made.model.eval()
    return made


def test_held_out_noise_has_unit_variance_afterwards(stage: VAEStage) -> None:
    """A prior made four times too narrow, and one twice too wide, are both put right."""
    prior = stage.model.prior_net
    prior.log_scale_u.fill_(0.7)
    prior.log_scale_p.fill_(-1.4)
    figures = calibrate(stage, stage.model, progress=False)
    assert figures["repeated_prompts"] == 0
    assert figures["prior_scale_p"] == pytest.approx(prior.log_scale_p.mean().exp().item())
    torch.manual_seed(3)
    data, noise = stage.batches("dev"), []
    with torch.no_grad():
        for row in data.rows:
            out = stage.model(data.collate([row]), teacher=0.0, temperature=0.0)
            draws = (gaussian.sample(out["q"].m_p, out["q"].logs_p) for _ in range(40))
            noise += [out["p_p"].noise(z)[0].T for z in draws]
    torch.testing.assert_close(torch.cat(noise).square().mean(0), torch.ones(2), atol=0.3, rtol=0)


def test_readings_of_one_prompt_set_the_scale_where_there_are_enough(
    stage: VAEStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prior that is wrong about every text by far, and right about how its readings differ."""
    data = stage.batches("train")
    twice = [{**row, "prompt": row["id"]} for row in data.rows[:24] for _ in range(2)]
    monkeypatch.setattr(data, "rows", twice)
    prior = stage.model.prior_net
    with torch.no_grad():
        prior.log_scale_p.fill_(2.0)
        prior.phoneme.proj_out.bias[:2] += 3.0
    assert calibrate(stage, stage.model, progress=False)["repeated_prompts"] >= 24
    torch.manual_seed(4)
    noise = []
    with torch.no_grad():
        for row in twice[::2]:
            out = stage.model(data.collate([row]), teacher=0.0, temperature=0.0)
            z = torch.stack([out["p_p"].noise(gaussian.sample(out["q"].m_p, out["q"].logs_p))[0].T for _ in range(40)])
            noise.append((z - z.mean(0)).flatten(0, 1))
        prior.phoneme.proj_out.bias[:2] -= 3.0
    torch.testing.assert_close(torch.cat(noise).square().mean(0), torch.ones(2), atol=0.3, rtol=0)


def test_calibrating_twice_changes_little(stage: VAEStage) -> None:
    calibrate(stage, stage.model, progress=False)
    before = stage.model.prior_net.log_scale_u.clone()
    calibrate(stage, stage.model, progress=False)
    torch.testing.assert_close(stage.model.prior_net.log_scale_u, before, atol=0.05, rtol=0)


def test_other_units_of_z_u_change_nothing_that_is_heard(stage: VAEStage) -> None:
    model, batch = stage.model, stage.batches("dev")[0]
    for name, w in model.named_parameters():
        if "utterance" in name:  # at the start the statistics hardly depend on anything
            torch.nn.init.normal_(w, std=0.3)

    def run() -> dict[str, Any]:
        with torch.no_grad():
            return model(batch, teacher=1.0, temperature=0.0)

    scale = torch.tensor([0.1, 3.0, 0.7])
    before = run()
    standardise(model, scale)
    after = run()
    torch.testing.assert_close(after["q"].m_u * scale, before["q"].m_u, atol=1e-4, rtol=1e-3)
    for (a, logs_a), (b, logs_b) in ((before["p_u"], after["p_u"]),):
        torch.testing.assert_close(b * scale, a, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(logs_b + scale.log(), logs_a, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(after["mel"], before["mel"], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(after["guess"].f0, before["guess"].f0, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(after["p_p"].m, before["p_p"].m, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(after["z"].z_p, before["z"].z_p, atol=1e-4, rtol=1e-3)
