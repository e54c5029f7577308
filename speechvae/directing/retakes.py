"""Directing takes: another text or speaker, some words said anew, one reading shaded into another.

All functions return new takes and make no sound; `Voice.perform` lets them be heard.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from speechvae.directing.drawing import (
    Encoded,
    Shift,
    check_seed,
    check_speaker,
    colour,
    fine_generator,
    fine_noise,
    latents_of,
    raw_prosody,
    reading_of,
    unstack,
    whiten,
)
from speechvae.directing.edits import (
    AXIS,
    BREAK,
    EMPHASIS,
    EXPANSION,
    LENGTH_SCALE,
    LIMITS,
    TEMPERATURE,
    Edits,
    check_number,
    parse_words,
)
from speechvae.directing.prosody_edits import DECIBEL, SEMITONE, between, require_words, voiced_mean
from speechvae.errors import SpeechVAEError
from speechvae.models.decoder import Prosody
from speechvae.models.speech_vae import Latents
from speechvae.takes import Reading, Take

if TYPE_CHECKING:
    from speechvae.synthesis import Voice

__all__ = ["blend", "parse_words", "reroll", "retake"]

BEYOND = (-1.0, 2.0)  # how far a blend may go
TAKE_LIMITS = {
    "temperature": TEMPERATURE,
    "style_temperature": TEMPERATURE,
    "length_scale": LENGTH_SCALE,
    "steadiness": (0.0, 1.0),
    "expansion": EXPANSION,
}
log = logging.getLogger(__name__)


# -- another text or speaker -----------------------------------------------------------------------------------------


@torch.inference_mode()
def retake(
    voice: Voice, take: Take, text: str | None = None, speaker: str | None = None, ssml: bool = False
) -> Take:
    """The take on another text, by another speaker, or both. Neither gives the take itself.

    The noise of its latents under their priors is carried over: its departure from what is expected of its text and
    speaker. On the same text prosody that was pinned stays: f0 and energy are kept relative to the speaker. Another
    text gets the manner of the take's sentences in turn, the last one's for what is beyond, with phonemes drawn by the
    take's seed; edits that name words are left behind with a warning.

    Args:
        ssml: `text` is SSML.
    """
    voice.check_take(take)
    speaker = take.speaker if speaker is None else check_speaker(voice.settings, speaker)
    if text is None or (text == take.text and ssml == take.ssml):
        return take if speaker == take.speaker else _recast(voice, take, speaker)
    if not isinstance(text, str):
        raise SpeechVAEError(f"text must be a string, not {type(text).__name__}")
    if take.edits.words:
        log.warning("the edits of single words belong to the take's own text and are left out")
    edits = replace(take.edits, emphasis=(), breaks=())
    new = replace(take, text=text, speaker=speaker, ssml=ssml, edits=edits, name="", readings=[])
    styles = style_noise(voice, take)
    if not styles:
        return voice.fill(new)
    shift = Shift.along(voice.settings, take.axes)
    for index, sentence in enumerate(voice.frontend.stream(text, ssml=ssml)):
        e = voice.encode(sentence, speaker)
        fine = fine_noise(take.seed, index, voice.settings.vae.z_p_dim, len(e.symbols)) * take.temperature
        z = colour(voice.model, e, Latents(styles[min(index, len(styles) - 1)], fine), shift)
        new.readings.append(reading_of(e, z))
    return new


def _recast(voice: Voice, take: Take, speaker: str) -> Take:
    shift = Shift.along(voice.settings, take.axes)
    readings = []
    for _, sentence, reading in voice.parts(take):
        e = voice.encode(sentence, take.speaker)
        noise = whiten(voice.model, e, latents_of(voice.settings, e, reading), shift)
        other = voice.encode(sentence, speaker)
        recast = reading_of(other, colour(voice.model, other, noise, shift))
        readings.append(replace(recast, prosody=reading.prosody, centre=reading.centre))
    return replace(take, speaker=speaker, readings=readings)


@torch.inference_mode()
def style_noise(voice: Voice, take: Take) -> list[Tensor]:
    """The noise of z_u [1, Du] of each sentence of a take: its manner apart from its text and speaker."""
    shift = Shift.along(voice.settings, take.axes)
    styles = []
    for _, sentence, reading in voice.parts(take):
        e = voice.encode(sentence, take.speaker)
        styles.append(whiten(voice.model, e, latents_of(voice.settings, e, reading), shift).z_u)
    return styles


# -- some words anew -------------------------------------------------------------------------------------------------


@torch.inference_mode()
def reroll(
    voice: Voice, take: Take, words: Iterable[int], seed: int | None = None, temperature: float | None = None
) -> Take:
    """Draw some words of a take anew; all other phonemes keep exactly their duration, f0, voicing and energy.

    Args:
        words: numbers from 1 through the whole text; see `parse_words`.
        seed: None = another reading each time.
        temperature: of the new phonemes; None = the take's.
    """
    voice.check_take(take)
    chosen = set(words)
    if not chosen:
        raise SpeechVAEError("name at least one word to say anew")
    require_words(voice.frontend, take, chosen)
    seed = secrets.randbelow(2**31) if seed is None else check_seed(seed)
    temperature = take.temperature if temperature is None else temperature
    check_number("temperature", temperature, *TEMPERATURE)
    shift = Shift.along(voice.settings, take.axes)
    readings = []
    for index, (first, sentence, reading) in enumerate(voice.parts(take)):
        e = voice.encode(sentence, take.speaker)
        redraw = _mask(e, first, chosen)
        if not redraw.any():
            readings.append(reading)
            continue
        z = latents_of(voice.settings, e, reading)
        prior = voice.model.prior_p(e.h, e.x_mask, e.g, z.z_u)
        fresh = prior.inpaint(z.z_p - shift.z_p, redraw, temperature, fine_generator(seed, index)) + shift.z_p
        new = Latents(z.z_u, torch.where(redraw, fresh, z.z_p))
        readings.append(_composite(voice, e, reading, new, redraw, raw_prosody(voice.model, e, new, None)))
    return replace(take, name="", readings=readings)


def _mask(e: Encoded, first: int, words: set[int]) -> Tensor:
    """[1, 1, N], True for the phonemes of these words; `first` is the number of the sentence's first word."""
    return torch.tensor([[[owner >= 0 and first + owner in words for owner in e.owners]]])


