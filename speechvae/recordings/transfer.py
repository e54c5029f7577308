"""The reading of a recording, as a take: performed by the voice, closely or loosely, or as a style for another text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from speechvae.directing import drawing
from speechvae.directing.drawing import Shift, colour, latents_of, whiten
from speechvae.errors import SpeechVAEError
from speechvae.models.speech_vae import Latents
from speechvae.recordings.analysis import Analysis, analyse, by_sentence
from speechvae.takes import Reading, Take

if TYPE_CHECKING:
    from speechvae.sound import Audio
    from speechvae.synthesis import Encoded, Voice


@dataclass
class Departure:
    """How a reading departs from the most expected one: standard normal noise under the prior.

    u [1, Du], p [1, Dp, N]; half its square is the nats that the reading carries beyond the text.
    """

    u: Tensor
    p: Tensor

    @property
    def nats(self) -> float:
        """Nats a phoneme (symbol), z_u's share included."""
        return float(0.5 * (self.u.square().sum() + self.p.square().sum()) / self.p.shape[2])

    def limited(self, nats: float | None) -> Departure:
        """The same direction, no farther than `nats` a phoneme; None = as it is."""
        if nats is None or self.nats <= nats:
            return self
        scale = math.sqrt(nats / self.nats)
        return Departure(self.u * scale, self.p * scale)


@torch.inference_mode()
def departure(voice: Voice, analysis: Analysis) -> Departure:
    """The noise that the posterior means of a recording have under the prior of its text."""
    noise = whiten(voice.model, analysis.encoded, analysis.z, Shift.along(voice.settings, {}))
    return Departure(noise.z_u, noise.z_p)


@torch.inference_mode()
def reading_of(voice: Voice, encoded: Encoded, away: Departure) -> Reading:
    """The reading that departs so from the prior of a text."""
    z = colour(voice.model, encoded, Latents(away.u, away.p), Shift.along(voice.settings, {}))
    return drawing.reading_of(encoded, z)


def transfer(
    voice: Voice, wav: np.ndarray, rate: int, text: str, *, speaker: str | None = None, nats: float | None = None,
    exact: bool = False, new_text: str | None = None, own: bool | None = None,
) -> Take:  # fmt: skip
    """The take that says `text` as the recording does; `Voice.perform` speaks it.

    Args:
        wav, rate: mono samples [S] in [-1, 1], their rate in Hz; anybody's voice.
        text: what is said in the recording, all of it.
        speaker: who shall perform it: one of the voice's (default: its main one).
        nats: at most so many nats a phoneme are carried over: 0 = the most expected reading, 1 = loosely, None = all
            that the posterior found. The direction of the departure stays, its length shrinks.
        exact: pin the measured durations, f0, voicing and energy as well: as close as can be.
        new_text: perform this text instead, in the manner of the recording (its z_u; sounds as expected).
        own: see `analysis.analyse`.

    Raises:
        SpeechVAEError: as `analyse`; or `nats` is negative; or `exact` with `new_text`.
    """
    if nats is not None and not (math.isfinite(nats) and nats >= 0):
        raise SpeechVAEError(f"nats must be 0 or more, not {nats}")
    if exact and new_text is not None:
        raise SpeechVAEError("exact prosody belongs to the recording's own text: leave out exact, or new_text")
    analysis = analyse(voice, wav, rate, text, speaker, own=own)
    name = voice.settings.speakers[int(analysis.encoded.speaker)]
    if new_text is not None:  # drawn, like any other reading
        away = departure(voice, analysis).limited(nats)
        readings = _with_style(voice, new_text, away.u, name)
    else:
        readings = [_carry(voice, part, nats, exact) for part in by_sentence(voice, analysis, text)]
    said, expansion = (text, 1.0) if new_text is None else (new_text, voice.settings.expansion)
    return Take(said, voice.name, name, 0, 0.0, 0.0, 1.0, readings=readings, expansion=expansion)


def style_of(voice: Voice, wav: np.ndarray, rate: int, text: str, speaker: str | None = None) -> np.ndarray:
    """The manner of a recording as the noise [Du] of its z_u: standard normal over the speaker's readings."""
    return departure(voice, analyse(voice, wav, rate, text, speaker)).u[0].numpy()


