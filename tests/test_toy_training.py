"""The toy recipe, trained: the aligner finds the true durations, and the latents carry what was drawn."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from speechvae.config import Config
from speechvae.dataset import read_durations, read_manifest
from speechvae.prepare import prepare
from speechvae.stages.vae import VAEStage
from speechvae.trainer import train


def recovered(latent: np.ndarray, factor: np.ndarray) -> float:
    """R² of a linear regression of factor [n] on latent [n, d]."""
    x = np.column_stack([latent, np.ones(len(latent))])
    rest = factor - x @ np.linalg.lstsq(x, factor, rcond=None)[0]
    return float(1 - rest.var() / factor.var())


@pytest.mark.slow
def test_the_toy_recipe_learns(toy_recipe: ModuleType, repo: Path, tmp_path: Path) -> None:
    corpus, work = tmp_path / "corpus", tmp_path / "work"
    toy_recipe.generate(corpus)
    config = Config.load(repo / "recipes" / "toy" / "config.yaml")
    prepare([corpus], work, config.audio, progress=False)

    train(config, "aligner", work, device="cpu", progress=False)
    found = read_durations(work)
    truth = [json.loads(line) for line in (corpus / "alignment.jsonl").read_text().splitlines()]
    errors = [np.abs(np.cumsum(found[t["id"]]) - np.cumsum(t["frames"])) for t in truth if t["id"] in found]
    assert len(errors) >= 0.95 * len(truth)
    assert np.median(np.concatenate(errors)) <= 2.0  # frames
    assert np.mean(np.concatenate(errors)) < 3.0

    figures = train(config, "vae", work, device="cpu", progress=False)
    assert figures["kl_u"] > 1 and figures["kl_p"] > 0.2
    assert figures["f0"] < 0.8 * figures["prior_f0"]

    stage = VAEStage(config, work)
    stage.load_trained()
    data = stage.batches("train")
    factors = {f["id"]: f for f in map(json.loads, (corpus / "factors.jsonl").read_text().splitlines())}
    rows = [r for r in read_manifest(work, "train") if r["id"] in found]
    batch = data.collate(rows)
    with torch.inference_mode():
        latents = stage.model(batch, temperature=0.0)["q"].m_u.numpy()
    pitch = np.array([factors[r["id"]]["pitch"] for r in rows])
    assert recovered(latents, pitch) > 0.5
