"""Directions in the latents that move pitch, range, rate or energy, found from a training set and calibrated.

With J the response of the four properties to each latent (by the prosody heads, averaged over readings drawn from the
prior) and C the covariance of the training clips' posterior means within speakers, the axes are (J'CJ)^-1 J'C: the
direction in which the clips' latents differ when one property changes and the other three stay. Among all directions
with that effect it is the likeliest one. A few Newton steps then see to it that +1 moves its property by one standard
deviation of the training set, although the heads are not linear.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from speechvae.dataset import UtteranceBatches, read_manifest
from speechvae.errors import SpeechVAEError
from speechvae.models.decoder import Prosody
from speechvae.models.speech_vae import F0_SCALE, Latents
from speechvae.nn.align import durations_to_path
from speechvae.nn.layers import sequence_mask
from speechvae.sentence_encoder import SENTENCES, SentenceEncoder
from speechvae.voice_files import Axis, VoiceSettings, find_voice, write_settings

if TYPE_CHECKING:
    from speechvae.synthesis import Voice

PROPERTIES = ("pitch", "range", "rate", "energy")
UNITS = {"pitch": "semitones", "range": "times", "rate": "times", "energy": "dB"}
TEXTS, ROUNDS, FEWEST = 50, 3, 40  # texts and rounds of the calibration; clips without which nothing is fitted
LARGEST = 6.0  # standard deviations of the latents that a step of one may take: farther away no recording lies
OUTLIER = 4.0  # robust standard deviations from the speaker's median: a clip with one voiced sound has no range
RIDGE = 1e-3
BATCH = 16


@dataclass
class Fit:
    """Axes and how well they do.

    `axes`: by property; `moves`: for each axis, by how many standard deviations +1 on it moves each property, mean of a
    step up and a step down; `found`: R² with which a linear regression on the latents tells each property; `length`: of
    each axis, also of those that were too long to be kept, in standard deviations (Mahalanobis) of the training set's
    latents; `clips` used.
    """

    axes: dict[str, Axis]
    moves: dict[str, dict[str, float]]
    found: dict[str, float]
    length: dict[str, float]
    clips: int

    def table(self) -> str:
        """What +1 on each axis does, as text."""
        lines = [f"{'axis':8} {'one sd':>16} {'length':>7} {'R²':>5}   moves, in sd: " + " ".join(PROPERTIES)]
        for name in PROPERTIES:
            if name not in self.axes:
                lines.append(f"{name:8} {'left out':>16} {self.length[name]:7.1f} {self.found[name]:5.2f}")
                continue
            size = f"{self.axes[name].sd:.3g} {self.axes[name].unit}"
            moves = " ".join(f"{self.moves[name][other]:+.2f}" for other in PROPERTIES)
            lines.append(f"{name:8} {size:>16} {self.length[name]:7.1f} {self.found[name]:5.2f}   {moves}")
        return "\n".join(lines)


def properties(p: Prosody, x_mask: Tensor) -> Tensor:
    """Pitch, range, rate and energy of readings [B, 4], natural logs, from a prosody a phoneme [B, 1, N].

    Mean log f0, the log of its standard deviation and mean energy are weighted by duration and voicing; the rate is the
    log of the symbols a frame. The first and the last symbol, the silence around the speech, do not count.
    """
    inner = x_mask.clone()
    inner[..., 0] = False
    inner.scatter_(2, x_mask.sum(2, keepdim=True) - 1, torch.zeros_like(inner[..., :1]))
    w = p.logw.exp() * inner
    weight = w * p.vuv.clamp(0, 1)
    total = weight.sum(2).clamp_min(1e-6)
    mean = (weight * p.f0).sum(2) / total
    spread = ((weight * (p.f0 - mean[..., None]).square()).sum(2) / total).clamp_min(1e-8).sqrt()
    energy = (weight * p.energy).sum(2) / total
    rate = inner.sum(2).log() - w.sum(2).log()
    return torch.cat([mean * F0_SCALE, (spread * F0_SCALE).log(), rate, energy], 1)


def fit_axes(work: str | Path, voice: Voice, limit: int | None = None, progress: bool = False) -> dict[str, Axis]:
    """The axes alone; see :func:`fit`."""
    return fit(work, voice, limit, progress).axes


def fit(
    work: str | Path, voice: Voice, limit: int | None = None, progress: bool = False, seed: int = 0
) -> Fit:
    """Find a voice's axes in the folder that `speechvae prepare` and the aligner filled.

    Args:
        limit: at most so many training clips, spread evenly.

    Raises:
        SpeechVAEError: another voice's folder, fewer than 40 clips, or a property that the latents do not carry.
    """
    data = _clips(work, voice, limit)
    latents, values, speakers = _training_set(voice, data, progress)
    if len(latents) < FEWEST:
        raise SpeechVAEError(f"{work} has {len(latents)} training clips that can be used; {FEWEST} are needed at least")
    keep = _usual(values, speakers)
    inner, outer = _within(latents[keep], speakers[keep]), _within(values[keep], speakers[keep])
    sd, scale = outer.std(0), inner.std(0) + 1e-8
    found = _r_squared(inner / scale, outer / sd)
    base = _readings(voice, data, seed)
    names = list(PROPERTIES)
    lengths: dict[str, float] = {}
    while names:
        directions, moves, far = _calibrate(voice, base, inner, sd, [PROPERTIES.index(n) for n in names])
        lengths |= dict(zip(names, far.tolist(), strict=True))
        if far.max() <= LARGEST:
            break
        names.pop(int(far.argmax()))
    if not names:
        raise SpeechVAEError(
            f"the latents of {voice.name} move neither pitch nor range, rate or energy: train its VAE longer"
        )
    du = voice.settings.vae.z_u_dim
    axes = {}
    for name, row in zip(names, directions, strict=True):
        size = round(_in_unit(name, float(sd[PROPERTIES.index(name)])), 4)
        z_u, z_p = ([round(float(v), 6) for v in part] for part in (row[:du], row[du:]))
        axes[name] = Axis(z_u=z_u, z_p=z_p, sd=size, unit=UNITS[name])
    shown = {n: dict(zip(PROPERTIES, row.tolist(), strict=True)) for n, row in zip(names, moves, strict=True)}
    return Fit(axes, shown, dict(zip(PROPERTIES, found, strict=True)), lengths, int(keep.sum()))


def _in_unit(name: str, log: float) -> float:
    """A natural log as semitones, a factor, or dB."""
    if UNITS[name] == "times":
        return math.exp(log)
    return log * (12 / math.log(2) if name == "pitch" else 20 / math.log(10))


# -- the training set ----------------------------------------------------------------------------------------------


def _clips(work: str | Path, voice: Voice, limit: int | None) -> UtteranceBatches:
    s = voice.settings
    rows = read_manifest(work, "train")
    strangers = sorted({r["speaker"] for r in rows} - set(s.speakers))
    unknown = sorted({x for r in rows for x in r["symbols"]} - set(s.symbols))
    for what, names in (("speakers", strangers), ("symbols", unknown)):
        if names:
            raise SpeechVAEError(
                f"{work} has {what} that the voice {voice.name} lacks: {' '.join(names[:8])}; axes are found in the "
                "folder in which the voice was trained"
            )
    index = {symbol: i for i, symbol in enumerate(s.symbols)}
    meanings = None
    if s.vae.sentence_encoder is not None:
        encoder = SentenceEncoder(s.vae.sentence_encoder)
        meanings = encoder.table({r["text"] for r in rows}, Path(work) / SENTENCES)
    data = UtteranceBatches(work, rows, s.audio, s.vae.train, index, s.speakers, True, meanings)
    if limit is not None and limit < len(data.rows):
        data.rows = [data.rows[i] for i in np.linspace(0, len(data.rows) - 1, limit).round().astype(int)]
    return data


@torch.inference_mode()
def _training_set(voice: Voice, data: UtteranceBatches, progress: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Posterior means [n, Du + Dp] (z_p: its mean over the symbols), properties [n, 4], speakers [n]."""
    from tqdm import tqdm

    # like lengths together: padding costs time
    rows = sorted(data.rows, key=lambda r: r["duration"])
    model, latents, values, speakers = voice.model, [], [], []
    for at in tqdm(range(0, len(rows), BATCH), desc="axes", disable=not progress):
        b = data.collate(rows[at : at + BATCH])
        assert b.x is not None and b.y is not None and b.w is not None
        assert b.x_lengths is not None and b.y_lengths is not None
        x_mask, y_mask = sequence_mask(b.x_lengths, b.x.shape[1]), sequence_mask(b.y_lengths, b.y.shape[2])
        path = durations_to_path(b.w, b.y.shape[2])
        h, g = model.encode(b.x, x_mask, b.speaker, b.sentence)
        true = model.measure(b, path)
        _, z = model.posterior(b.y, y_mask, path, true, h, x_mask, g, 0.0)
        mean = (z.z_p * x_mask).sum(2) / x_mask.sum(2)
        latents.append(torch.cat([z.z_u, mean], 1).numpy())
        values.append(properties(true, x_mask).numpy())
        speakers.append(b.speaker.numpy())
    if not latents:
        return np.zeros((0, 1)), np.zeros((0, 4)), np.zeros(0, int)
    x, y, who = (np.concatenate(v) for v in (latents, values, speakers))
    good = np.isfinite(y).all(1)
    return x[good].astype(float), y[good].astype(float), who[good]


