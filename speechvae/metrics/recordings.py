"""The recordings that a voice is measured against: which of a corpus, and in the condition they were trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from speechvae.corpus import Utterance
from speechvae.errors import SpeechVAEError
from speechvae.metrics._common import at_rate
from speechvae.validation import Limits, Measure, measure, speaker_gain

CENTROID_CLIPS = 40  # recordings that make a speaker's centroid


@dataclass
class Clip:
    """Something to measure: samples [T] at `rate` Hz of `text` said by `speaker`."""

    id: str
    wav: np.ndarray
    rate: int
    text: str = ""
    speaker: str = ""


class Recordings:
    """The recordings of a corpus, trimmed and brought to level as for training; decoded when asked for.

    `rate`: the samples' rate in Hz. Utterances that training would refuse are left out and noted in `refused`.
    """

    def __init__(self, utterances: Iterable[Utterance], rate: int) -> None:
        self.rate = rate
        self.refused: dict[str, str] = {}
        self._found: dict[str, Measure] = {}
        self._known: dict[str, Utterance] = {}
        levels: dict[str, list[Measure]] = defaultdict(list)
        for u in utterances:
            try:
                found = measure(*_samples(u), Limits(max_seconds=60))
            except SpeechVAEError as error:
                self.refused[u.id] = str(error)
                continue
            if found.reason:
                self.refused[u.id] = f"{found.reason}: {found.detail}"
                continue
            self._found[u.id], self._known[u.id] = found, u
            levels[u.speaker].append(found)
        self.gains = {
            s: speaker_gain([f.level for f in found], [f.peak for f in found]) for s, found in levels.items()
        }

    def __contains__(self, utterance_id: str) -> bool:
        return utterance_id in self._found

    def get(self, utterance_id: str | None) -> Clip | None:
        """The recording, or None if it was refused or is not known."""
        return self[utterance_id] if utterance_id is not None and utterance_id in self else None

    def __getitem__(self, utterance_id: str) -> Clip:
        u, found = self._known[utterance_id], self._found[utterance_id]
        wav, rate = _samples(u)
        wav = at_rate(wav[round(found.start * rate) : round(found.end * rate)], rate, self.rate)
        return Clip(u.id, np.clip(wav * self.gains[u.speaker], -1, 1), self.rate, u.text, u.speaker)


def _samples(u: Utterance) -> tuple[np.ndarray, int]:
    from speechvae.audio import load

    if u.samples is not None and u.sample_rate is not None:
        return np.asarray(u.samples, np.float32), u.sample_rate
    if u.audio is None:
        raise SpeechVAEError(f"{u.id} has no audio")
    return load(u.audio)


def pick(utterances: Sequence[Utterance], split: str, n: int | None) -> list[Utterance]:
    """The utterances of `split` ("all": of every split), at most `n`, spread evenly over them."""
    chosen = [u for u in utterances if split in ("all", u.split)]
    if not chosen:
        there = ", ".join(sorted({u.split for u in utterances})) or "none"
        raise SpeechVAEError(f"the corpus has no utterances in the split {split!r}; it has: {there}")
    if n is not None and n < 1:
        raise SpeechVAEError(f"n must be at least 1, not {n}")
    if n is None or n >= len(chosen):
        return chosen
    return [chosen[i] for i in np.linspace(0, len(chosen) - 1, n).round().astype(int)]


def by_prompt(utterances: Iterable[Utterance]) -> dict[str, list[Utterance]]:
    """The utterances of each speaker and prompt, in order; keys are `SPEAKER/PROMPT`."""
    groups: dict[str, list[Utterance]] = defaultdict(list)
    for u in utterances:
        groups[f"{u.speaker}/{u.prompt or u.id}"].append(u)
    return dict(groups)


def another_take(utterances: Sequence[Utterance]) -> Iterator[tuple[Utterance, Utterance]]:
    """Each utterance whose prompt was recorded again, with the next recording of it."""
    for group in by_prompt(utterances).values():
        if len(group) > 1:
            yield from zip(group, [*group[1:], group[0]], strict=True)


def centroid_clips(utterances: Sequence[Utterance], speakers: Iterable[str]) -> list[Utterance]:
    """Recordings of each speaker to make a centroid from: of the training split where there is one, spread evenly."""
    found = []
    for speaker in sorted(set(speakers)):
        own = [u for u in utterances if u.speaker == speaker]
        train = [u for u in own if u.split == "train"]
        source = train if train else own
        places = np.linspace(0, len(source) - 1, min(CENTROID_CLIPS, len(source))).round().astype(int)
        found += [source[i] for i in places]
    return found
