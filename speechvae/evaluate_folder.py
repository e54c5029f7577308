"""Measure a folder of anyone's wav files beside recordings: ``python -m speechvae.evaluate_folder``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from speechvae.corpus import AUDIO_SUFFIXES, read_corpus
from speechvae.errors import SpeechVAEError
from speechvae.evaluate import measure_folder, no_report_in
from speechvae.metrics.meter import METRICS
from speechvae.metrics.recordings import centroid_clips, pick
from speechvae.metrics.report import Report


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    p = argparse.ArgumentParser(prog="python -m speechvae.evaluate_folder", description=__doc__)
    p.add_argument("--wavs", type=Path, required=True, help="folder of audio files named ID.wav, by utterance id")
    p.add_argument("--corpus", type=Path, required=True, help="the recordings and their texts")
    p.add_argument("--split", default="test", help="test, dev, train or all (default: test)")
    p.add_argument("-n", type=int, help="at most so many utterances, spread evenly over the split")
    p.add_argument("--copies", action="store_true", help="the wavs are resynthesised recordings: add PESQ, STOI, STFT")
    p.add_argument("--language", default="en-us", help="of the texts (default: en-us)")
    p.add_argument("--without", default="", metavar="A,B", help=f"leave out some of: {', '.join(METRICS)}")
    p.add_argument("-o", "--out", type=Path, help="folder for report.json, utterances.jsonl, distributions.png")
    p.add_argument("--overwrite", action="store_true", help="replace a report that is already there")
    return p


def measure_wavs(
    folder: Path, corpus: Path, split: str = "test", n: int | None = None, *, language: str = "en-us",
    copies: bool = False, without: Sequence[str] = (),
) -> Report:  # fmt: skip
    """Measure the audio files ID.* in `folder` against the utterances of a corpus' split."""
    everything = list(read_corpus(corpus))
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    files = {f.stem: f for f in there if f.suffix.lower() in AUDIO_SUFFIXES}
    if not files:
        raise SpeechVAEError(f"no audio files in {folder}")
    chosen = pick(everything, split, n)
    found = [u for u in chosen if u.id in files]
    if not found:
        raise SpeechVAEError(
            f"none of the {len(files)} files in {folder} is named by an id of the split {split!r}; "
            f"expected for example {chosen[0].id}.wav"
        )
    report = measure_folder(
        {u.id: files[u.id] for u in found}, {u.id: u.text for u in found}, {u.id: u for u in found},
        name=folder.resolve().name, language=language, copies=copies, without=without,
        centroid_from=centroid_clips(everything, {u.speaker for u in found}),
    )  # fmt: skip
    report.about |= {"corpus": corpus.resolve().name, "split": split}
    if len(found) < len(chosen):
        report.notes.append(f"{len(chosen) - len(found)} of {len(chosen)} utterances have no file in {folder}")
    return report


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command; 2 after an error."""
    a = parser().parse_args(argv)
    without = [name for name in a.without.split(",") if name]
    try:
        no_report_in(a.out, a.overwrite)
        report = measure_wavs(a.wavs, a.corpus, a.split, a.n, language=a.language, copies=a.copies, without=without)
        if a.out is not None:
            report.save(a.out)
    except SpeechVAEError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    report.print()
    return 0


if __name__ == "__main__":
    raise SystemExit(run())
