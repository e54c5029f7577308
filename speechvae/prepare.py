"""From corpora to a work folder that every later stage reads: `manifest.jsonl` and cached features.

Each recording is decoded once: the first pass validates and measures it and leaves the trimmed samples in a
temporary file, because the gain of a speaker is known only when all clips are measured; the second pass writes the
features. Measurements and features are kept, so an interrupted or repeated run does only what is missing.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from speechvae.config import AudioConfig
from speechvae.corpus import Corpus, Utterance, read_corpus
from speechvae.errors import SpeechVAEError
from speechvae.journal import Journal, SampleStore, ordered_map, write_text
from speechvae.validation import VERSION, Limits, Measure, clip_gain, measure, rate_outliers, speaker_gain

A = TypeVar("A")
Row = dict[str, Any]


@dataclass(frozen=True)
class Refusal:
    """One entry that was left out: where, which, and why."""

    corpus: str
    id: str
    reason: str
    detail: str = ""


@dataclass
class Report:
    """What `prepare` did; `speakers` holds clips, hours, median level (dBFS) and gain (dB) of each."""

    read: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)
    refused: list[Refusal] = field(default_factory=list)
    speakers: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As written to report.json."""
        return {"read": dict(self.read), "accepted": dict(self.accepted), "splits": dict(self.splits),
                "speakers": self.speakers, "refused": [asdict(r) for r in self.refused], "notes": self.notes}

    def table(self, examples: int = 3) -> str:
        """Plain text: accepted by corpus, the speakers, and what was refused and why, with some ids each."""
        lines = ["corpus            read  accepted"]
        lines += [f"{name:16} {self.read[name]:5} {self.accepted[name]:9}" for name in self.read]
        if self.speakers:
            lines += ["", "speaker          clips   hours   level    gain"]
            lines += [
                f"{name:16} {s['clips']:5.0f} {s['hours']:7.2f} {s['level']:4.1f} dB {s['gain_db']:+4.1f} dB"
                for name, s in self.speakers.items()
            ]
        if self.refused:
            lines += ["", "refused because              clips  for example"]
            for reason, count in Counter(r.reason for r in self.refused).most_common():
                shown = [r for r in self.refused if r.reason == reason][:examples]
                for i, r in enumerate(shown):
                    head = f"{reason:28} {count:5}" if i == 0 else " " * 34
                    lines.append(f"{head}  {r.corpus}/{r.id}" + (f": {r.detail}" if r.detail else ""))
        return "\n".join([*lines, *(["", *self.notes] if self.notes else [])])


def prepare(
    corpora: Sequence[Any] | Any,
    work: str | Path,
    audio_cfg: AudioConfig | None = None,
    language: str = "en-us",
    *,
    phonemise: bool = True,
    lexicon: Mapping[str, str] | Path | None = None,
    symbols: Any = None,
    limits: Limits | None = None,
    level_kept: float = 1 / 3,
    limit: int | None = None,
    jobs: int = 1,
    features: bool = True,
    progress: bool = True,
) -> Report:
    """Validate, trim, level, phonemise and cache `corpora` in the folder `work`.

    Args:
        corpora: folders, JSONL files, `Corpus` descriptions or `datasets` objects, one or several.
        language: of the texts, unless a `Corpus` says otherwise.
        phonemise: without it the manifest has no symbols: enough for a vocoder.
        lexicon: pronunciations that go before the frontend's own.
        symbols: a `SymbolTable` of an existing model; texts with other symbols are refused.
        level_kept: share (0..1) of a clip's distance from its speaker's median level that is kept.
        limit: at most so many utterances of each corpus, spread evenly over it (the first ones of a dataset).
        jobs: processes that decode and analyse.
        features: without it only the manifest is written.

    Returns:
        The report, also in WORK/report.json. Besides it: manifest.jsonl, symbols.json, speakers.json, features/.

    Raises:
        SpeechVAEError: a corpus cannot be read at all, or nothing in it can be used.
    """
    cfg = AudioConfig() if audio_cfg is None else audio_cfg
    if isinstance(corpora, str | Path | Corpus) or hasattr(corpora, "column_names"):
        corpora = [corpora]
    sources = [c if isinstance(c, Corpus) else Corpus(c) for c in corpora]
    if not sources:
        raise SpeechVAEError("no corpus given: name at least one folder with --corpus")
    run = _Run(Path(work), cfg, Limits() if limits is None else limits, jobs, progress)
    texts = _Texts(language, lexicon, symbols) if phonemise else None
    try:
        rows = run.measure_all(_unique(sources, limit, run.report, texts, progress))
        rows = _drop_outliers(rows, run)
        run.level(rows, level_kept)
        if features and rows:
            rows = run.cache_all(rows)
        run.finish(rows, phonemise)
    finally:
        run.samples.close()
    return run.report