def _composite(voice: Voice, e: Encoded, old: Reading, z: Latents, mask: Tensor, inside: Prosody) -> Reading:
    """A reading with the latents z whose prosody is `inside` where the mask is True and that of `old` elsewhere."""
    kept = raw_prosody(voice.model, e, latents_of(voice.settings, e, old), old)
    mixed = unstack(torch.where(mask, inside.stack(), kept.stack()))
    return reading_of(e, z, mixed, _centre(kept, old))


def _centre(raw: Prosody, reading: Reading) -> float:
    """What `Edits.range` scales the f0 of a reading around."""
    return voiced_mean(raw) if reading.centre is None else reading.centre


# -- between two takes -----------------------------------------------------------------------------------------------


@torch.inference_mode()
def blend(voice: Voice, a: Take, b: Take, t: float, words: Sequence[int] | None = None) -> Take:
    """A take between two: t = 0 is `a`, t = 1 is `b`, and -1..2 goes beyond them. The speaker is that of `a`.

    Takes of one text are mixed in their latents, prosody, settings and edits; of different texts, `a` gets the manner
    of `b`.

    Args:
        words: only these words of one text go over to `b`; the rest stays as `a` has it.
    """
    for take in (a, b):
        voice.check_take(take)
    check_number("t", t, *BEYOND)
    same_text = a.text == b.text and a.ssml == b.ssml
    if words is not None:
        if not same_text:
            raise SpeechVAEError("word by word, only two takes of the same text can be blended")
        require_words(voice.frontend, a, words)
    if t == 0:
        return replace(a, readings=list(a.readings))
    if not same_text:
        return _blend_style(voice, a, b, t)
    b = retake(voice, b, speaker=a.speaker)
    mixed = replace(b, readings=list(b.readings)) if t == 1 else _blend_latents(voice, a, b, t)
    return mixed if words is None else _blend_words(voice, a, mixed, set(words))


def _lerp(a: float, b: float, t: float) -> float:
    return a + (b - a) * t


