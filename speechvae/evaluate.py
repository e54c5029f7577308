"""Measure a voice, or anyone's wav files, beside the recordings of the same sentences.

    report = evaluate("kathleen", "corpora/kathleen", takes=8, out="evaluation")
    report.print()

Without a voice: ``python -m speechvae.evaluate_folder --wavs DIR --corpus DIR`` measures files named by utterance id.
Recordings are trimmed and levelled as for training, so that all systems are compared under the same conditions.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from speechvae import metrics as m
from speechvae.corpus import Utterance, read_corpus
from speechvae.errors import SpeechVAEError
from speechvae.metrics.meter import METRICS, Meter, choose
from speechvae.metrics.recordings import Clip, Recordings, another_take, by_prompt, centroid_clips, pick
from speechvae.metrics.report import Report, Row

__all__ = ["METRICS", "Clip", "Meter", "Report", "evaluate", "measure_folder"]

SAMPLE_TEXT = "The birch canoe slid on the smooth planks, and nobody on the bank had anything to say about it."

PATHS = 200  # between two readings, to see whether they are smooth
PAIRED = 6  # readings of a prompt that are compared with each other: fifteen pairs, enough for a mean


def seed_of(utterance_id: str, take: int = 0) -> int:
    """The seed with which an utterance is synthesised in an evaluation: the same in every run."""
    return zlib.crc32(f"{utterance_id}#{take}".encode()) & 0x7FFFFFFF


def evaluate(
    voice: Any,
    corpus: Any,
    split: str = "test",
    n: int | None = None,
    takes: int = 0,
    out: str | Path | None = None,
    copy_synthesis: bool = True,
    progress: bool = True,
    *,
    metrics: Iterable[str] | None = None,
    without: Iterable[str] = (),
    overwrite: bool = False,
    prosody: bool = False,
    temperatures: Sequence[float] = (),
    takes_split: str | None = None,
    takes_temperature: float = 1.0,
    takes_style_temperature: float = 1.0,
    **options: Any,
) -> Report:
    """Measure recordings, copies through the vocoder and through Griffin-Lim, and synthesis, side by side.

    Args:
        voice: a `Voice`, or the name or folder of one.
        corpus: whatever `read_corpus` reads, or a list of utterances.
        split: `test`, `dev`, `train` or `all`.
        n: at most so many utterances of the split, spread evenly over it.
        takes: readings to draw of each prompt that has several recordings, to compare their spread (0: none).
        out: folder for `report.json`, `utterances.jsonl` and pictures.
        metrics, without: names out of `METRICS` (default: all), and those to leave out.
        overwrite: replace a report that is already in `out`.
        prosody: also what the latents carry and how smoothly readings can be blended.
        temperatures: a further system, `synthesis T=…`, for each of these (both temperatures).
        takes_split: where the prompts for `takes` come from (default: `split`).
        takes_temperature, takes_style_temperature: with which `takes` are drawn.
        options: passed to `voice.say`, such as `temperature`.

    Raises:
        SpeechVAEError: a package is missing, the corpus or its split is empty, `out` holds a report.
    """
    no_report_in(out, overwrite)
    if takes == 1 or takes < 0:
        raise SpeechVAEError(f"takes must be 0 (none) or at least 2, not {takes}: one reading has no spread")
    source = voice if isinstance(voice, str | Path) else None
    if source is not None:
        from speechvae.synthesis import Voice

        voice = Voice.load(source)
    chosen = choose(metrics, without)
    everything = list(corpus) if isinstance(corpus, list | tuple) else list(read_corpus(corpus))
    run = _Run(voice, everything, pick(everything, split, n), Meter(chosen, voice.language), progress, options)
    run.report.about |= {"voice": voice.name, "corpus": _label(corpus), "split": split, "options": options}
    run.report.about |= run.meter.about()
    run.measure_systems(copy_synthesis, temperatures)
    if takes:
        drawn = {"temperature": takes_temperature, "style_temperature": takes_style_temperature}
        run.measure_diversity(takes, pick(everything, split if takes_split is None else takes_split, None), n, drawn)
    if prosody:
        run.measure_latents()
    run.measure_cost(source)
    if out is not None:
        run.report.save(out)
    return run.report


def no_report_in(out: str | Path | None, overwrite: bool = False) -> None:
    """Raise :class:`SpeechVAEError` if the folder `out` holds a report that may not be replaced."""
    if out is not None and not overwrite and (Path(out) / "report.json").exists():
        raise SpeechVAEError(f"{out} already holds a report.json: name another folder, or ask to overwrite it")


def _contours(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    """Mel-cepstra and f0 of a trimmed and levelled clip."""
    wav = m.level_to(m.trim(clip.wav, clip.rate, 0.02), clip.rate)
    return m.mel_cepstra(wav, clip.rate), m.f0_track(wav, clip.rate)


def _label(corpus: Any) -> str:
    if isinstance(corpus, str | Path):
        return Path(corpus).resolve().name
    return f"{len(corpus)} utterances" if isinstance(corpus, list | tuple) else str(getattr(corpus, "label", "dataset"))


def _bar(items: Iterable[Any], label: str, show: bool) -> Any:
    from tqdm import tqdm

    return tqdm(list(items), desc=label, unit="clip", disable=not show)


def _row(report: Report, system: str, utterance_id: str, work: Callable[..., Row], *arguments: Any) -> None:
    """Measure and append a row. A clip that cannot be measured is a line in the report, not its end."""
    try:
        row = work(*arguments)
    except SpeechVAEError as error:
        row = {"error": str(error)}
    report.rows.append({"system": system, **row, "id": utterance_id})


class _Run:
    """One evaluation of one voice."""

    def __init__(
        self, voice: Any, everything: Sequence[Utterance], chosen: list[Utterance], meter: Meter, progress: bool,
        options: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self.voice, self.meter, self.progress, self.options = voice, meter, progress, options
        self.report = Report()
        speakers = {u.speaker for u in chosen}
        others = centroid_clips(everything, speakers) if "similarity" in meter.metrics else []
        wanted = {u.id: u for u in [*chosen, *others]}
        self.recordings = Recordings(_bar(wanted.values(), "recordings", progress), voice.sample_rate)
        self.report.notes += [f"left out: {k} ({v})" for k, v in self.recordings.refused.items()]
        self.chosen = [u for u in chosen if u.id in self.recordings]
        if not self.chosen:
            raise SpeechVAEError(f"none of the {len(chosen)} recordings can be used; the first: {self.report.notes[0]}")
        if others:
            meter.make_centroids(self.recordings, others)
        strangers = sorted(speakers - set(voice.speakers))
        if strangers:
            self.report.notes.append(
                f"{voice.name} has no speaker {', '.join(strangers)}: read by {voice.default_speaker} instead, so the "
                "speaker similarity and the F0 errors say little"
            )

    def speaker_of(self, u: Utterance | Clip) -> str | None:
        """Who reads it: its own speaker if the voice has that one (None: the voice's main one)."""
        return u.speaker if u.speaker in self.voice.speakers else None

    def say(self, u: Utterance, take: int = 0, **changes: Any) -> tuple[Clip, float]:
        """A reading of the utterance's text and its rtf; `changes` go before the run's options."""
        options = {**self.options, **changes}
        audio = self.voice.say(u.text, seed=seed_of(u.id, take), speaker=self.speaker_of(u), **options)
        return Clip(u.id, audio.wav, audio.sample_rate, u.text, u.speaker), float(audio.rtf)

    def measure_systems(self, copy_synthesis: bool, temperatures: Sequence[float] = ()) -> None:
        """Every chosen utterance through every system."""
        others = {u.id: other.id for u, other in another_take(self.chosen)}
        copies: dict[str, Callable[[Clip], np.ndarray]] = {}
        if copy_synthesis and getattr(self.voice, "vocoder", None) is not None:
            copies["vocoder copy"] = lambda clip: self.voice.vocode(self.voice.log_mel(clip.wav, clip.rate))
        if copy_synthesis:
            copies["Griffin-Lim copy"] = self._griffin_lim
        self.voice.say(SAMPLE_TEXT, seed=1)  # loads the frontend, which belongs to no clip's rtf
        for u in _bar(self.chosen, "measuring", self.progress):
            recording = self.recordings[u.id]
            other = self.recordings.get(others.get(u.id))
            _row(self.report, "recording", u.id, self.meter.measure, recording, other)
            for name, copy in copies.items():
                _row(self.report, name, u.id, self._copy, recording, copy)
            _row(self.report, "synthesis", u.id, self._synthesis, u, recording)
            for t in temperatures:
                changes = {"temperature": t, "style_temperature": t}
                _row(self.report, f"synthesis T={t:g}", u.id, self._synthesis, u, recording, changes)
        if others:
            self.report.notes.append(
                f"errors of the recordings are those between two recordings of a prompt ({len(others)} of "
                f"{len(self.chosen)} clips)"
            )
        self.report.summarise()

    def _copy(self, recording: Clip, copy: Callable[[Clip], np.ndarray]) -> Row:
        wav = np.asarray(copy(recording), np.float32)
        made = Clip(recording.id, wav, recording.rate, recording.text, recording.speaker)
        return self.meter.measure(made, recording, copy=True)

    def _griffin_lim(self, clip: Clip) -> np.ndarray:
        import torch

        from speechvae.audio import griffin_lim

        mel = torch.from_numpy(np.asarray(self.voice.log_mel(clip.wav, clip.rate), np.float32))[None]
        return griffin_lim(mel, self.voice.settings.audio)[0].numpy()

    def _synthesis(self, u: Utterance, recording: Clip, changes: Mapping[str, Any] | None = None) -> Row:
        clip, rtf = self.say(u) if changes is None else self.say(u, **changes)
        return {**self.meter.measure(clip, recording), "rtf": rtf, "seed": seed_of(u.id)}

    def measure_diversity(
        self, takes: int, utterances: Sequence[Utterance], n: int | None, changes: Mapping[str, Any]
    ) -> None:
        """Spread of `takes` samples of each prompt (at most `n`) with the options `changes`, and of its recordings."""
        groups = {k: g for k, g in by_prompt(utterances).items() if len(g) > 1}
        keys = list(groups)[: len(groups) if n is None else n]
        wanted = [u for k in keys for u in groups[k]]
        known = all(u.id in self.recordings for u in wanted)
        pool = self.recordings if known else Recordings(_bar(wanted, "takes", self.progress), self.voice.sample_rate)
        found: dict[str, dict[str, list[dict[str, float]]]] = {"human": {}, "samples": {}}
        contours: dict[str, list[list[Any]]] = {"human": [], "samples": []}
        for key in _bar(keys, "readings", self.progress):
            there = [u for u in groups[key] if u.id in pool]
            if len(there) < 2:
                continue
            recorded = [pool[u.id] for u in there]
            drawn = [self.say(there[0], take, **changes)[0] for take in range(1, takes + 1)]
            for kind, clips in (("human", recorded), ("samples", drawn)):
                tracks = [m.f0_track(c.wav, c.rate) for c in clips]
                pairs = list(zip(clips, tracks, strict=True))
                found[kind][key] = [m.reading_statistics(c.wav, c.rate, track) for c, track in pairs]
                contours[kind].append([_contours(c) for c in clips[:PAIRED]])
        self.report.diversity = m.diversity(found["human"], found["samples"])
        between = {kind: m.pairwise_distances(groups) for kind, groups in contours.items()}
        for name in between["human"]:
            self.report.diversity[name] = m.beside(between["human"][name], between["samples"][name])
        self.report.about |= {"prompts_read_again": len(found["human"]), "takes": takes, "takes_options": dict(changes)}

    def measure_latents(self) -> None:
        """What the latents carry, from the chosen recordings, and paths between readings of their texts."""
        from speechvae.metrics import latents

        model, clips = self.voice.model, []
        for u in _bar(self.chosen, "latents", self.progress):
            try:
                clips.append(latents.aligned_recording(self.voice, self.recordings[u.id], self.speaker_of(u)))
            except SpeechVAEError as error:
                self.report.notes.append(f"latents of {u.id} not measured: {error}")
        self.report.transfer = self._transfers([u for u in self.chosen if u.id in {c.id for c in clips}])
        if clips:
            use = latents.latent_use(model, clips)
            self.report.latents = {**use.sources, "gain %": use.gain}
            self.report.levels = use.levels
        texts = dict.fromkeys((u.text, self.speaker_of(u)) for u in self.chosen)
        encoded = [self.voice.encode(s, who) for text, who in texts for s in self.voice.frontend(text)]
        self.report.smoothness = latents.smoothness(model, encoded, PATHS)
        example = min(encoded, key=lambda e: abs(len(e.symbols) - 40))
        self.report.path = latents.example_path(model, example)
        self.report.about["path_text"] = example.sentence.text

    def _transfers(self, utterances: Sequence[Utterance]) -> dict[str, float]:
        """How closely the voice performs the readings of recordings, from the sound; means over clips."""
        from speechvae.recordings.transfer import closeness, transfer

        rows = []
        for u in _bar(utterances, "transfers", self.progress):
            clip = self.recordings[u.id]
            try:
                take = transfer(self.voice, clip.wav, clip.rate, u.text, speaker=self.speaker_of(u))
                rows.append(closeness(self.voice, clip.wav, clip.rate, u.text, self.voice.perform(take)))
            except SpeechVAEError as error:
                self.report.notes.append(f"{u.id} not transferred: {error}")
        figures = {k: float(np.nanmean([r[k] for r in rows])) for k in (rows[0] if rows else ())}
        return {**figures, "clips": float(len(rows))} if rows else {}

    def measure_cost(self, source: str | Path | None) -> None:
        """rtf, latency, parameters, the latents' statistics and, of a voice that can be loaded, peak memory."""
        figures = {**m.real_time_factor(self.voice, SAMPLE_TEXT), **m.first_chunk_latency(self.voice, SAMPLE_TEXT)}
        size = self.voice.info().get("parameters")
        if isinstance(size, Mapping):
            figures |= {f"parameters/{k}": v for k, v in size.items()}
        elif isinstance(size, int):
            figures["parameters"] = size
        if source is not None:
            figures["peak_memory_mb"] = m.say_peak_memory(source, SAMPLE_TEXT) / 2**20
        self.report.voice = {**figures, **m.latent_statistics(self.voice)}


def measure_folder(
    wavs: Mapping[str, str | Path],
    texts: Mapping[str, str],
    reference: Mapping[str, Utterance] | None = None,
    *,
    name: str = "synthesis",
    language: str = "en-us",
    centroid_from: Sequence[Utterance] = (),
    copies: bool = False,
    metrics: Iterable[str] | None = None,
    without: Iterable[str] = (),
    progress: bool = True,
) -> Report:
    """Measure the wav files of any system.

    Args:
        wavs: files by utterance id.
        texts: what each of them says; ids without a text are not recognised for errors.
        reference: the utterances recorded, by id; they become the column `recording`.
        name: the column's title.
        centroid_from: recordings of the speakers, for the similarity (default: the references).
        copies: the files are time-aligned with the references (resynthesised recordings).
    """
    meter = Meter(choose(metrics, without), language)
    report = Report(about={"voice": name, "split": f"{len(wavs)} files", **meter.about()})
    known = {} if reference is None else dict(reference)
    if not wavs:
        raise SpeechVAEError("no wav files to measure")
    wanted = {u.id: u for u in [*(known[i] for i in wavs if i in known), *centroid_from]}
    recordings = Recordings(_bar(wanted.values(), "recordings", progress), 24000)
    report.notes += [f"left out: {k} ({v})" for k, v in recordings.refused.items()]
    if "similarity" in meter.metrics and wanted:
        meter.make_centroids(recordings, centroid_from if centroid_from else wanted.values())
    others = {u.id: other.id for u, other in another_take([known[i] for i in wavs if i in recordings])}
    for key, path in _bar(wavs.items(), "measuring", progress):
        recorded = recordings.get(key)
        if recorded is not None:
            other = recordings.get(others.get(key))
            _row(report, "recording", key, meter.measure, recorded, other)
        speaker = recorded.speaker if recorded is not None else ""
        clip = Clip(key, np.zeros(0, np.float32), 0, texts.get(key, ""), speaker)
        _row(report, name, key, _measure_file, meter, path, clip, recorded, copies)
    report.summarise()
    return report


def _measure_file(meter: Meter, path: str | Path, clip: Clip, recorded: Clip | None, copies: bool) -> Row:
    from speechvae.audio import load

    wav, rate = load(path)
    return meter.measure(replace(clip, wav=wav, rate=rate), recorded, copies)
