"""Where a reading comes from: latents drawn from the priors, kept in a take, or carried to another text or speaker.

Every reading has a noise that is standard normal under the priors: how far it departs from the expected one. The
noise is what a manner of speaking is, apart from text and speaker; `whiten` finds it and `colour` gives it a body.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypedDict

import torch
from torch import Tensor

from speechvae.directing.edits import AXIS, LENGTH_SCALE, STEADINESS, TEMPERATURE, Edits, check_number
from speechvae.errors import SpeechVAEError
from speechvae.models.decoder import Prosody
from speechvae.models.speech_vae import Latents, SpeechVAE
from speechvae.nn import gaussian
from speechvae.takes import Reading, Take, text_fingerprint
from speechvae.text import Sentence
from speechvae.voice_files import VoiceSettings

LARGEST_SEED = 2**63 - 1


class Options(TypedDict, total=False):
    """How to read a text; all may be left out.

    seed: same seed = same samples; None = a new reading, whose seed is in the take.
    speaker: one of the voice's.
    temperature: variation of phonemes, times the prior's standard deviation; 0 = the most expected.
    style_temperature: the same for each sentence as a whole.
    length_scale: > 1 is slower.
    ssml: the text is SSML.
    steadiness: 0..1, how much of its mood a sentence has from the one before; 1 = one mood for the whole text.
    axes: standard deviations along the voice's axes, such as {"pitch": 1.5}.
    edits: changes by hand.
    """

    seed: int | None
    speaker: str | None
    temperature: float | None
    style_temperature: float | None
    length_scale: float
    ssml: bool
    steadiness: float
    axes: Mapping[str, float] | None
    edits: Edits | None


@dataclass
class Encoded:
    """A sentence as the model sees it: symbols and the word each belongs to (-1 = none), ids x [1, N], h, g."""

    sentence: Sentence
    symbols: list[str]
    owners: list[int]
    x: Tensor
    x_mask: Tensor
    speaker: Tensor
    h: Tensor
    g: Tensor

    @property
    def fingerprint(self) -> str:
        return text_fingerprint(self.symbols)

    def repeat(self, times: int) -> Encoded:
        """The same sentence as a batch."""
        tensors = {k: getattr(self, k) for k in ("x", "x_mask", "speaker", "h", "g")}
        return replace(self, **{k: v.expand(times, *v.shape[1:]) for k, v in tensors.items()})


def new_take(settings: VoiceSettings, text: str, options: Options) -> Take:
    """A take without readings yet: every option checked, defaults filled in."""
    if not isinstance(text, str):
        raise SpeechVAEError(f"text must be a string, not {type(text).__name__}")
    unknown = sorted(set(options) - set(Options.__annotations__))
    if unknown:
        raise TypeError(f"unknown option {unknown[0]!r}; there are {', '.join(Options.__annotations__)}")
    seed = options.get("seed")
    seed = secrets.randbelow(2**31) if seed is None else seed
    check_seed(seed)
    speaker = options.get("speaker")
    speaker = settings.default_speaker if speaker is None else speaker
    check_speaker(settings, speaker)
    fine, style = options.get("temperature"), options.get("style_temperature")
    fine = settings.temperature if fine is None else fine
    style = settings.style_temperature if style is None else style
    length_scale, steadiness = options.get("length_scale", 1.0), options.get("steadiness", STEADINESS)
    for name, value, limits in (
        ("temperature", fine, TEMPERATURE), ("style_temperature", style, TEMPERATURE),
        ("length_scale", length_scale, LENGTH_SCALE), ("steadiness", steadiness, (0.0, 1.0)),
    ):  # fmt: skip
        check_number(name, value, *limits)
    axes = options.get("axes")
    axes = {} if axes is None else dict(axes)
    Shift.along(settings, axes)
    edits = options.get("edits")
    return Take(
        text, settings.name, speaker, seed, fine, style, length_scale, options.get("ssml", False), steadiness, axes,
        Edits() if edits is None else edits, expansion=settings.expansion,
    )  # fmt: skip


def check_seed(seed: int) -> int:
    """The seed itself, if it is one."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LARGEST_SEED:
        raise SpeechVAEError(f"seed must be a whole number from 0 to {LARGEST_SEED}, not {seed!r}")
    return seed


def check_speaker(settings: VoiceSettings, speaker: str) -> str:
    """The name itself, if the voice has it."""
    if speaker not in settings.speakers:
        raise SpeechVAEError(f"{settings.name} has no speaker {speaker!r}; it has {', '.join(settings.speakers)}")
    return speaker


# -- noise -----------------------------------------------------------------------------------------------------------


