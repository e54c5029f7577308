"""The audit of a whole corpus: every clip examined once, judged beside the others, reported as CSV and a page."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speechvae.audio import load, write_wav
from speechvae.audit.measures import VERSION, Measures, Verdict, examine, judge
from speechvae.corpus import SPLITS, read_corpus
from speechvae.errors import SpeechVAEError
from speechvae.journal import Journal
from speechvae.utterance import Utterance
from speechvae.voice_files import ACOUSTIC, ALIGNER

if TYPE_CHECKING:
    from speechvae.synthesis import Voice

PLAYERS = 100  # so many of the most suspicious clips can be heard on the page
JOURNAL, TABLE, PAGE = "journal.jsonl", "audit.csv", "index.html"


@dataclass
class Audited:
    """One clip: where it is, what was measured, what is thought of it; `sound`: its copy, relative to the page."""

    utterance: Utterance
    measures: Measures
    verdict: Verdict
    sound: str = ""


def audit(
    voice: Voice, corpus: Any, output: str | Path, *, split: str = "all", limit: int | None = None,
    progress: bool = True,
) -> list[Audited]:  # fmt: skip
    """Examine a corpus and write OUTPUT/audit.csv, OUTPUT/index.html and the sound of the most suspicious clips.

    A run that was stopped goes on where it was (OUTPUT/journal.jsonl); clips whose file, text or voice changed are
    examined anew. Clips that cannot be read or heard become rows with the reason.

    Args:
        corpus: what `speechvae.corpus.read_corpus` reads.
        split: train, dev, test or all.
        limit: at most so many clips, spread over the split.

    Returns:
        All clips, the most suspicious first.

    Raises:
        SpeechVAEError: there is no such corpus, or nothing in it; the voice has no aligner.
    """
    from speechvae.audit.report import write_page, write_table
    from speechvae.recordings.analysis import aligner_of

    aligner_of(voice)
    output = Path(output)
    problems: list[tuple[str, str]] = []
    utterances = _pick(corpus, split, limit, problems)
    (output / "audio").mkdir(parents=True, exist_ok=True)
    journal = Journal(output / JOURNAL)
    try:
        clips = _examine_all(voice, utterances, journal, progress)
    finally:
        journal.close()
    for where, detail in problems:
        utterances.append(Utterance(where, "", "", None, ""))
        clips.append({"error": f"cannot be read: {detail}"})
    verdicts = judge(clips, [u.speaker for u in utterances])
    rows = [Audited(*row) for row in zip(utterances, clips, verdicts, strict=True)]
    rows.sort(key=lambda r: (-r.verdict.suspicion, r.utterance.id))
    _copy_sounds(rows[:PLAYERS], output)
    write_table(rows, output / TABLE)
    write_page(rows, output / PAGE, voice.name)
    return rows


def _pick(corpus: Any, split: str, limit: int | None, problems: list[tuple[str, str]]) -> list[Utterance]:
    if split not in ("all", *SPLITS):
        raise SpeechVAEError(f"no split {split!r}: use {', '.join(SPLITS)} or all")
    found = list(read_corpus(corpus, on_problem=lambda where, detail: problems.append((where, detail))))
    found = [u for u in found if split in ("all", u.split)]
    if not found:
        raise SpeechVAEError(f"no utterances in split {split} of {corpus}: check the corpus, or use --split all")
    if limit is not None and limit < len(found):
        found = [found[i] for i in np.linspace(0, len(found) - 1, limit).round().astype(int)]
    return found


def _examine_all(voice: Voice, utterances: Iterable[Utterance], journal: Journal, progress: bool) -> list[Measures]:
    from tqdm import tqdm

    mark = voice_mark(voice)
    sentences: dict[str, Any] = {}
    clips = []
    for u in tqdm(utterances, desc="audit", unit=" clips", disable=not progress, smoothing=0.05):
        stamp = _stamp(u, mark)
        known = journal.data.get(u.id)
        if known is None or known["stamp"] != stamp:
            known = {"stamp": stamp, "measures": _examine(voice, u, sentences)}
            journal.add(u.id, known)
        clips.append(known["measures"])
    return clips


def _examine(voice: Voice, u: Utterance, sentences: dict[str, Any]) -> Measures:
    try:
        wav, rate = _samples(u)
        if u.text not in sentences:
            sentences[u.text] = voice.frontend.utterance(u.text)
        if sentences[u.text] is None:
            return {"error": "the text has nothing to speak"}
        return examine(voice, wav, rate, sentences[u.text], u.speaker if u.speaker in voice.speakers else None)
    except Exception as e:  # noqa: BLE001 - decoders raise anything; one bad clip must not stop the corpus
        return {"error": str(e) or type(e).__name__}


def _samples(u: Utterance) -> tuple[np.ndarray, int]:
    if u.samples is not None and u.sample_rate is not None:
        return np.asarray(u.samples, np.float32), u.sample_rate
    if u.audio is None or not u.audio.is_file():
        raise SpeechVAEError(f"no audio file ({u.audio})")
    return load(u.audio)


def voice_mark(voice: Voice) -> str:
    """What changes when the voice is another one, or trained anew."""
    files = [] if voice.folder is None else [voice.folder / ACOUSTIC, voice.folder / ALIGNER]
    sums = [f"{zlib.crc32(f.read_bytes()):08x}" for f in files if f.is_file()]
    return " ".join([voice.name, *sums, str(VERSION)])


def _stamp(u: Utterance, mark: str) -> str:
    if u.samples is not None:
        source = f"{zlib.crc32(np.ascontiguousarray(u.samples).tobytes()):08x}"
    elif u.audio is not None and u.audio.is_file():
        stat = u.audio.stat()
        source = f"{u.audio} {stat.st_size} {stat.st_mtime_ns}"
    else:
        source = str(u.audio)
    return f"{mark} {source} {u.speaker} {zlib.crc32(u.text.encode()):08x}"


def _copy_sounds(rows: list[Audited], output: Path) -> None:
    """Copies beside the page, so that the folder can be moved or sent; those of an earlier run go."""
    folder = output / "audio"
    kept = set()
    for row in rows:
        u = row.utterance
        if u.samples is not None and u.sample_rate is not None:
            target = write_wav(folder / f"{u.id}.wav", u.samples, u.sample_rate)
        elif u.audio is not None and u.audio.is_file():
            target = folder / f"{u.id}{u.audio.suffix.lower()}"
            shutil.copyfile(u.audio, target)
        else:
            continue
        kept.add(target.name)
        row.sound = f"audio/{target.name}"
    for file in folder.iterdir():
        if file.name not in kept:
            file.unlink()
