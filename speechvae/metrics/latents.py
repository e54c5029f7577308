"""What the latents of a voice carry: recordings rebuilt from them, units in use, factors recovered, smooth paths.

Everything here stops at the prosody heads or at the log-mel; no vocoder is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from speechvae.directing.prosody_edits import between
from speechvae.errors import SpeechVAEError
from speechvae.models.decoder import Prosody
from speechvae.models.speech_vae import F0_SCALE, Latents, SpeechVAE
from speechvae.nn import gaussian
from speechvae.nn.align import durations_to_path
from speechvae.nn.batch import Batch
from speechvae.nn.layers import sequence_mask

if TYPE_CHECKING:
    from speechvae.metrics.recordings import Clip

ACTIVE_VARIANCE = 0.01  # of posterior means, in variances of the (learned) prior: more makes a unit active
VOICED = 0.3  # share of voiced frames from which a phoneme's f0 counts, as in training
SEMITONES = 12 / math.log(2)
CEPSTRA = 24
QUIET = 40.0  # dB under a clip's loudest frame: what is softer is silence, easy to match
SOURCES = ("posterior", "prior sample", "prior mean")
STEPS, TOLERANCE, NOTICEABLE = 7, 0.02, 0.005  # of a path; share of its change; relative change worth counting


@dataclass
class Aligned:
    """A recording as the VAE sees it (a batch of one): text, frames, durations, measured prosody.

    `words`: [first, last + 1] of each word's symbols.
    """

    id: str
    x_mask: Tensor  # [1, 1, N]
    speaker: Tensor  # [1]
    h: Tensor  # [1, H, N]
    g: Tensor  # [1, G, 1]
    y: Tensor  # [1, M, T]
    w: Tensor  # [1, N] whole frames, sum T
    prosody: Prosody
    words: list[tuple[int, int]]


@torch.inference_mode()
def aligned(model: SpeechVAE, batch: Batch, words: list[tuple[int, int]]) -> Aligned:
    """The only clip of a batch of the prepared corpus."""
    x, y, w = batch.x, batch.y, batch.w
    assert x is not None and y is not None and w is not None and len(x) == 1
    x_mask = torch.ones(1, 1, x.shape[1], dtype=torch.bool)
    h, g = model.encode(x, x_mask, batch.speaker, batch.sentence)
    prosody = model.measure(batch, durations_to_path(w, y.shape[2]))
    return Aligned(batch.ids[0], x_mask, batch.speaker, h, g, y, w, prosody, words)


@torch.inference_mode()
def aligned_recording(voice: Any, clip: Clip, speaker: str | None) -> Aligned:
    """A levelled recording, aligned with its text by the voice's aligner."""
    from speechvae.recordings.analysis import analyse

    a = analyse(voice, clip.wav, clip.rate, clip.text, speaker, level=False)
    e = a.encoded
    spans = a.word_spans()
    return Aligned(clip.id, e.x_mask, e.speaker, e.h, e.g, a.recording.mel[None], a.alignment.w[None], a.prosody, spans)


@dataclass
class Posterior:
    """Posterior of one recording: its means, these as noise of the prior, the divergences from the prior in nats."""

    z: Latents
    noise: Latents
    kl_u: float
    kl_p: float  # of the whole sequence


@torch.inference_mode()
def posterior(model: SpeechVAE, clip: Aligned, draws: int = 4, generator: torch.Generator | None = None) -> Posterior:
    """Means and divergences; that of z_p from `draws` draws, since a flow has no closed form."""
    frames = clip.y.shape[2]
    path = durations_to_path(clip.w, frames)
    y_mask = sequence_mask(torch.tensor([frames]), frames)
    q, z = model.posterior(clip.y, y_mask, path, clip.prosody, clip.h, clip.x_mask, clip.g, 0.0)
    m_u, logs_u = model.prior_u(clip.h, clip.x_mask, clip.g)
    kl_u = gaussian.kl(q.m_u, q.logs_u, m_u, logs_u).sum()
    prior = model.prior_p(clip.h, clip.x_mask, clip.g, z.z_u)
    drawn = [gaussian.sample(q.m_p, q.logs_p, 1.0, generator) for _ in range(draws)]
    log_p = torch.stack([prior.log_prob(d).sum() for d in drawn]).mean()
    noise = Latents((q.m_u - m_u) * (-logs_u).exp(), prior.noise(z.z_p))
    return Posterior(z, noise, float(kl_u), float(-gaussian.entropy(q.logs_p).sum() - log_p))


# -- reconstruction ------------------------------------------------------------------------------------------------


def log_mel_distortion(a: np.ndarray, b: np.ndarray) -> float:
    """Mel-cepstral distortion in dB of aligned log-mels [M, T], over the frames within 40 dB of `a`'s loudest."""
    from scipy.fft import dct

    loud = np.logaddexp.reduce(2 * a, axis=0) * 10 / math.log(10)
    ca, cb = (dct(x, type=2, axis=0)[1 : CEPSTRA + 1] / len(x) for x in (a, b))
    gaps = np.sqrt(2 * np.square(ca - cb).sum(0))[loud > loud.max() - QUIET]
    return float(10 / math.log(10) * gaps.mean())