def _within(values: np.ndarray, speakers: np.ndarray) -> np.ndarray:
    """Values [n, D] less their speaker's mean."""
    out = values.copy()
    for s in np.unique(speakers):
        out[speakers == s] -= values[speakers == s].mean(0)
    return out


def _usual(values: np.ndarray, speakers: np.ndarray) -> np.ndarray:
    """Which clips [n] lie near their speaker's medians in every property [n, 4]."""
    keep = np.ones(len(values), bool)
    for s in np.unique(speakers):
        own = values[speakers == s]
        gap = np.abs(own - np.median(own, 0))
        keep[speakers == s] = (gap <= OUTLIER * 1.4826 * np.median(gap, 0) + 1e-9).all(1)
    return keep


def _r_squared(latents: np.ndarray, values: np.ndarray) -> list[float]:
    """How well a ridge regression on latents [n, D] tells values [n, K]; both centred, of unit variance."""
    penalty = RIDGE * len(latents) * np.eye(latents.shape[1])
    rest = values - latents @ np.linalg.solve(latents.T @ latents + penalty, latents.T @ values)
    return [float(v) for v in 1 - rest.var(0) / values.var(0)]


# -- calibration ---------------------------------------------------------------------------------------------------


@dataclass
class _Text:
    """An encoded text of the training set, and the noise of one reading of it."""

    h: Tensor
    x_mask: Tensor
    g: Tensor
    noise: Latents

    def repeat(self, k: int) -> _Text:
        h, x_mask, g = (v.expand(k, -1, -1) for v in (self.h, self.x_mask, self.g))
        return _Text(h, x_mask, g, Latents(self.noise.z_u.expand(k, -1), self.noise.z_p.expand(k, -1, -1)))