def _unique(
    sources: Sequence[Corpus], limit: int | None, report: Report, texts: _Texts | None, progress: bool
) -> Iterator[tuple[str, Utterance]]:
    """All utterances fit to be measured, with their corpus and their symbols; ids are made distinct."""
    seen: set[str] = set()
    labels: Counter[str] = Counter()
    for source in sources:
        labels[source.label] += 1
        name = source.label if labels[source.label] == 1 else f"{source.label}-{labels[source.label]}"

        def refuse(id: str, reason: str, detail: str = "", name: str = name) -> None:
            report.refused.append(Refusal(name, id, reason, detail))

        def unreadable(id: str, detail: str, refuse: Callable[..., None] = refuse, name: str = name) -> None:
            report.read[name] += 1
            refuse(id, "cannot be read", detail)

        here: set[str] = set()
        found = _spread(read_corpus(source, on_problem=unreadable), limit, not isinstance(source.source, str | Path))
        for utterance in _bar(found, progress, f"read {name}"):
            report.read[name] += 1
            if utterance.id in here:
                refuse(utterance.id, "duplicate id")
                continue
            here.add(utterance.id)
            symbols, words = utterance.symbols, utterance.words
            if texts is not None:
                symbols, words, reason, detail = texts(utterance, source.language)
                if reason:
                    refuse(utterance.id, reason, detail)
                    continue
            elif not utterance.text and symbols is None:
                refuse(utterance.id, "empty text")
                continue
            # two speakers of one prompt list share their ids
            id = utterance.id if utterance.id not in seen else f"{name}-{utterance.id}"
            seen.add(id)
            yield name, replace(utterance, id=id, symbols=symbols, words=words)


class _Texts:
    """Symbols and words of an utterance; texts that recur (takes of a prompt) are phonemised once."""

    def __init__(self, language: str, lexicon: Mapping[str, str] | Path | None, known: Any) -> None:
        self.language, self.lexicon, self.known = language, lexicon, known
        self.frontends: dict[str, Any] = {}
        self.cache: dict[tuple[str, str], tuple[Any, Any, str, str]] = {}

    def __call__(self, utterance: Utterance, language: str | None) -> tuple[Any, Any, str, str]:
        """`(symbols, words, reason, detail)`; the reason is empty if the text is fit."""
        if utterance.symbols is not None:
            return self._check(utterance.symbols, utterance.words)
        if not utterance.text:
            return None, (), "empty text", ""
        key = (self.language if language is None else language, utterance.text)
        if key not in self.cache:
            self.cache[key] = self._phonemise(*key)
        return self.cache[key]

    def _phonemise(self, language: str, text: str) -> tuple[Any, Any, str, str]:
        if language not in self.frontends:
            from speechvae.text import get_frontend

            self.frontends[language] = get_frontend(language, lexicon=self.lexicon)
        try:
            sentence = self.frontends[language].utterance(text)
        except Exception as error:  # noqa: BLE001 - one strange text must not stop the corpus
            return None, (), "text not understood", f"{type(error).__name__}: {error}"
        if sentence is None or not sentence.words:
            return None, (), "nothing to speak", repr(text[:60])
        silent = [w.text for w in sentence.words if not w.phonemes]
        if silent:
            return None, (), "word without phonemes", ", ".join(silent[:5])
        symbols, owners = sentence.symbols()
        places: dict[int, list[int]] = defaultdict(list)
        for place, owner in enumerate(owners):
            if owner >= 0:
                places[owner].append(place)
        words = tuple((sentence.words[i].text, at[0], at[-1] + 1) for i, at in sorted(places.items()))
        return self._check(tuple(symbols), words)

    def _check(self, symbols: tuple[str, ...], words: Any) -> tuple[Any, Any, str, str]:
        if len(symbols) < 3:
            return None, (), "nothing to speak", " ".join(symbols)
        foreign = sorted({s for s in symbols if self.known is not None and s not in self.known})
        if foreign:
            return None, (), "unknown symbol", " ".join(foreign[:8])
        return symbols, words, "", ""