@torch.inference_mode()
def reconstruction_errors(model: SpeechVAE, clip: Aligned, z: Latents) -> dict[str, float]:
    """How far the reading `z` is from the recording.

    `f0_square`: mean square of the f0 error in semitones over voiced frames (each phoneme's mean f0 against the
    head's), `f0_frames` their number, `f0_correlation`; `log_duration`, `log_word_duration`: mean absolute difference
    of log durations of the phonemes in words, and of the words; `mcd` of the mel decoded with the heads' f0 and energy
    and the recording's durations.
    """
    guess, true = model.prosody(clip.h, clip.x_mask, z, clip.g), clip.prosody
    use = (true.vuv[0, 0] >= VOICED).numpy()
    weight = (clip.w[0] * true.vuv[0, 0]).numpy()[use]
    a, b = (p.f0[0, 0].numpy()[use] * F0_SCALE * SEMITONES for p in (true, guess))
    inside = [i for first, last in clip.words for i in range(first, last)]
    w, v = clip.w[0].numpy().astype(float), guess.logw[0, 0].exp().numpy()
    words = [abs(math.log(w[i:j].sum() / v[i:j].sum())) for i, j in clip.words if j > i]
    mel = model.decode(clip.h, z, clip.g, guess, clip.w)
    nan = float("nan")
    return {
        "f0_square": float(np.average(np.square(a - b), weights=weight)) if len(a) else nan,
        "f0_frames": float(weight.sum()),
        "f0_correlation": _correlation(a, b, weight),
        "log_duration": float(np.abs(np.log(w[inside]) - np.log(v[inside])).mean()) if inside else nan,
        "log_word_duration": float(np.mean(words)) if words else nan,
        "mcd": log_mel_distortion(clip.y[0].numpy().astype(float), mel[0].numpy().astype(float)),
    }


