"""Words of a recording said anew by the voice, the rest of it untouched.

The recording is followed with its own text; the new text gets the same latents and prosody wherever its words are the
recording's, and the prior's, in keeping with them, elsewhere. The decoder draws the whole sentence, so that the new
words grow out of what stands before them; of its sound only the new words are used.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from speechvae.audio import resample
from speechvae.errors import SpeechVAEError
from speechvae.models.decoder import Prosody
from speechvae.models.speech_vae import Latents
from speechvae.recordings.analysis import Analysis, analyse
from speechvae.recordings.splice import splice
from speechvae.takes import Reading, Take

if TYPE_CHECKING:
    from speechvae.synthesis import Encoded, Voice

CONTEXT = 48  # frames that the vocoder hears on both sides of what is used; half a second
BLEND = 6  # frames over which the decoder's mel passes into the recording's
QUIET = 7.0  # nats (60 dB) below the loudest frame a frame is a pause
LARGEST_CORRECTION = 1.2  # nats (10 dB) a band, from the decoder's colour to the recording's


@dataclass(frozen=True)
class Span:
    """One stretch that was replaced.

    Seconds `start`..`end` of the recording became `new_start`..`new_end` of the result; `old` and `new`: the words.
    """

    start: float
    end: float
    new_start: float
    new_end: float
    old: str
    new: str


@dataclass
class Repair:
    """A repaired recording: wav [S] or [S, C] at the recording's rate, the take of the new text, and the spans.

    mel_before and mel_after: log-mels [M, T] of the speech before and after; frame_rate: their frames a second;
    offset: where the first frame of mel_before lies in the recording (s). The take is None where the text has several
    sentences.
    """

    wav: np.ndarray
    rate: int
    take: Take | None
    spans: list[Span]
    mel_before: np.ndarray
    mel_after: np.ndarray
    frame_rate: float
    offset: float


@dataclass
class _Plan:
    """Which symbol of the recording each symbol of the new text is, [N_new] (-1: none, it is said anew)."""

    source: Tensor
    words: list[tuple[list[int], list[int]]]  # of each stretch: the recording's words, the new words


def repair(
    voice: Voice, wav: np.ndarray, rate: int, text: str, *, words: Collection[int] = (), old_text: str | None = None,
    speaker: str | None = None, seed: int = 0, temperature: float | None = None,
) -> Repair:  # fmt: skip
    """Say some words of a recording anew.

    Args:
        wav, rate: samples [S] or [S, C] in [-1, 1] and their rate in Hz.
        text: what shall be said in the end.
        words: numbers (from 1) of words of `text` to say anew, beside those that differ from `old_text`.
        old_text: what is said in the recording (default: `text`).
        speaker: the voice's speaker who says the new words (default: its main one); best the recording's own.
        seed, temperature: which reading of the new words; default temperature: the voice's.

    Returns:
        The repair; samples outside its spans are the recording's, bit for bit.

    Raises:
        SpeechVAEError: nothing to do; no such word; the old text does not fit the recording.
    """
    wav = np.asarray(wav)
    mono = wav if wav.ndim == 1 else wav.mean(axis=1)
    # The recording's own pitch is to be met, whoever speaks.
    old = analyse(voice, mono, rate, text if old_text is None else old_text, speaker, own=True)
    sentence = voice.frontend.utterance(text)
    if sentence is None:
        raise SpeechVAEError(f"there is nothing to speak in the text {text[:60]!r}: give the words to be said")
    name = voice.settings.speakers[int(old.encoded.speaker)]
    encoded = voice.encode(sentence, name)
    plan = _plan(old, encoded, words)
    z, prosody, w = _perform(voice, old, encoded, plan, seed, temperature)
    mel = _mel(voice, old, encoded, plan, z, prosody, w)
    reading = Reading(
        sentence.text, encoded.fingerprint, z.z_u[0].numpy().copy(), z.z_p[0].numpy().copy(),
        prosody.stack()[0].numpy().copy(),
    )  # fmt: skip
    take = None
    if len(voice.frontend(text)) == 1:
        fine = voice.settings.temperature if temperature is None else temperature
        take = Take(text, voice.name, name, seed, fine, 0.0, 1.0, readings=[reading])
    out, spans = _join(voice, wav, rate, old, encoded, plan, w, mel)
    return Repair(
        out, rate, take, spans, old.recording.mel.numpy(), mel.numpy(), old.frame_rate, old.recording.start
    )  # fmt: skip


# -- what is new -------------------------------------------------------------------------------------------------------


def _plan(old: Analysis, new: Encoded, chosen: Collection[int]) -> _Plan:
    """Match the words of both texts; those that differ, and the chosen ones, are said anew."""
    before, after = old.encoded.sentence.words, new.sentence.words
    wrong = sorted(n for n in chosen if not 1 <= n <= len(after))
    if wrong:
        raise SpeechVAEError(f"there is no word {wrong[0]}: the text has the words 1 to {len(after)}")
    keys = [[f"{w.text.casefold()} {' '.join(w.phonemes)}" for w in words] for words in (before, after)]
    same: list[int | None] = [None] * len(after)
    for block in difflib.SequenceMatcher(None, keys[0], keys[1], autojunk=False).get_matching_blocks():
        for k in range(block.size):
            if block.b + k + 1 not in chosen:
                same[block.b + k] = block.a + k
    stretches = _stretches(same, len(before))
    if not stretches:
        raise SpeechVAEError("nothing is to be said anew: name words with --words, or give the --old-text that differs")
    if not any(s is not None for s in same):
        raise SpeechVAEError("every word would be said anew: use `say`, or leave some words as they are")
    return _Plan(_sources(old, new, same), stretches)


def _stretches(same: list[int | None], count: int) -> list[tuple[list[int], list[int]]]:
    """Maximal runs of words that change: (words of the recording that go, words of the new text that come)."""
    kept = [(-1, -1), *((a, b) for b, a in enumerate(same) if a is not None), (count, len(same))]
    found = []
    for (a, b), (c, d) in zip(kept, kept[1:], strict=False):
        if c - a > 1 or d - b > 1:
            found.append((list(range(a + 1, c)), list(range(b + 1, d))))
    return found


def _sources(old: Analysis, new: Encoded, same: list[int | None]) -> Tensor:
    """For each new symbol the recording's symbol that it is, or -1. Marks between kept words, and before, are kept."""
    spans = old.word_spans()
    places: dict[int, list[int]] = {}
    for j, owner in enumerate(new.owners):
        places.setdefault(owner, []).append(j)
    source = torch.full((len(new.symbols),), -1)
    source[0] = 0
    for b, a in enumerate(same):
        if a is None:
            continue
        for j, i in zip(places[b], range(*spans[a]), strict=True):
            source[j] = i
        mark, other = places[b][-1] + 1, spans[a][1]
        follows = b + 1 == len(same) and a + 1 == len(spans)
        follows |= b + 1 < len(same) and same[b + 1] == a + 1
        if follows:
            source[mark] = other
        if b + 1 == len(same) and a + 1 == len(spans):
            source[mark + 1] = other + 1
    return source


