"""The toy recipe, trained: the aligner finds the true durations, and the latents carry what was drawn."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from speechvae.config import Config
from speechvae.dataset import UtteranceBatches, read_durations, read_manifest, write_durations
from speechvae.metrics.latents import aligned, posterior, recovered, utterance_latents
from speechvae.prepare import prepare
from speechvae.stages.vae import VAEStage
from speechvae.trainer import train


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def drawn(toy: ModuleType, row: dict[str, Any], factors: dict[str, Any]) -> dict[str, float]:
    """By how much a reading departs from what its speaker and text alone ask for, mean over its phonemes.

    `pitch` in semitones (voiced phonemes), `rate` as log of a factor, `energy` in dB after levelling.
    """
    symbols = row["symbols"]
    voiced = [i for i, hz in enumerate(factors["f0"]) if hz > 0]
    rise = 6.0 if symbols[-2] == "?" else 0.0
    usual = [2.0 - 4.0 * i / len(symbols) + (rise if i == voiced[-1] else 0.0) for i in voiced]
    heights = 12 * np.log2(np.array(factors["f0"])[voiced] / toy.SPEAKERS[factors["speaker"]])
    spoken = [i for i, s in enumerate(symbols) if s in toy.SOUNDS]
    sounds = [toy.SOUNDS[symbols[i]] for i in spoken]
    lengths = [np.log(factors["frames"][i] / s.frames) for i, s in zip(spoken, sounds, strict=True)]
    levels = [factors["level"][i] - s.level for i, s in zip(spoken, sounds, strict=True)]
    return {
        "pitch": float(np.mean(heights - usual)),
        "rate": -float(np.mean(lengths)),
        "energy": float(np.mean(levels) + 20 * np.log10(row["gain"])),
    }


def latents_and_factors(
    toy: ModuleType, stage: VAEStage, corpus: Path, work: Path
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Posterior means [n, Du + Dp + 1] (the last column tells the speaker) and what was drawn, [n] each."""
    factors = {f["id"]: f for f in lines(corpus / "factors.jsonl")}
    index = {s: i for i, s in enumerate(stage.symbols)}
    data = UtteranceBatches(
        work, read_manifest(work), stage.config.audio, stage.train, index, stage.speakers, durations=True
    )
    latents, known = [], []
    for row in data.rows:
        clip = aligned(stage.model, data.collate([row]), [])
        z = posterior(stage.model, clip, draws=1).z
        latents.append(np.append(utterance_latents(z), float(clip.speaker[0])))
        known.append(drawn(toy, row, factors[row["id"]]))
    return np.stack(latents), {k: np.array([d[k] for d in known]) for k in known[0]}


def use_true_durations(corpus: Path, work: Path) -> None:
    write_durations(work, {t["id"]: torch.tensor(t["frames"]) for t in lines(corpus / "alignment.jsonl")})


@pytest.mark.slow
def test_the_toy_recipe_learns(toy_recipe: ModuleType, repo: Path, tmp_path: Path) -> None:
    corpus, work = tmp_path / "corpus", tmp_path / "work"
    toy_recipe.generate(corpus)
    config = Config.load(repo / "recipes" / "toy" / "config.yaml")
    prepare([corpus], work, config.audio, level_kept=config.prepare.level_kept, progress=False)

    train(config, "aligner", work, device="cpu", progress=False)
    found = read_durations(work)
    truth = lines(corpus / "alignment.jsonl")
    errors = [np.abs(np.cumsum(found[t["id"]]) - np.cumsum(t["frames"])) for t in truth if t["id"] in found]
    assert len(errors) >= 0.95 * len(truth)
    assert np.median(np.concatenate(errors)) <= 2.0  # frames
    assert np.mean(np.concatenate(errors)) < 3.0

    # two frames are a third of a phoneme here, far more than rates differ by: what latents find needs the true ones
    use_true_durations(corpus, work)
    figures = train(config, "vae", work, device="cpu", progress=False)
    assert figures["kl_u"] > 1 and figures["kl_p"] > 0.2
    assert figures["f0"] < 0.8 * figures["prior_f0"]
    assert figures["logw"] < 0.8 * figures["prior_logw"]

    stage = VAEStage(config, work)
    stage.load_trained()
    # sixty readings of new texts, none of which the model or the regression has seen
    fresh, fresh_work = tmp_path / "fresh", tmp_path / "fresh_work"
    toy_recipe.generate(fresh, count=60, seed=7)
    prepare([fresh], fresh_work, config.audio, level_kept=config.prepare.level_kept, progress=False)
    use_true_durations(fresh, fresh_work)
    x, seen = latents_and_factors(toy_recipe, stage, corpus, work)
    y, new = latents_and_factors(toy_recipe, stage, fresh, fresh_work)
    found_again = {k: recovered(x, seen[k], y, new[k]) for k in seen}
    print(found_again)
    assert min(found_again.values()) >= 0.9, found_again