def _correlation(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> float:
    if len(a) < 3:
        return float("nan")
    a, b = a - np.average(a, weights=weight), b - np.average(b, weights=weight)
    scale = math.sqrt(float((weight * a * a).sum() * (weight * b * b).sum()))
    return float((weight * a * b).sum()) / scale if scale > 1e-9 else float("nan")


@dataclass
class LatentUse:
    """`sources`: by where the latents come from, the errors of reconstructions (f0 in semitones, log durations, MCD in
    dB). `gain`: by how many percent the posterior's errors lie under the prior mean's. `levels`: for z_u and z_p the
    units in use, their number, nats (z_p: a phoneme). `clips`: how many were measured.
    """

    sources: dict[str, dict[str, float]]
    gain: dict[str, float]
    levels: dict[str, dict[str, float]]
    clips: int


def latent_use(model: SpeechVAE, clips: Iterable[Aligned], seed: int = 0) -> LatentUse:
    """Rebuild recordings from their posterior means, from a draw of the prior and from its mean."""
    generator = torch.Generator().manual_seed(seed)
    rows: dict[str, list[dict[str, float]]] = {s: [] for s in SOURCES}
    found: list[Posterior] = []
    for clip in clips:
        q = posterior(model, clip, generator=generator)
        found.append(q)
        with torch.inference_mode():
            drawn = model.sample(clip.h, clip.x_mask, clip.g, 1.0, 1.0, generator)
            expected = model.sample(clip.h, clip.x_mask, clip.g, 0.0, 0.0)
        for source, z in zip(SOURCES, (q.z, drawn, expected), strict=True):
            rows[source].append(reconstruction_errors(model, clip, z))
    if not found:
        raise SpeechVAEError("the use of the latents needs at least one aligned recording")
    sources = {s: _pooled(r) for s, r in rows.items()}
    best, plain = sources["posterior"], sources["prior mean"]
    names = [k for k in best if k != "f0_correlation"]
    gain = {k: 100 * (1 - best[k] / plain[k]) if plain[k] > 0 else float("nan") for k in names}
    symbols = sum(q.z.z_p.shape[2] for q in found)
    levels = {
        "z_u": _level(torch.cat([q.noise.z_u for q in found]), sum(q.kl_u for q in found) / len(found)),
        "z_p": _level(torch.cat([q.noise.z_p[0].T for q in found]), sum(q.kl_p for q in found) / symbols),
    }
    return LatentUse(sources, gain, levels, len(found))


def _level(means: Tensor, nats: float) -> dict[str, float]:
    """Figures of posterior means [n, D] as noise."""
    return {"active": float(active_units(means.numpy())), "units": float(means.shape[1]), "nats": nats}


def active_units(means: np.ndarray) -> int:
    """How many dimensions of posterior means [n, D], as noise of the prior, vary by more than 0.01 (variance)."""
    return int((means.var(axis=0, ddof=1) > ACTIVE_VARIANCE).sum()) if len(means) > 1 else 0


def _pooled(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over clips; the f0 error over all voiced frames."""
    def mean(key: str) -> float:
        values = [r[key] for r in rows if math.isfinite(r[key])]
        return float(np.mean(values)) if values else float("nan")

    voiced = [r for r in rows if math.isfinite(r["f0_square"])]
    total = sum(r["f0_frames"] for r in voiced)
    square = sum(r["f0_square"] * r["f0_frames"] for r in voiced)
    rmse = math.sqrt(square / total) if total > 0 else float("nan")
    names = ("f0_correlation", "log_duration", "log_word_duration", "mcd")
    return {"f0_rmse_semitones": rmse, **{n: mean(n) for n in names}}


# -- factors -------------------------------------------------------------------------------------------------------


def utterance_latents(z: Latents) -> np.ndarray:
    """z_u and the mean z_p of one reading, as one vector [Du + Dp]."""
    return torch.cat([z.z_u[0], z.z_p[0].mean(1)]).numpy()


def recovered(latents: np.ndarray, factor: np.ndarray, new_latents: np.ndarray, new_factor: np.ndarray) -> float:
    """R² of a linear regression of a factor [n] on latents [n, D], on readings [m] that it was not fitted to."""
    x, y = (np.column_stack([v, np.ones(len(v))]) for v in (latents, new_latents))
    rest = new_factor - y @ np.linalg.lstsq(x, factor, rcond=None)[0]
    return float(1 - np.mean(np.square(rest)) / np.var(new_factor))


# -- smoothness ----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def path_prosody(model: SpeechVAE, encoded: Any, a: Latents, b: Latents, steps: int = STEPS) -> Prosody:
    """Prosody [steps, 1, N] of the blends of two readings of one text; `encoded`: its x_mask, h, g."""
    first, last = (model.prosody(encoded.h, encoded.x_mask, z, encoded.g) for z in (a, b))
    return between(first, last, torch.linspace(0, 1, steps)[:, None, None])


def path_figures(prosody: Prosody) -> tuple[np.ndarray, np.ndarray]:
    """Mean log f0 (weighted by voicing and duration) and log total duration of each reading on a path, [steps]."""
    w = prosody.logw.exp()
    weight = w * prosody.vuv
    log_f0 = (weight * prosody.f0).sum((1, 2)) / weight.sum((1, 2)).clamp_min(1e-6) * F0_SCALE
    return log_f0.numpy().astype(float), w.sum((1, 2)).log().numpy().astype(float)


def path_contours(model: SpeechVAE, prosody: Prosody, speaker: Tensor) -> list[np.ndarray]:
    """For a picture: of each reading on a path its phonemes' centres (s) and f0 (Hz, nan = unvoiced), [2, N]."""
    w = prosody.logw[:, 0].exp()
    centres = (w.cumsum(1) - w / 2) / model.audio.frame_rate
    hz = model.f0_hz(prosody.f0, speaker.expand(len(w)))[:, 0]
    hz = torch.where(prosody.vuv[:, 0] >= 0.5, hz, torch.nan)
    return [np.stack([t, f]) for t, f in zip(centres.numpy(), hz.numpy(), strict=True)]


def monotone(values: np.ndarray) -> bool | None:
    """Do values [steps] (logs) go one way? Reversals of up to 2 % of the whole change are forgiven.

    None where the ends differ by less than 0.5 %: nobody hears in which direction such a path goes.
    """
    change = float(values[-1] - values[0])
    if abs(change) < NOTICEABLE:
        return None
    return bool((np.diff(values) * math.copysign(1, change) >= -TOLERANCE * abs(change)).all())


def smoothness(
    model: SpeechVAE, texts: Sequence[Any], pairs: int = 200, seed: int = 0, temperature: float = 1.0
) -> dict[str, float]:
    """Share of blends between two prior readings of a text along which mean f0, and duration, go one way.

    `texts`: encoded texts (x_mask, h, g), used in turn. `f0`, `duration`, `both`: shares of those paths whose ends
    differ by 0.5 % or more (`both`: in both); `*_pairs`: how many these are.
    """
    if not texts:
        raise SpeechVAEError("smoothness needs at least one text")
    generator = torch.Generator().manual_seed(seed)
    seen: dict[str, list[bool]] = {"f0": [], "duration": [], "both": []}
    for i in range(pairs):
        e = texts[i % len(texts)]
        with torch.inference_mode():
            a, b = (model.sample(e.h, e.x_mask, e.g, temperature, temperature, generator) for _ in range(2))
        results = [monotone(v) for v in path_figures(path_prosody(model, e, a, b))]
        for name, result in zip(("f0", "duration"), results, strict=True):
            if result is not None:
                seen[name].append(result)
        if None not in results:
            seen["both"].append(all(results))
    shares = {k: float(np.mean(v)) if v else float("nan") for k, v in seen.items()}
    return {**shares, **{f"{k}_pairs": float(len(v)) for k, v in seen.items()}}


@torch.inference_mode()
def example_path(model: SpeechVAE, encoded: Any, seed: int = 1) -> list[np.ndarray]:
    """The contours (see :func:`path_contours`) between two prior readings of one encoded text."""
    generator = torch.Generator().manual_seed(seed)
    a, b = (model.sample(encoded.h, encoded.x_mask, encoded.g, 1.0, 1.0, generator) for _ in range(2))
    return path_contours(model, path_prosody(model, encoded, a, b), encoded.speaker)