def _carry(voice: Voice, analysis: Analysis, nats: float | None, exact: bool) -> Reading:
    reading = reading_of(voice, analysis.encoded, departure(voice, analysis).limited(nats))
    if exact:
        reading.prosody = analysis.measured
    return reading


def _with_style(voice: Voice, text: str, style: Tensor, speaker: str) -> list[Reading]:
    readings = []
    for sentence in voice.frontend(text):
        encoded = voice.encode(sentence, speaker)
        still = torch.zeros(1, voice.settings.vae.z_p_dim, len(encoded.symbols))
        readings.append(reading_of(voice, encoded, Departure(style, still)))
    if not readings:
        raise SpeechVAEError(f"there is nothing to speak in the text {text[:60]!r}: give new_text at least one word")
    return readings


def nats_of(voice: Voice, take: Take) -> float:
    """Nats a phoneme that the readings of a take carry beyond their text."""
    total, count = 0.0, 0
    for sentence, reading in zip(voice.frontend(take.text), take.readings, strict=True):
        e = voice.encode(sentence, take.speaker)
        with torch.inference_mode():
            noise = whiten(voice.model, e, latents_of(voice.settings, e, reading), Shift.along(voice.settings, {}))
            away = Departure(noise.z_u, noise.z_p)
        total, count = total + away.nats * len(e.symbols), count + len(e.symbols)
    return total / max(count, 1)


def closeness(voice: Voice, wav: np.ndarray, rate: int, text: str, audio: Audio) -> dict[str, float]:
    """How like a performance is to the recording of the same text.

    `f0_correlation`: Pearson, of log f0 where both are voiced, frame by frame after the performance was warped onto the
    recording's phonemes; both tracked from the sound. `duration_correlation`: of the phonemes' log durations.
    `duration_ratio`: performance / recording, from the first to the last phoneme. nan where it cannot be told.
    """
    from speechvae.audio import track_f0

    whole = analyse(voice, wav, rate, text, audio.take.speaker)
    step = 1 / whole.frame_rate
    other = track_f0(audio.wav, audio.sample_rate, voice.settings.audio.hop)
    here, there = [], []  # start and end of each phoneme in both, s
    for part, group in zip(by_sentence(voice, whole, text), _sentences(audio), strict=True):
        ends = (part.recording.start - whole.recording.start) + part.alignment.w.cumsum(0).numpy() * step
        starts = np.concatenate([ends[:1] - int(part.alignment.w[0]) * step, ends[:-1]])
        for owner, a, b, p in zip(part.encoded.owners, starts, ends, group, strict=True):
            if owner >= 0:
                here.append((a, b))
                there.append((p.start, p.end))
    a, b = np.array(here), np.array(there)
    times = (np.arange(len(whole.recording.f0)) + 0.5) * step
    warped = np.interp(times, a.ravel() + np.tile([1e-6, 0.0], len(a)), b.ravel())
    index = np.clip((warped / step).astype(int), 0, len(other) - 1)
    inside = (times > a[0, 0]) & (times < a[-1, 1])
    both = inside & (whole.recording.f0 > 0) & (other[index] > 0)
    x, y = np.log(whole.recording.f0[both]), np.log(other[index][both])
    u, v = np.log(np.diff(a)[:, 0].clip(step)), np.log(np.diff(b)[:, 0].clip(step))
    ratio = float((b[-1, 1] - b[0, 0]) / (a[-1, 1] - a[0, 0]))
    return {"f0_correlation": _correlation(x, y), "duration_correlation": _correlation(u, v), "duration_ratio": ratio}


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    if len(x) < 3 or x.std() < 1e-6 or y.std() < 1e-6:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def _sentences(audio: Audio) -> list[list]:
    """The phonemes of each sentence of a performance."""
    groups: list[list] = []
    for phoneme in audio.phonemes:
        if phoneme.symbol == "^":
            groups.append([])
        groups[-1].append(phoneme)
    return groups