@torch.inference_mode()
def _perform(
    voice: Voice, old: Analysis, new: Encoded, plan: _Plan, seed: int, temperature: float | None
) -> tuple[Latents, Prosody, Tensor]:
    """Latents, prosody and durations [1, N] of the new text: the recording's where a symbol has a source."""
    kept = plan.source >= 0
    index = plan.source.clamp_min(0)
    z_p = torch.where(kept, old.z.z_p[:, :, index], 0.0)
    prior = voice.model.prior_p(new.h, new.x_mask, new.g, old.z.z_u)
    fine = voice.settings.temperature if temperature is None else temperature
    z_p = prior.inpaint(z_p, ~kept[None, None], fine, torch.Generator().manual_seed(seed))
    z = Latents(old.z.z_u, z_p)
    guess = voice.model.prosody(new.h, new.x_mask, z, new.g)
    true = Prosody(*(row[:, None] for row in old.prosody.stack()[:, :, index].unbind(1)))
    # What the heads get wrong about the kept sounds, they get wrong about the new ones beside them, too.
    voiced = kept & (true.vuv[0, 0] >= 0.5)
    for name, where in (("f0", voiced), ("energy", kept)):
        if where.any():
            values = getattr(guess, name)
            values += (getattr(true, name) - values)[..., where].mean()
    mixed = Prosody(
        *(torch.where(kept, getattr(true, n), getattr(guess, n)) for n in ("logw", "f0", "vuv", "energy"))
    )
    fresh = mixed.logw[0, 0].exp().clamp(1.0, 100.0)
    ends = torch.where(kept, 0.0, fresh).cumsum(0).round()
    whole = torch.where(kept, old.alignment.w[index], ends.diff(prepend=ends.new_zeros(1)).clamp_min(1).long())
    return z, mixed, whole[None]


