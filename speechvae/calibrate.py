"""Set the scales of a trained VAE's priors from recordings, so that temperature 1 is as varied as the speaker.

A prior also holds what it does not know: how this text is usually said, how the speaker felt on the day. Drawn from
such a prior, phonemes last far longer or shorter than in any two readings of a person, and words become unclear. So
the scales are set after training, in closed form, by how the readings of one prompt differ among themselves: the noise
that posterior draws have under the prior must have unit variance around the mean of the prompt.

Without such readings held-out clips must do. A prior fitted on few sentences is too sure of itself on new ones; the
same condition, on the noise itself (a maximum-likelihood fit of the scales), puts that right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from speechvae.models.speech_vae import SpeechVAE
from speechvae.nn import gaussian
from speechvae.stages.vae import VAEStage

FEWEST_GROUPS = 20  # prompts read several times; with fewer, held-out clips count
VOICED = 0.3  # share of a phoneme's frames
LARGEST_EXPANSION = 1.3  # more would exaggerate what is expected wrongly
DRAWS = 8  # of each held-out clip's posterior


@torch.no_grad()
def calibrate(stage: VAEStage, model: SpeechVAE, progress: bool = True) -> dict[str, float]:
    """Scale both priors of `model` in place, and z_u to their units.

    By the readings of one prompt (z_p: with the same phonemes), over all prompts of the train and dev splits that were
    read several times, where there are at least 20; else by the clips of the dev split. Returns the geometric means of
    the factors, `prior_scale_u` and `prior_scale_p`, how many such prompts set that of z_p, `repeated_prompts`, and the
    `expansion` that readings need afterwards.
    """
    state = torch.random.get_rng_state()
    torch.manual_seed(stage.train.seed)
    try:
        groups_u: dict[str, list[Tensor]] = defaultdict(list)
        groups_p: dict[tuple[str, ...], list[Tensor]] = defaultdict(list)
        dev_u, dev_p, widths = [], [], []
        start = model.prior_net.log_scale_u.clone()
        for row, split, out in _outputs(stage, model, progress):
            q, (m_u, logs_u) = out["q"], out["p_u"]
            u = (gaussian.sample(q.m_u, q.logs_u) - m_u) * (-logs_u).exp()
            draws = DRAWS if split == "dev" else 1
            p = [out["p_p"].noise(gaussian.sample(q.m_p, q.logs_p))[0].T for _ in range(draws)]
            groups_u[_prompt(row)].append(u[0])
            groups_p[(_prompt(row), *row["symbols"])].append(p[0])
            widths.append(logs_u[0])
            if split == "dev":
                dev_u.append(u)
                dev_p += p
    finally:
        torch.random.set_rng_state(state)
    noise_u = _deviations(_repeated(groups_u.values()), dev_u)
    repeated = _repeated(groups_p.values())
    noise_p = _deviations(repeated, dev_p)
    prior = model.prior_net
    prior.calibrate(noise_u, noise_p)
    figures = {
        "prior_scale_u": prior.log_scale_u.mean().exp().item(),
        "prior_scale_p": prior.log_scale_p.mean().exp().item(),
        "repeated_prompts": float(len(repeated)),
    }
    standardise(model, torch.stack(widths).mean(0).exp() * (prior.log_scale_u - start).exp())
    return {**figures, "expansion": expansion(stage, model)}


@torch.no_grad()
def expansion(stage: VAEStage, model: SpeechVAE) -> float:
    """How many times more f0 moves within the recordings of the dev split than within readings of their texts.

    At least 1, at most 1.3. What a model expects of many possible contours lies between them and is flatter than each
    (Toda & Tokuda, 2007, of HMM voices: global variance).
    """
    data = stage.batches("dev")
    generator = torch.Generator().manual_seed(stage.train.seed)
    moves = []
    for row in data.rows:
        batch = data.collate([row])
        assert batch.x is not None
        out = model(batch, teacher=0.0, temperature=0.0)
        h, g = model.encode(batch.x, out["x_mask"], batch.speaker, batch.sentence)
        drawn = model.prosody(h, out["x_mask"], model.sample(h, out["x_mask"], g, generator=generator), g)
        voiced = out["true"].vuv >= VOICED
        if voiced.sum() > 1:
            moves.append(torch.stack([p.f0[voiced].std() for p in (out["true"], drawn)]))
    recorded, read = torch.stack(moves).mean(0).tolist()
    return min(max(recorded / max(read, 1e-6), 1.0), LARGEST_EXPANSION)


def _repeated(groups: Iterable[list[Tensor]]) -> list[Tensor]:
    """The groups of several readings, stacked; none where they are too few to tell anything."""
    found = [torch.stack(g) for g in groups if len(g) > 1]
    return found if len(found) >= FEWEST_GROUPS else []


def _deviations(repeated: list[Tensor], held_out: list[Tensor]) -> Tensor:
    """What readings [R, D] or [R, N, D] differ by from the mean of their prompt, [K, D]; without any, `held_out`."""
    if not repeated:
        return torch.cat(held_out)
    # n / (n - 1): deviations from a mean of the few readings themselves are too small.
    return torch.cat([((g - g.mean(0)) * (len(g) / (len(g) - 1)) ** 0.5).flatten(0, -2) for g in repeated])


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
