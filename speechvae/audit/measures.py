"""Which clips of a corpus are suspicious? The voice listens to each with its text and tells what is unusual about it.

Each clip gets measures from the aligner (does the text fit?), from the VAE (could the speaker have said it so?) and
from the samples (noise, clipping, cut ends). A measure counts by how far it lies on the bad side of its speaker's
median, in robust standard deviations; the suspicion of a clip combines its largest ones (`judge`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from speechvae.nn import gaussian
from speechvae.nn.align import durations_to_path, pool
from speechvae.recordings.analysis import LIMITS, Analysis, analyse_recording, listen
from speechvae.validation import frame_levels, loud_and_floor, measure

if TYPE_CHECKING:
    from speechvae.synthesis import Voice
    from speechvae.text import Sentence

Measures = dict[str, Any]
COLOURS = 12  # groups of mel bands
CAP = 12.0  # robust standard deviations: more of one measure does not outweigh all others
BROKEN = 2 * CAP  # the suspicion of a clip that cannot be examined at all
VERSION = 1  # to be raised whenever `examine` gives other figures: they are kept between runs


@dataclass(frozen=True)
class Kind:
    """A measure: what it says in words, in which direction it is bad (+1, -1, 0 = both), the least spread it has."""

    words: str
    bad: int
    spread: float


KINDS = {
    "fit": Kind("the text hardly fits the sound", -1, 0.08),
    "worst_word": Kind("a word hardly fits the sound", -1, 0.5),
    "mel_nats": Kind("the sound is unlike what the voice expects of this speaker", 1, 3.0),
    "kl_u": Kind("an unusual manner of speaking", 1, 2.0),
    "kl_p": Kind("unusual sounds", 1, 0.3),
    "prosody_nats": Kind("pitch, loudness or timing that the voice cannot explain", 1, 0.1),
    "longest": Kind("a sound is far too long", 1, 0.15),
    "shortest": Kind("a sound is far too short", -1, 0.15),
    "tempo": Kind("much faster or slower than the text lets expect", 0, 0.08),
    "pitch": Kind("an unusual pitch for this speaker", 0, 0.05),
    "colour": Kind("another voice, room or microphone", 1, 0.25),
    "contrast": Kind("noise behind the speech", -1, 3.0),
    "clipped": Kind("the peaks are cut off", 1, 0.3),
    "abrupt_start": Kind("the speech is cut at the start", 1, 4.0),
    "abrupt_end": Kind("the speech is cut at the end", 1, 4.0),
}


# -- one clip ----------------------------------------------------------------------------------------------------------


def examine(voice: Voice, wav: np.ndarray, rate: int, sentence: Sentence, speaker: str | None) -> Measures:
    """All measures of one clip: wav [S] in [-1, 1] at `rate` Hz, its text, the voice's speaker (None = not among them).

    Besides those of `KINDS`: "words", a row of word, fit and neg_elbo a frame each; "colours" [COLOURS]; "neg_elbo",
    nats a frame; "seconds" and "level". Raises SpeechVAEError where the clip cannot be examined.
    """
    found = measure(wav, rate, LIMITS)
    recording = listen(voice, wav, rate, found=found)
    analysis = analyse_recording(voice, recording, sentence, speaker, own=speaker is not None)
    out = {**_from_samples(wav, rate), **_from_aligner(voice, analysis), **_from_vae(voice, analysis)}
    voiced = recording.f0[recording.f0 > 0]
    out["pitch"] = float(np.log(voiced).mean()) if len(voiced) > 5 else float("nan")
    out["seconds"], out["level"] = round(found.duration, 3), found.level
    out["score"] = analysis.score
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in out.items()}


def _from_samples(wav: np.ndarray, rate: int) -> Measures:
    levels = frame_levels(wav, rate)
    loud, floor = loud_and_floor(levels)
    size = np.abs(wav)
    top = float(size.max(initial=1e-9))
    return {
        # Waves that are not clipped are near their peak for a few samples in ten thousand.
        "clipped": math.log10(float((size >= 0.985 * top).mean()) + 1e-5),
        "contrast": loud - floor,
        "abrupt_start": float(levels[:3].mean()) - loud,
        "abrupt_end": float(levels[-3:].mean()) - loud,
    }


@torch.inference_mode()
def _from_aligner(voice: Voice, a: Analysis) -> Measures:
    """Fit of text and sound, and durations beside those of the most expected reading."""
    e = a.encoded
    z = voice.model.sample(e.h, e.x_mask, e.g, 0.0, 0.0)
    expected = voice.model.prosody(e.h, e.x_mask, z, e.g).logw[0, 0]
    spoken = torch.tensor([owner >= 0 for owner in e.owners])
    difference = a.prosody.logw[0, 0] - expected
    tempo = difference[spoken].median()
    relative = difference[spoken] - tempo
    fits = a.word_fits()
    return {
        "fit": a.fit, "worst_word": min(fits), "longest": float(relative.max()), "shortest": float(relative.min()),
        "tempo": float(tempo),
    }  # fmt: skip


@torch.inference_mode()
def _from_vae(voice: Voice, a: Analysis) -> Measures:
    """neg_elbo at the posterior mean and its parts, in nats; what the reconstruction leaves over, by band."""
    model, e, true = voice.model, a.encoded, a.prosody
    guess = model.prosody(e.h, e.x_mask, a.z, e.g)
    w = a.alignment.w[None]
    y = a.recording.mel
    residual = y - model.decode(e.h, a.z, e.g, true, w)[0]
    log_b = model.log_b_mel[:, None]
    mel = (residual.abs() * (-log_b).exp() + log_b + math.log(2)).sum(0)  # [T]
    q = a.q
    kl_u = float(gaussian.kl(q.m_u, q.logs_u, *model.prior_u(e.h, e.x_mask, e.g)).sum())
    prior = model.prior_p(e.h, e.x_mask, e.g, a.z.z_u)
    # A flow has no closed form: two opposite draws, the same for every clip of this length.
    away = gaussian.noise(q.m_p, 1.0, torch.Generator().manual_seed(0)) * q.logs_p.exp()
    expected = 0.5 * (prior.log_prob(q.m_p + away) + prior.log_prob(q.m_p - away))
    kl_p = (-gaussian.entropy(q.logs_p).sum(1) - expected)[0]  # [N]
    prosody = torch.zeros(len(e.symbols))
    for name, b in zip(("logw", "f0", "energy"), model.log_b_prosody, strict=True):
        error = (getattr(guess, name) - getattr(true, name)).abs()[0, 0]
        nats = error * (-b).exp() + b + math.log(2)
        prosody += torch.where(true.vuv[0, 0] >= 0.3, nats, 0.0) if name == "f0" else nats
    frames = y.shape[1]
    per_symbol = pool(mel[None, None], durations_to_path(w, frames))[0, 0] * w[0] + kl_p + prosody
    words = []
    for (first, last), word, fit in zip(a.word_spans(), e.sentence.words, a.word_fits(), strict=True):
        nats = float(per_symbol[first:last].sum() / w[0, first:last].sum())
        words.append((word.text, round(fit, 3), round(nats, 2)))
    speech = y.logsumexp(0) > y.logsumexp(0).max() - 5
    groups = residual[:, speech].mean(1).tensor_split(COLOURS)
    return {
        "mel_nats": float(mel[speech].mean()), "kl_u": kl_u, "kl_p": float(kl_p.mean()),
        "prosody_nats": float(prosody.mean()), "neg_elbo": float((per_symbol.sum() + kl_u) / frames),
        "colours": [round(float(g.mean()), 4) for g in groups], "words": words,
    }  # fmt: skip


# -- the corpus --------------------------------------------------------------------------------------------------------


@dataclass
class Verdict:
    """What is thought of one clip: its suspicion (0 = as usual), the reason in words, and each measure's z-score."""

    suspicion: float
    reason: str
    scores: dict[str, float]


