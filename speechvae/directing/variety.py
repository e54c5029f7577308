"""Readings that differ as much as they can: farthest-point choice from a pool drawn from the prior."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from speechvae.directing.drawing import LARGEST_SEED, Encoded, Mood, Shift, colour, density, fine_noise
from speechvae.errors import SpeechVAEError
from speechvae.models.decoder import Prosody
from speechvae.models.speech_vae import Latents
from speechvae.takes import Take

if TYPE_CHECKING:
    from speechvae.synthesis import Voice

# The farthest readings of a pool are its strangest, and choosing by distance would pick exactly those: the part of the
# pool that the prior holds for the least likely is left out first.
IMPLAUSIBLE = 0.15
LARGEST_POOL = 1000


def diverse_takes(voice: Voice, base: Take, n: int, pool: int | None = None) -> list[Take]:
    """`n` readings of the text of `base` that differ the most, from a pool with the seeds base.seed, base.seed + 1 ...

    The first is the one in the middle. A seed alone gives the same reading again: `voice.say(text, seed=take.seed)`.

    Raises SpeechVAEError for a pool too small for `n`, a text without words, and temperatures that leave no variety.
    """
    pool = max(32, 6 * n) if pool is None else pool
    if not 1 <= n <= pool - int(IMPLAUSIBLE * pool) or pool > LARGEST_POOL:
        raise SpeechVAEError(
            f"{n} takes from a pool of {pool}: at least one take, at most {LARGEST_POOL} in the pool, and "
            f"{IMPLAUSIBLE:.0%} of the pool, the least plausible, are left out"
        )
    if base.temperature == 0 and base.style_temperature == 0:
        raise SpeechVAEError("both temperatures are 0: all readings would be the same")
    seeds = [(base.seed + i) % LARGEST_SEED for i in range(pool)]
    features, nats = describe_pool(voice, base, seeds)
    kept = np.sort(np.argsort(-nats, kind="stable")[: pool - int(IMPLAUSIBLE * pool)])
    return [voice.fill(replace(base, seed=seeds[kept[i]])) for i in farthest(standardised(features)[kept], n)]


@torch.inference_mode()
def describe_pool(voice: Voice, base: Take, seeds: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Readings of a text, one a seed: features [P, 3 W] (see `word_features`) and log densities [P] in nats."""
    cfg, model = voice.settings.vae, voice.model
    moods = [Mood(seed, base.steadiness, cfg.z_u_dim) for seed in seeds]
    shift = Shift.along(voice.settings, base.axes)
    features: list[np.ndarray] = []
    nats = np.zeros(len(seeds))
    for index, sentence in enumerate(voice.frontend.stream(base.text, ssml=base.ssml)):
        e = voice.encode(sentence, base.speaker).repeat(len(seeds))
        fine = torch.cat([fine_noise(seed, index, cfg.z_p_dim, len(e.symbols)) for seed in seeds])
        style = torch.cat([mood.step() for mood in moods])
        z = colour(model, e, Latents(style * base.style_temperature, fine * base.temperature), shift)
        nats += density(model, e, z, shift).double().numpy()
        features.append(word_features(model.prosody(e.h, e.x_mask, z, e.g), e))
    if not features:
        raise SpeechVAEError("the text has no words: there is nothing to say differently")
    return np.concatenate(features, 1), nats


def word_features(prosody: Prosody, e: Encoded) -> np.ndarray:
    """Mean normalised log f0, mean normalised energy and log duration of each word: [B, 3 W]."""
    owners = torch.tensor(e.owners)
    of_word = (owners[:, None] == torch.arange(len(e.sentence.words))).float()
    w, f0, vuv, energy = prosody.logw.exp()[:, 0], prosody.f0[:, 0], prosody.vuv[:, 0], prosody.energy[:, 0]
    length = w @ of_word
    pitch = ((f0 * w * vuv) @ of_word) / ((w * vuv) @ of_word).clamp_min(1e-6)
    return torch.cat([pitch, (energy * w) @ of_word / length, length.log()], 1).double().numpy()


def standardised(features: np.ndarray) -> np.ndarray:
    """Each column of [P, F] with mean 0 and standard deviation 1 (0 where it does not vary)."""
    spread = features.std(0)
    return (features - features.mean(0)) / np.where(spread > 1e-9, spread, np.inf)


def farthest(points: np.ndarray, n: int) -> list[int]:
    """Rows of [P, F]: the medoid, then each time the one whose nearest chosen row is farthest away."""
    squares = (points**2).sum(1)
    apart = np.sqrt(np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0.0))
    chosen = [int(apart.sum(1).argmin())]
    nearest = apart[chosen[0]].copy()
    for _ in range(n - 1):
        nearest[chosen] = -1.0
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, apart[chosen[-1]])
    return chosen
