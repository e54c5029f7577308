"""All chosen measures of one clip, alone and against a reference."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from speechvae import metrics as m
from speechvae.corpus import Utterance
from speechvae.errors import SpeechVAEError
from speechvae.metrics.recordings import Clip, Recordings
from speechvae.metrics.report import Row

# What may be asked for, and the packages it takes.
METRICS: dict[str, tuple[str, ...]] = {
    "recognition": ("jiwer", "moonshine_voice"), "dnsmos": ("speechmos.dnsmos", "onnxruntime"),
    "similarity": ("resemblyzer",), "spectrum": (), "f0": (), "duration": (), "signal": (), "sharpness": (),
    "pesq": ("pesq",), "stoi": ("pystoi",), "stft": (),
}  # fmt: skip


def choose(metrics: Iterable[str] | None, without: Iterable[str] = ()) -> set[str]:
    """The names in `metrics` (None: all of :data:`METRICS`) less `without`, every package found importable.

    Raises :class:`SpeechVAEError` for an unknown name or a missing package, before anything long is begun.
    """
    chosen = set(METRICS if metrics is None else metrics)
    unknown = sorted((chosen | set(without)) - set(METRICS))
    if unknown:
        raise SpeechVAEError(f"unknown metrics: {', '.join(unknown)}; known: {', '.join(METRICS)}")
    chosen -= set(without)
    for name in METRICS:
        for package in METRICS[name] if name in chosen else ():
            try:
                m.require(package, f"The measure {name!r}")
            except SpeechVAEError as error:
                raise SpeechVAEError(f"{error}; or leave {name!r} out of the evaluation") from error
    return chosen


@dataclass
class Meter:
    """Measures clips one by one; its models are loaded once, when first needed."""

    metrics: set[str] = field(default_factory=lambda: set(METRICS))
    language: str = "en-us"
    centroids: dict[str, np.ndarray] = field(default_factory=dict)  # by speaker

    @cached_property
    def recogniser(self) -> m.Recogniser:
        return m.Recogniser()

    @cached_property
    def dnsmos(self) -> m.Dnsmos:
        return m.Dnsmos()

    @cached_property
    def encoder(self) -> m.SpeakerEncoder:
        return m.SpeakerEncoder()

    def about(self) -> dict[str, str]:
        """How it measures, for the report."""
        tracker = {"f0_tracker": m.f0_tracker()} if self.metrics & {"f0", "sharpness"} else {}
        return {"metrics": ", ".join(n for n in METRICS if n in self.metrics), **tracker}

    def make_centroids(self, recordings: Recordings, utterances: Iterable[Utterance]) -> None:
        """Set the speakers' centroids from those of the utterances that are fit."""
        clips: dict[str, list[tuple[np.ndarray, int]]] = defaultdict(list)
        for u in utterances:
            if u.id in recordings:
                clip = recordings[u.id]
                clips[u.speaker].append((clip.wav, clip.rate))
        self.centroids = {speaker: self.encoder.centroid(own) for speaker, own in clips.items()}

    def measure(self, clip: Clip, reference: Clip | None = None, copy: bool = False) -> Row:
        """Every chosen figure of `clip`; those against a `reference` only if there is one.

        `copy`: the clip is time-aligned with the reference, so that PESQ, STOI and STFT distances apply.
        """
        row: Row = {"id": clip.id, "text": clip.text, "speaker": clip.speaker}
        if "signal" in self.metrics:
            row |= m.signal_checks(clip.wav, clip.rate)
        if not np.isfinite(m.active_level(clip.wav, clip.rate)):
            return {**row, "error": "silent"}
        if "recognition" in self.metrics and clip.text:
            heard = self.recogniser.transcribe(clip.wav, clip.rate)
            row["heard"] = heard
            for key, count in (("word_errors", m.word_errors), ("character_errors", m.character_errors)):
                e = count(clip.text, heard, self.language)
                row[key] = [e.substitutions, e.deletions, e.insertions, e.length]
        if "dnsmos" in self.metrics:
            row |= self.dnsmos(clip.wav, clip.rate)
        if "similarity" in self.metrics and clip.speaker in self.centroids:
            row["similarity"] = self.encoder.similarity(clip.wav, clip.rate, self.centroids[clip.speaker])
        if self.metrics & {"f0", "sharpness"}:
            track = m.f0_track(clip.wav, clip.rate)
            if "f0" in self.metrics:
                row |= m.reading_statistics(clip.wav, clip.rate, track)
            if "sharpness" in self.metrics:
                row |= m.sharpness(clip.wav, clip.rate, track)
        return row if reference is None else row | self._against(clip, reference, copy)

    def _against(self, clip: Clip, reference: Clip, copy: bool) -> Row:
        row: Row = {}
        if self.metrics & {"spectrum", "f0"}:
            sides = [m.level_to(m.trim(c.wav, c.rate, keep=0.02), c.rate) for c in (reference, clip)]
            a, b = (m.mel_cepstra(w, c.rate) for w, c in zip(sides, (reference, clip), strict=True))
            path = m.dtw_path(a, b)
            if "spectrum" in self.metrics:
                row["mcd"] = m.distortion(a, b, path)
            if "f0" in self.metrics:
                tracks = [m.f0_track(w, c.rate) for w, c in zip(sides, (reference, clip), strict=True)]
                row |= m.f0_errors(tracks[0], tracks[1], path)
        if "duration" in self.metrics:
            spoken = (m.spoken_duration(c.wav, c.rate) for c in (reference, clip))
            row |= m.duration_error(*spoken)
        if copy:
            row |= self._aligned(clip, reference)
        return row

    def _aligned(self, clip: Clip, reference: Clip) -> Row:
        target = m.at_rate(reference.wav, reference.rate, clip.rate)
        row: Row = {}
        if "pesq" in self.metrics:
            row["pesq"] = m.pesq_wb(target, clip.wav, clip.rate)
        if "stoi" in self.metrics:
            row["stoi"] = m.stoi(target, clip.wav, clip.rate)
        if "stft" in self.metrics:
            row |= m.stft_distance(target, clip.wav, clip.rate)
        return row