def _on_the_way(a: Any, b: Any, t: float, limits: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """The attributes named by `limits`, between those of two objects and kept within the limits."""
    return {k: min(max(_lerp(getattr(a, k), getattr(b, k), t), low), high) for k, (low, high) in limits.items()}


def _pairs_on_the_way(
    a: Mapping[Any, float], b: Mapping[Any, float], t: float, limits: tuple[float, float]
) -> dict[Any, float]:
    """Values by key; a key that one side lacks counts 0 there."""
    low, high = limits
    return {k: min(max(_lerp(a.get(k, 0.0), b.get(k, 0.0), t), low), high) for k in sorted({**a, **b})}


def _between(a: Take, b: Take, t: float) -> Take:
    """Settings and edits on the way from `a` to `b`; no readings."""
    x, y = a.edits, b.edits
    edits = Edits(
        **_on_the_way(x, y, t, LIMITS),
        emphasis=tuple(_pairs_on_the_way(dict(x.emphasis), dict(y.emphasis), t, EMPHASIS).items()),
        breaks=tuple(_pairs_on_the_way(dict(x.breaks), dict(y.breaks), t, BREAK).items()),
    )
    axes = _pairs_on_the_way(a.axes, b.axes, t, AXIS)
    settings: dict[str, Any] = {**_on_the_way(a, b, t, TAKE_LIMITS)}
    return replace(a, **settings, axes=axes, edits=edits, name="", readings=[])


def _blend_latents(voice: Voice, a: Take, b: Take, t: float) -> Take:
    new = _between(a, b, t)
    for (_, sentence, left), (_, _, right) in zip(voice.parts(a), voice.parts(b), strict=True):
        e = voice.encode(sentence, a.speaker)
        z_a, z_b = latents_of(voice.settings, e, left), latents_of(voice.settings, e, right)
        z = Latents(torch.lerp(z_a.z_u, z_b.z_u, t), torch.lerp(z_a.z_p, z_b.z_p, t))
        raw = raw_prosody(voice.model, e, z_a, left), raw_prosody(voice.model, e, z_b, right)
        pinned = between(*raw, t)
        centre = _lerp(_centre(raw[0], left), _centre(raw[1], right), t)
        new.readings.append(reading_of(e, z, pinned, centre))
    return new


def _blend_style(voice: Voice, a: Take, b: Take, t: float) -> Take:
    """`a` with its noise of z_u moved towards that of `b`. What was pinned moves along with the heads' prediction."""
    styles = style_noise(voice, b)
    between = _between(a, b, t)
    edits = replace(between.edits, emphasis=a.edits.emphasis, breaks=a.edits.breaks)
    new = replace(between, edits=edits)
    if not styles:
        raise SpeechVAEError("the second take has no words: there is no manner of speaking in it")
    before, after = Shift.along(voice.settings, a.axes), Shift.along(voice.settings, new.axes)
    for index, (_, sentence, reading) in enumerate(voice.parts(a)):
        e = voice.encode(sentence, a.speaker)
        old = latents_of(voice.settings, e, reading)
        noise = whiten(voice.model, e, old, before)
        style = torch.lerp(noise.z_u, styles[min(index, len(styles) - 1)], t)
        z = colour(voice.model, e, Latents(style, noise.z_p), after)
        pinned = None
        if reading.prosody is not None:
            moved = voice.model.prosody(e.h, e.x_mask, z, e.g).stack()
            moved = moved - voice.model.prosody(e.h, e.x_mask, old, e.g).stack()
            pinned = unstack(raw_prosody(voice.model, e, old, reading).stack() + moved)
            pinned.vuv = pinned.vuv.clamp(0, 1)
        new.readings.append(reading_of(e, z, pinned))
    return new


def _blend_words(voice: Voice, a: Take, c: Take, words: set[int]) -> Take:
    """`a` with the prosody of `c` in some words."""
    edits = replace(
        a.edits,
        emphasis=_pick(a.edits.emphasis, c.edits.emphasis, words),
        breaks=_pick(a.edits.breaks, c.edits.breaks, words),
    )
    readings = []
    for (first, sentence, old), (_, _, other) in zip(voice.parts(a), voice.parts(c), strict=True):
        e = voice.encode(sentence, a.speaker)
        mask = _mask(e, first, words)
        if not mask.any():
            readings.append(old)
            continue
        z_a, z_c = latents_of(voice.settings, e, old), latents_of(voice.settings, e, other)
        kept, inside = raw_prosody(voice.model, e, z_a, old), raw_prosody(voice.model, e, z_c, other)
        inside = _as_if(inside, other, c, kept, old, a)
        readings.append(_composite(voice, e, old, Latents(z_a.z_u, torch.where(mask, z_c.z_p, z_a.z_p)), mask, inside))
    return replace(a, edits=edits, name="", readings=readings)


def _pick(
    a: tuple[tuple[int, float], ...], c: tuple[tuple[int, float], ...], words: set[int]
) -> tuple[tuple[int, float], ...]:
    return tuple(sorted([p for p in a if p[0] not in words] + [p for p in c if p[0] in words]))


def _as_if(raw: Prosody, reading: Reading, take: Take, kept: Prosody, own: Reading, target: Take) -> Prosody:
    """The raw prosody that sounds under the settings of `target` as `raw` does under those of `take`."""
    c, a = take.edits, target.edits
    f0 = raw.f0
    if (take.f0_range, c.pitch) != (target.f0_range, a.pitch):
        there, here = _centre(raw, reading), _centre(kept, own)
        heard = there + (f0 - there) * take.f0_range + (c.pitch - a.pitch) * SEMITONE
        f0 = here + (heard - here) / max(target.f0_range, 0.01)
    return Prosody(
        raw.logw + math.log(take.length_scale / target.length_scale), f0, raw.vuv,
        raw.energy + (c.energy - a.energy) * DECIBEL,
    )  # fmt: skip