@torch.inference_mode()
def _readings(voice: Voice, data: UtteranceBatches, seed: int) -> list[_Text]:
    """Texts of the training set, each with the noise of a reading."""
    rows = [data.rows[i] for i in np.linspace(0, len(data.rows) - 1, min(TEXTS, len(data.rows))).round().astype(int)]
    cfg, index = voice.settings.vae, {symbol: i for i, symbol in enumerate(voice.settings.symbols)}
    generator = torch.Generator().manual_seed(seed)
    found = []
    for row in rows:
        x = torch.tensor([[index[s] for s in row["symbols"]]])
        x_mask = torch.ones(1, 1, x.shape[1], dtype=torch.bool)
        meaning = None if data.sentences is None else data.sentences[row["text"]][None]
        h, g = voice.model.encode(x, x_mask, torch.tensor([voice.settings.speakers.index(row["speaker"])]), meaning)
        z_u = torch.randn(1, cfg.z_u_dim, generator=generator)
        z_p = torch.randn(1, cfg.z_p_dim, x.shape[1], generator=generator)
        found.append(_Text(h, x_mask, g, Latents(z_u, z_p)))
    return found


@torch.inference_mode()
def effect(voice: Voice, base: Sequence[_Text], directions: np.ndarray, step: float = 1.0) -> np.ndarray:
    """Mean change of the properties [K, 4] (natural logs) for a step of one along directions [K, Du + Dp].

    Half the difference between a step up and a step down, shifted as takes are.
    """
    from speechvae.directing.drawing import Shift, colour

    du = voice.settings.vae.z_u_dim
    d = torch.from_numpy(np.concatenate([directions, -directions]) * step).float()
    total = np.zeros((len(directions), 4))
    for text in base:
        e: Any = text.repeat(len(d))
        z = colour(voice.model, e, e.noise, Shift(d[:, :du], d[:, du:, None]))
        found = properties(voice.model.prosody(e.h, e.x_mask, z, e.g), e.x_mask)
        up, down = found.double().numpy().reshape(2, -1, 4)
        total += (up - down) / (2 * step)
    return total / len(base)


def _calibrate(
    voice: Voice, base: Sequence[_Text], latents: np.ndarray, sd: np.ndarray, places: list[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Axes [K, D] of the properties `places`, what they move [K, 4] (in `sd`), and their lengths [K] (inf: no answer).

    `latents` [n, D]: posterior means within speakers.
    """
    scale = latents.std(0) + 1e-8
    white = latents / scale
    covariance = white.T @ white / len(white) + RIDGE * np.eye(white.shape[1])
    response = (effect(voice, base, np.diag(scale), 0.5) / sd)[:, places]  # [D, K]
    power = response.T @ covariance @ response
    power += 1e-9 * np.trace(power) * np.eye(len(places))
    directions = np.linalg.solve(power, response.T @ covariance) * scale
    moves = effect(voice, base, directions) / sd
    for _ in range(ROUNDS):
        mix = moves[:, places]
        if not np.isfinite(mix).all() or np.linalg.cond(mix) > 30:
            break  # far outside of what the heads know; the length will tell
        directions = np.linalg.solve(mix, directions)
        moves = effect(voice, base, directions) / sd
    steps = directions / scale
    length = np.sqrt(np.einsum("ij,jk,ik->i", steps, np.linalg.inv(covariance), steps))
    length[np.diag(moves[:, places]) < 0.3] = np.inf  # the heads do not answer at all
    return directions, moves, length


# -- the voice -----------------------------------------------------------------------------------------------------


def write_axes(folder: str | Path, axes: dict[str, Axis], force: bool = False) -> Path:
    """Put axes into a voice's `voice.yaml`; the file is replaced whole. Everything else in it stays as it is."""
    import yaml

    path = find_voice(folder) / "voice.yaml"
    data: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    if data.get("axes") and not force:
        raise SpeechVAEError(f"{path} holds axes already ({', '.join(data['axes'])}): replace them with --force")
    data["axes"] = {name: axis.model_dump(mode="json") for name, axis in axes.items()}
    VoiceSettings.model_validate(data)
    return write_settings(path.parent, data)