def judge(clips: Sequence[Measures], speakers: Sequence[str]) -> list[Verdict]:
    """Hold every clip against the others of its speaker; a clip with "error" is as suspicious as can be."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i, (clip, speaker) in enumerate(zip(clips, speakers, strict=True)):
        if "error" not in clip:
            groups[speaker].append(i)
    out = [Verdict(BROKEN, str(c.get("error", "")), {}) for c in clips]
    for group in groups.values():
        rows = [clips[i] for i in group]
        scores = {name: robust_z(_values(name, rows), kind) for name, kind in KINDS.items()}
        for at, i in enumerate(group):
            own = {name: float(z[at]) for name, z in scores.items()}
            out[i] = Verdict(suspicion(own), reason(own, clips[i]), own)
    return out


def _values(name: str, rows: Sequence[Measures]) -> np.ndarray:
    if name != "colour":
        return np.array([r[name] for r in rows], float)
    colours = np.array([r["colours"] for r in rows], float)
    middle = np.median(colours, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(colours - middle), axis=0), 0.03)
    return np.sqrt(np.mean(np.square((colours - middle) / spread), axis=1))


def robust_z(values: np.ndarray, kind: Kind) -> np.ndarray:
    """Standard deviations [n] in the bad direction from the median, by the median absolute deviation; 0..CAP."""
    known = np.isfinite(values)
    if known.sum() < 2:
        return np.zeros(len(values))
    middle = np.median(values[known])
    spread = max(kind.spread, 1.4826 * float(np.median(np.abs(values[known] - middle))))
    away = (values - middle) / spread
    away = np.abs(away) if kind.bad == 0 else away * kind.bad
    return np.where(known, np.clip(away, 0.0, CAP), 0.0)


def suspicion(scores: Mapping[str, float]) -> float:
    """The mean of the two largest z-scores: one odd measure may be chance, two hardly are."""
    largest = sorted(scores.values())[-2:]
    return round(sum(largest) / len(largest), 3)


def reason(scores: Mapping[str, float], clip: Measures) -> str:
    """The leading reason in words."""
    name = max(scores, key=lambda k: scores[k])
    if scores[name] < 3:
        return "nothing unusual"
    words = KINDS[name].words
    if name in ("fit", "worst_word") and clip["words"]:
        worst = min(clip["words"], key=lambda w: w[1])[0]
        words = f"{words}, worst at “{worst}”" if name == "fit" else f"“{worst}” hardly fits the sound"
    return words