class Mood:
    """The noise of z_u from sentence to sentence: e_k = rho e_{k-1} + sqrt(1 - rho²) n_k, stationary, standard normal.

    rho = 1 keeps the first sentence's, 0 draws each anew.
    """

    def __init__(self, seed: int, steadiness: float, size: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.rho, self.size = steadiness, size
        self.e: Tensor | None = None

    def step(self) -> Tensor:
        """The noise [1, Du] of the next sentence."""
        fresh = torch.randn(1, self.size, generator=self.generator)
        self.e = fresh if self.e is None else self.rho * self.e + math.sqrt(1 - self.rho**2) * fresh
        return self.e


def fine_generator(seed: int, index: int) -> torch.Generator:
    """What the phonemes of sentence `index`, counted from 0, are drawn with."""
    return torch.Generator().manual_seed((seed * 1_000_003 + index + 1) % LARGEST_SEED)


def fine_noise(seed: int, index: int, size: int, n: int) -> Tensor:
    """The noise [1, Dp, N] of the phonemes of sentence `index`, counted from 0."""
    return torch.randn(1, size, n, generator=fine_generator(seed, index))


@dataclass
class Shift:
    """What the axes of a take add to its latents: z_u [1, Du] and z_p [1, Dp, 1]."""

    z_u: Tensor
    z_p: Tensor

    @classmethod
    def along(cls, settings: VoiceSettings, axes: Mapping[str, float]) -> Shift:
        """Raises SpeechVAEError for an axis that the voice does not have, or a value out of range."""
        z_u, z_p = torch.zeros(1, settings.vae.z_u_dim), torch.zeros(1, settings.vae.z_p_dim, 1)
        for name, value in axes.items():
            if name not in settings.axes:
                known = f"it has {', '.join(settings.axes)}" if settings.axes else "it has none"
                raise SpeechVAEError(f"the voice {settings.name} has no axis {name!r}; {known}")
            check_number(f"axis {name}", value, *AXIS)
            axis = settings.axes[name]
            z_u += value * torch.tensor(axis.z_u)[None]
            z_p += value * torch.tensor(axis.z_p)[None, :, None]
        return cls(z_u, z_p)


def colour(model: SpeechVAE, e: Encoded, noise: Latents, shift: Shift) -> Latents:
    """The latents of a noise, for this text and speaker.

    The phonemes are drawn for the shifted z_u, as for any other manner of speaking, and then shifted themselves.
    """
    m, logs = model.prior_u(e.h, e.x_mask, e.g)
    z_u = m + noise.z_u * logs.exp() + shift.z_u
    return Latents(z_u, model.prior_p(e.h, e.x_mask, e.g, z_u).latents(noise.z_p) + shift.z_p)


def whiten(model: SpeechVAE, e: Encoded, z: Latents, shift: Shift) -> Latents:
    """The noise of latents, for this text and speaker: the inverse of `colour`."""
    m, logs = model.prior_u(e.h, e.x_mask, e.g)
    fine = model.prior_p(e.h, e.x_mask, e.g, z.z_u).noise(z.z_p - shift.z_p)
    return Latents((z.z_u - shift.z_u - m) * (-logs).exp(), fine)


def density(model: SpeechVAE, e: Encoded, z: Latents, shift: Shift) -> Tensor:
    """Log density [B] of readings under the priors, in nats: of z_u and of all z_p."""
    style = gaussian.log_prob(z.z_u - shift.z_u, *model.prior_u(e.h, e.x_mask, e.g)).sum(1)
    return style + model.prior_p(e.h, e.x_mask, e.g, z.z_u).log_prob(z.z_p - shift.z_p).sum(1)


# -- readings --------------------------------------------------------------------------------------------------------


def latents_of(settings: VoiceSettings, e: Encoded, reading: Reading) -> Latents:
    """The latents of a reading, as a batch of one. Raises SpeechVAEError where they are another text's or model's."""
    if reading.fingerprint != e.fingerprint or reading.z_p.shape[1] != len(e.symbols):
        raise SpeechVAEError(f"the take's latents do not belong to {e.sentence.text!r}: its text was changed")
    found, expected = (len(reading.z_u), len(reading.z_p)), (settings.vae.z_u_dim, settings.vae.z_p_dim)
    if found != expected:
        raise SpeechVAEError(f"the take has {found} latent dimensions, the voice {settings.name} has {expected}")
    return Latents(torch.from_numpy(reading.z_u)[None], torch.from_numpy(reading.z_p)[None])


def reading_of(e: Encoded, z: Latents, prosody: Prosody | None = None, centre: float | None = None) -> Reading:
    """Latents, and prosody that is to be pinned, in the form a take keeps."""
    pinned = None if prosody is None else prosody.stack()[0].numpy().copy()
    return Reading(e.sentence.text, e.fingerprint, z.z_u[0].numpy().copy(), z.z_p[0].numpy().copy(), pinned, centre)


def raw_prosody(model: SpeechVAE, e: Encoded, z: Latents, reading: Reading | None) -> Prosody:
    """The prosody before marks and edits: what the reading pins, or what the heads say."""
    if reading is None or reading.prosody is None:
        return model.prosody(e.h, e.x_mask, z, e.g)
    if reading.prosody.shape != (4, len(e.symbols)):
        raise SpeechVAEError(f"the prosody pinned for {e.sentence.text!r} must have the shape (4, {len(e.symbols)})")
    return unstack(torch.from_numpy(reading.prosody)[None])


def unstack(prosody: Tensor) -> Prosody:
    """[B, 4, N] → its four rows."""
    return Prosody(*prosody.chunk(4, 1))
