"""What a user asks of a reading, done to its predicted prosody: marks of the text, edits by hand, whole frames."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from speechvae.directing.edits import Edits
from speechvae.errors import SpeechVAEError
from speechvae.models.decoder import Prosody
from speechvae.models.speech_vae import F0_SCALE
from speechvae.takes import Take
from speechvae.text import Sentence
from speechvae.text.types import Word

PAUSE = 0.35  # s, the longest pause that the decoder is asked for; the rest of a longer one repeats its middle
EDGE = 0.2  # s, the longest silence before the first and after the last phoneme
SHORTEST, LONGEST = 0.5, 400.0  # frames that a head may ask for
SEMITONE = math.log(2) / 12 / F0_SCALE  # of normalised log f0
DECIBEL = math.log(10) / 20  # of normalised energy
STRONG = (2.0, 3.0, 0.2)  # emphasis 1: semitones higher, dB louder, share longer


def directed(
    raw: Prosody, sentence: Sentence, owners: list[int], *, length_scale: float, edits: Edits, first_word: int,
    rate: float, centre: float | None = None, f0_range: float = 1.0,
) -> tuple[Prosody, Tensor]:  # fmt: skip
    """Predicted or pinned prosody [1, 1, N] with the marks of the text and the user's edits; `raw` stays as it is.

    Args:
        owners: the word of each symbol, -1 = none.
        first_word: number of the sentence's first word in the whole text, from 1.
        rate: frames a second.
        centre: what `f0_range` scales around; None = the mean of the voiced phonemes.
        f0_range: factor of the f0 movement, `Take.f0_range`.

    Returns the prosody and the durations [N] in frames, not yet whole, of which `logw` is the logarithm.
    """
    f0, vuv, energy = raw.f0.clone(), raw.vuv.clone(), raw.energy.clone()
    if f0_range != 1:
        middle = voiced_mean(raw) if centre is None else centre
        f0 = middle + (f0 - middle) * f0_range
    f0 += edits.pitch * SEMITONE
    energy += edits.energy * DECIBEL
    w = raw.logw[0, 0].exp().clamp(SHORTEST, LONGEST) * length_scale
    stressed = dict(edits.emphasis)
    for i, owner in enumerate(owners):
        if owner < 0:
            continue
        word = sentence.words[owner]
        emphasis = word.emphasis + stressed.get(first_word + owner, 0.0)
        f0[0, 0, i] += (word.pitch + STRONG[0] * emphasis) * SEMITONE
        energy[0, 0, i] += STRONG[1] * DECIBEL * emphasis
        w[i] = w[i] * (1 + STRONG[2] * emphasis) / word.rate
    pauses = dict(edits.breaks)
    after = [i + 1 for i in range(len(owners) - 1) if owners[i] >= 0 and owners[i + 1] != owners[i]]
    for owner, place in enumerate(after):
        marked, asked = sentence.break_after[owner], pauses.get(first_word + owner, 0.0)
        if marked is not None:
            w[place] = max(float(w[place]), marked * rate)
        if asked * rate > float(w[place]):
            # Between two words without a comma the model expects no pause: it is told what silence is like here.
            w[place] = asked * rate
            vuv[0, 0, place] = 0.0
            energy[0, 0, place] = min(float(energy[0, 0, place]), float(energy[0, 0, 0]))
    w[0] = w[0].clamp_max(EDGE * rate) + sentence.break_before * rate
    w[-1] = w[-1].clamp_max(EDGE * rate)
    return Prosody(w.log()[None, None], f0, vuv, energy), w


def voiced_mean(prosody: Prosody) -> float:
    """Mean of normalised log f0 over the voiced time of [1, 1, N]."""
    weight = prosody.vuv * prosody.logw.exp()
    return float((prosody.f0 * weight).sum() / weight.sum().clamp_min(1e-6))


def between(a: Prosody, b: Prosody, t: float | Tensor) -> Prosody:
    """Prosody on the way from `a` (t = 0) to `b` (t = 1), [B, 1, N] each; t may be [B, 1, 1].

    Straight lines, in seconds for durations: a line between their logarithms would sag, and a reading half way could
    be shorter than both.
    """
    share = torch.as_tensor(t, dtype=a.f0.dtype)
    w = torch.lerp(a.logw.exp(), b.logw.exp(), share).clamp_min(SHORTEST)
    vuv = torch.lerp(a.vuv, b.vuv, share).clamp(0, 1)
    return Prosody(w.log(), torch.lerp(a.f0, b.f0, share), vuv, torch.lerp(a.energy, b.energy, share))


def whole_frames(w: Tensor, owners: list[int]) -> Tensor:
    """Durations w [N] → whole frames [1, N], each at least 1.

    The running sum of a word is rounded, so that no length is lost or gained within it; and of a word alone, so that
    what happens to one word leaves the frames of all others as they are.
    """
    frames: list[int] = []
    total, ended = 0.0, 0
    for i, length in enumerate(w.tolist()):
        if i == 0 or owners[i] < 0 or owners[i] != owners[i - 1]:
            total, ended = 0.0, 0
        total += length
        end = max(ended + 1, round(total))
        frames.append(end - ended)
        ended = end
    return w.new_tensor(frames).long()[None]


def short_pauses(prosody: Prosody, w: Tensor, owners: list[int], rate: float) -> tuple[Prosody, Tensor]:
    """What the decoder gets: prosody and whole frames [1, N] with no pause above `PAUSE` seconds.

    In a longer one the voice would fade over half its length, since energy runs on a line from phoneme to phoneme.
    """
    longest = round(PAUSE * rate)
    pause = torch.tensor([owner < 0 for owner in owners])[None] & (w > longest)
    logw = torch.where(pause[:, None], math.log(longest), prosody.logw)
    return replace(prosody, logw=logw), torch.where(pause, longest, w)


def stretch_pauses(mel: Tensor, short: Tensor, w: Tensor) -> Tensor:
    """Log-mel [1, M, T] of durations `short` [1, N] → that of durations w [1, N].

    What is missing is the middle third of the phoneme, played back and forth.
    """
    pieces, done = [], 0
    for start, own, wanted in zip((short.cumsum(1) - short)[0].tolist(), short[0].tolist(), w[0].tolist(), strict=True):
        if wanted > own:
            middle = mel[..., start + own // 3 : start + own - own // 3]
            there_and_back = torch.cat([middle, middle.flip(2)], 2)
            times = -(-(wanted - own) // there_and_back.shape[2])
            at = start + own - own // 3
            pieces += [mel[..., done:at], there_and_back.flip(2).repeat(1, 1, times)[..., : wanted - own]]
            done = at
    return torch.cat([*pieces, mel[..., done:]], 2)


# -- words -----------------------------------------------------------------------------------------------------------


def all_words(frontend: Any, text: str, ssml: bool) -> Iterator[Word]:
    """The spoken words of a text in order; the first has number 1."""
    return itertools.chain.from_iterable(s.words for s in frontend.stream(text, ssml=ssml))


def require_words(frontend: Any, take: Take, words: Iterable[int]) -> None:
    """Raise unless the take's text has all these word numbers."""
    wanted = sorted(words)
    if not wanted:
        return
    if wanted[0] < 1:
        raise SpeechVAEError(f"words are numbered 1, 2, 3 ..., not {wanted[0]}")
    count = sum(1 for _ in itertools.islice(all_words(frontend, take.text, take.ssml), wanted[-1]))
    if count < wanted[-1]:
        raise SpeechVAEError(f"there is no word {wanted[-1]}: the text has {count} words; `speechvae words` lists them")


def find_words(words: Iterable[Word], wanted: str) -> list[int]:
    """Numbers of the words written or spoken like this, in upper or lower case."""
    key = wanted.casefold().strip(" .,;:!?\"'")
    return [
        number for number, word in enumerate(words, start=1)
        if key and key in (word.text.casefold().strip(" .,;:!?\"'"), word.spoken.casefold())
    ]  # fmt: skip