class _Run:
    """One call of `prepare`: the work folder, what is cached in it, and the report."""

    def __init__(self, work: Path, cfg: AudioConfig, limits: Limits, jobs: int, progress: bool) -> None:
        self.work, self.cfg, self.limits, self.jobs, self.progress = work, cfg, limits, jobs, progress
        self.report = Report()
        work.mkdir(parents=True, exist_ok=True)
        self.measures = Journal(work / "measures.jsonl")
        self.written = Journal(work / "written.jsonl")
        self.samples = SampleStore(work)

    def measure_all(self, utterances: Iterable[tuple[str, Utterance]]) -> list[Row]:
        """Manifest rows (without gain) of all utterances whose recording is fit."""
        rows = []
        known = self.measures.data
        tasks = ((corpus, u, self.cfg, self.limits, known.get(u.id), self.work) for corpus, u in utterances)
        for (corpus, u, *_), (stamp, found, pcm, audio) in ordered_map(_examine, tasks, self.jobs):
            if pcm is not None or found.reason:
                self.measures.add(u.id, {"stamp": stamp, **asdict(found)})
            if found.reason:
                self.report.refused.append(Refusal(corpus, u.id, found.reason, found.detail))
                continue
            if pcm is not None:
                self.samples.add(u.id, pcm)
            rows.append({
                "id": u.id, "speaker": u.speaker, "text": u.text, "split": u.split, "prompt": u.prompt,
                "corpus": corpus, "audio": str(audio), "duration": round(found.end - found.start, 6),
                "start": found.start, "end": found.end, "gain": 1.0, "symbols": list(u.symbols or ()),
                "words": [list(w) for w in u.words], "_measure": found, "_stamp": stamp,
            })  # fmt: skip
        return rows

    def level(self, rows: list[Row], kept: float) -> None:
        """Give every row its gain: the speaker's, and what leaves the share `kept` of the differences between clips."""
        for speaker, group in sorted(_by_speaker(rows).items()):
            found = [r["_measure"] for r in group]
            gain = speaker_gain([m.level for m in found], [m.peak for m in found])
            middle = float(np.median([m.level for m in found]))
            for row in group:
                row["gain"] = clip_gain(gain, row["_measure"].level, middle, row["_measure"].peak, kept)
            self.report.speakers[speaker] = {
                "clips": len(group), "hours": round(sum(r["duration"] for r in group) / 3600, 3),
                "level": round(middle, 1), "gain_db": round(20 * float(np.log10(gain)), 1),
            }  # fmt: skip

    def cache_all(self, rows: list[Row]) -> list[Row]:
        """Write the features of each row, unless they are there for this cut and gain; the rows that have them."""
        from speechvae.dataset import feature_path

        missing, kept = [], []
        for row in rows:
            key = f"{row['_stamp']} {row['start']} {row['end']} {row['gain']} {self.cfg.fingerprint()}"
            path = feature_path(self.work, row["id"])
            if self.written.data.get(row["id"]) == key and path.is_file():
                kept.append(row["id"])
                continue
            path.unlink(missing_ok=True)  # features of another cut or level
            missing.append((row, key))
        if kept:
            self.report.notes.append(f"{len(kept)} of {len(rows)} clips had their features already")
        done = set(kept)
        tasks = ((_public(r), self.cfg, self.work, self.samples.get(r["id"], r["gain"]), key) for r, key in missing)
        for (row, *_, key), error in _bar(
            ordered_map(_write_features, tasks, self.jobs), self.progress, "features", len(missing)
        ):
            if error:
                self.report.refused.append(Refusal(row["corpus"], row["id"], "features failed", error))
                continue
            self.written.add(row["id"], key)
            done.add(row["id"])
        if missing and (self.work / "durations.safetensors").is_file():
            self.report.notes.append(f"{len(missing)} clips are new or cut anew: train the aligner again for durations")
        return [r for r in rows if r["id"] in done]

    def finish(self, rows: list[Row], phonemise: bool) -> None:
        """Write manifest, tables and report."""
        self.measures.close()
        self.written.close()
        for row in rows:
            self.report.accepted[row["corpus"]] += 1
            self.report.splits[row["split"]] += 1
        write_text(self.work / "report.json", json.dumps(self.report.to_dict(), ensure_ascii=False, indent=1))
        if not rows:
            raise SpeechVAEError(f"no utterance can be used; nothing was written to {self.work} but report.json:\n"
                                 + self.report.table())
        if phonemise:
            from speechvae.text import SymbolTable

            SymbolTable.from_corpus(r["symbols"] for r in rows).save(self.work / "symbols.json")
        write_text(self.work / "speakers.json", json.dumps(sorted({r["speaker"] for r in rows}), ensure_ascii=False))
        lines = [json.dumps(_public(r), ensure_ascii=False) + "\n" for r in rows]
        write_text(self.work / "manifest.jsonl", "".join(lines))