@torch.inference_mode()
def _mel(
    voice: Voice, old: Analysis, new: Encoded, plan: _Plan, z: Latents, prosody: Prosody, w: Tensor
) -> Tensor:
    """Log-mel [M, T_new]: the recording's where it is kept, else the decoder's in the recording's colour."""
    drawn = voice.model.decode(new.h, z, new.g, prosody, w)[0]
    real = old.recording.mel
    frames = _frame_sources(old, plan, w[0])
    kept = frames >= 0
    there = real[:, frames.clamp_min(0)]
    fresh = drawn + _colour(there, drawn, kept)
    floor = torch.quantile(real, 0.02, dim=1, keepdim=True)  # the room goes on under the new words
    fresh = torch.maximum(fresh, floor)
    # The nearer to a kept frame, the more of it: the vocoder then sees no step at the border.
    place = torch.arange(len(frames))
    distance = (place[:, None] - place[kept][None]).abs().min(1).values
    share = (1 - distance / BLEND).clamp(0, 1) * 0.5
    nearest = (place[:, None] - place[kept][None]).abs().argmin(1)
    edge = there[:, kept][:, nearest]
    return torch.where(kept, there, fresh * (1 - share) + edge * share)


def _colour(real: Tensor, drawn: Tensor, kept: Tensor) -> Tensor:
    """What to add to the decoder's log-mel [M, T] to give it the recording's colour: one for speech, one for pauses.

    Both are the mean difference over the kept frames [T] of that kind.
    """
    loudness = drawn.logsumexp(0)
    share = ((loudness - loudness.max() + QUIET) / 3.0).clamp(0, 1)  # 1 = speech, 0 = pause
    total = torch.zeros_like(drawn)
    for weight in (share, 1 - share):
        counted = weight * kept
        if counted.sum() >= 5:
            mean = ((real - drawn) * counted).sum(1, keepdim=True) / counted.sum()
            total += weight * mean.clamp(-LARGEST_CORRECTION, LARGEST_CORRECTION)
    return total


def _frame_sources(old: Analysis, plan: _Plan, w: Tensor) -> Tensor:
    """For each new frame the recording's frame that it is, or -1."""
    starts = old.alignment.w.cumsum(0) - old.alignment.w
    parts = []
    for source, n in zip(plan.source.tolist(), w.tolist(), strict=True):
        first = int(starts[source]) if source >= 0 else 0
        parts.append(torch.arange(first, first + n) if source >= 0 else torch.full((n,), -1))
    return torch.cat(parts)


def _join(
    voice: Voice, wav: np.ndarray, rate: int, old: Analysis, new: Encoded, plan: _Plan, w: Tensor, mel: Tensor
) -> tuple[np.ndarray, list[Span]]:
    """Vocode each stretch with its surroundings and put it into the recording."""
    frames = _frame_sources(old, plan, w[0]).numpy()
    hop = voice.settings.audio.hop * rate / voice.settings.audio.sample_rate  # samples of the recording a frame
    origin = round(old.recording.start * rate)
    pieces: list[np.ndarray] = []
    spans: list[Span] = []
    done = written = 0
    texts = [s.words for s in (old.encoded.sentence, new.sentence)]
    for (first, last), numbers in zip(_runs(frames < 0), plan.words, strict=True):
        begin, stop = max(0, first - CONTEXT), min(len(frames), last + CONTEXT)
        sound = resample(voice.vocode(mel[:, begin:stop].numpy()), voice.sample_rate, rate) / old.recording.gain
        start = int(frames[first - 1]) + 1
        end = int(frames[last]) if last < len(frames) else old.recording.mel.shape[1]
        anchors = [
            (origin + round(o * hop), round((n - begin) * hop)) for o, n in ((start, first), (end, last))
        ]  # fmt: skip
        sound = _level(sound, wav if wav.ndim == 1 else wav.mean(axis=1), anchors, stop > last)
        cut = splice(wav, sound, rate, anchors[0], anchors[1], done)
        pieces += [wav[done : cut.first], cut.new]
        written += cut.first - done
        words = [" ".join(t[i].text for i in group) for t, group in zip(texts, numbers, strict=True)]
        spans.append(Span(
            cut.first / rate, cut.last / rate, written / rate, (written + len(cut.new)) / rate, *words
        ))  # fmt: skip
        written += len(cut.new)
        done = cut.last
    return np.concatenate([*pieces, wav[done:]]), spans


def _level(sound: np.ndarray, mono: np.ndarray, anchors: list[tuple[int, int]], right: bool) -> np.ndarray:
    """Scale sound [K] so that what it repeats of the recording is as loud as there; at most 4 dB."""
    (a, i), (b, j) = anchors
    parts = [(mono[max(0, a - i) : a], sound[max(0, i - a) : i])]
    if right:
        parts.append((mono[b : b + len(sound) - j], sound[j : j + len(mono) - b]))
    there, here = (np.concatenate([p[k] for p in parts]) for k in (0, 1))
    power = [float(np.square(x, dtype=np.float64).mean()) if len(x) else 0.0 for x in (there, here)]
    if min(power) < 1e-10:
        return sound
    limit = 10 ** (4 / 20)
    return sound * np.float32(np.clip(math.sqrt(power[0] / power[1]), 1 / limit, limit))


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and last + 1 of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
