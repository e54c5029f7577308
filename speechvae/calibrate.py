"""Set the scales of a trained VAE's priors from recordings, so that temperature 1 is as varied as the speaker.

A prior fitted on few sentences is too sure of itself on new ones, and the utterance latents of a corpus vary from one
recording day to the next more than from one reading to the next. Both are put right after training, in closed form:
the noise that posterior draws have under the prior must have unit variance (a maximum-likelihood fit of the scales).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from speechvae.models.speech_vae import SpeechVAE
from speechvae.nn import gaussian
from speechvae.stages.vae import VAEStage

FEWEST_GROUPS = 20  # prompts read several times; with fewer, all held-out clips count for z_u


DRAWS = 8  # of each held-out clip's posterior


@torch.no_grad()
def calibrate(stage: VAEStage, model: SpeechVAE, progress: bool = True) -> dict[str, float]:
    """Scale both priors of `model` in place, and z_u to their units; returns the geometric means of the factors.

    z_p: draws for the clips of the dev split. z_u: how the readings of one prompt differ, over all prompts of the
    train and dev splits that were read several times, where there are at least 20; else the dev split.
    """
    state = torch.random.get_rng_state()
    torch.manual_seed(stage.train.seed)
    try:
        groups: dict[str, list[Tensor]] = defaultdict(list)
        noise_p, noise_u, widths = [], [], []
        start = model.prior_net.log_scale_u.clone()
        for row, split, out in _outputs(stage, model, progress):
            q, (m_u, logs_u) = out["q"], out["p_u"]
            u = (gaussian.sample(q.m_u, q.logs_u) - m_u) * (-logs_u).exp()
            groups[_prompt(row)].append(u[0])
            widths.append(logs_u[0])
            if split == "dev":
                noise_u.append(u[0])
                noise_p += [out["p_p"].noise(gaussian.sample(q.m_p, q.logs_p))[0].T for _ in range(DRAWS)]
    finally:
        torch.random.set_rng_state(state)
    repeated = [torch.stack(g) for g in groups.values() if len(g) > 1]
    if len(repeated) >= FEWEST_GROUPS:
        # n / (n - 1): deviations from a mean of the few readings themselves are too small.
        noise_u = [row for g in repeated for row in (g - g.mean(0)) * (len(g) / (len(g) - 1)) ** 0.5]
    prior = model.prior_net
    prior.calibrate(torch.stack(noise_u), torch.cat(noise_p))
    figures = {
        "prior_scale_u": prior.log_scale_u.mean().exp().item(),
        "prior_scale_p": prior.log_scale_p.mean().exp().item(),
    }
    standardise(model, torch.stack(widths).mean(0).exp() * (prior.log_scale_u - start).exp())
    return figures


@torch.no_grad()
def standardise(model: SpeechVAE, scale: Tensor) -> None:
    """Measure z_u in units of `scale` [Du], in place: every output of the model stays what it was.

    A learned prior is free to make a unit as small as it likes. With its own standard deviation as unit the numbers
    of a take, and the variances that tell a unit in use from an idle one, mean something.
    """
    cfg, posterior, prior = model.cfg, model.posterior_net, model.prior_net
    for net in (posterior.utterance, prior.utterance):
        last = net[-1]
        assert isinstance(last, nn.Linear)
        last.weight[: cfg.z_u_dim] /= scale[:, None]
        last.bias[: cfg.z_u_dim] /= scale
        last.bias[cfg.z_u_dim :] -= scale.log()
    after_text = cfg.hidden
    readers = [
        (posterior.phoneme, cfg.posterior_dim),
        (prior.phoneme.proj_in, after_text),
        (model.heads.net.proj_in, after_text + cfg.z_p_dim),
        (model.decoder.join, after_text + cfg.z_p_dim),
    ]
    if prior.join is not None:
        readers.append((prior.join, after_text))
    for layer, first in readers:
        layer.weight[:, first : first + cfg.z_u_dim] *= scale[None, :, None]


def _outputs(stage: VAEStage, model: SpeechVAE, progress: bool) -> Iterator[tuple[dict[str, Any], str, dict[str, Any]]]:
    """Row, split and the model's outputs for the clips that calibration uses."""
    from tqdm import tqdm

    todo = []
    for split in ("train", "dev"):
        data = stage.batches(split)
        prompts: dict[str, int] = defaultdict(int)
        for row in data.rows:
            prompts[_prompt(row)] += 1
        todo += [(row, split, data) for row in data.rows if split == "dev" or prompts[_prompt(row)] > 1]
    for row, split, data in tqdm(todo, desc="calibrating", unit="clip", disable=not progress):
        yield row, split, model(data.collate([row]), teacher=0.0, temperature=0.0)


def _prompt(row: dict[str, Any]) -> str:
    return f"{row['speaker']} {row.get('prompt', row['id'])}"