def _examine(task: tuple[Any, ...]) -> tuple[str, Measure, np.ndarray | None, Path | None]:
    """`(stamp, measure, int16 samples of the part to keep or None if the measure was known, audio file)`."""
    from speechvae.audio import load, resample, write_wav

    _, utterance, cfg, limits, cached, work = task
    u: Utterance = utterance
    audio = None if u.audio is None else u.audio.resolve()
    stamp = ""
    try:
        if u.samples is not None and u.sample_rate is not None:
            wav, rate = np.asarray(u.samples, np.float32), u.sample_rate
            stamp = f"{zlib.crc32(wav.tobytes())} {len(wav)} {rate} {limits} {VERSION}"
            audio = work / "audio" / f"{u.id}.wav"
        else:
            if audio is None or not audio.is_file():
                return "", Measure(0, 0.0, reason="no audio file", detail=str(u.audio)), None, None
            stat = audio.stat()
            stamp = f"{audio} {stat.st_size} {stat.st_mtime_ns} {limits} {VERSION}"
        if cached is not None and cached["stamp"] == stamp and (audio.is_file() or cached["reason"]):
            return stamp, Measure(**{k: v for k, v in cached.items() if k != "stamp"}), None, audio
        if u.samples is None:
            wav, rate = load(audio)
        found = measure(wav, rate, limits)
        if found.reason:
            return stamp, found, None, audio
        if u.samples is not None:
            write_wav(audio, wav, rate)
        cut = resample(wav[round(found.start * rate) : round(found.end * rate)], rate, cfg.sample_rate)
        return stamp, found, (np.clip(cut, -1, 1) * 32767).round().astype(np.int16), audio
    except Exception as error:  # noqa: BLE001 - decoders raise anything; one bad file must not stop the corpus
        return stamp, Measure(0, 0.0, reason="cannot be decoded", detail=str(error)), None, audio


def _write_features(task: tuple[Any, ...]) -> str:
    """The error message, empty if all went well."""
    from speechvae.dataset import cache_features

    row, cfg, work, wav, _ = task
    try:
        cache_features(row, cfg, work, wav=wav)
    except Exception as error:  # noqa: BLE001 - as above
        return f"{type(error).__name__}: {error}"
    return ""


def _drop_outliers(rows: list[Row], run: _Run) -> list[Row]:
    """Rows whose speech rate is possible; phonemes count where there are any, since "1853" is long to say."""
    bad: dict[str, str] = {}
    for group in _by_speaker(rows).values():
        units = {r["id"]: float(_units(r)) for r in group}
        bad |= rate_outliers(units, {r["id"]: r["_measure"].speech for r in group}, run.limits)
    for row in rows:
        if row["id"] in bad:
            run.report.refused.append(Refusal(row["corpus"], row["id"], "unlikely speech rate", bad[row["id"]]))
    return [r for r in rows if r["id"] not in bad]


def _units(row: Row) -> int:
    phonemes = sum(s[0].isalpha() or s[0] in "ˈˌ" or len(s) > 1 for s in row["symbols"])
    return phonemes if phonemes else sum(c.isalnum() for c in row["text"])


def _by_speaker(rows: Iterable[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["speaker"]].append(row)
    return groups


def _public(row: Row) -> Row:
    return {k: v for k, v in row.items() if not k.startswith("_")}


def _spread(utterances: Iterator[Utterance], limit: int | None, lazy: bool) -> Iterable[Utterance]:
    if limit is None or lazy:  # rows of a dataset come with their samples: not all are read to use some
        return islice(utterances, limit)
    found = list(utterances)
    return [found[i] for i in np.linspace(0, len(found) - 1, min(limit, len(found))).round().astype(int)]


def _bar(items: Iterable[A], progress: bool, title: str, total: int | None = None) -> Iterable[A]:
    from tqdm import tqdm

    return tqdm(items, desc=title, total=total, disable=not progress, unit=" clips", smoothing=0.05)
