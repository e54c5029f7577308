"""How well does `speechvae audit` find what is wrong? Corrupted copies of recordings, and the suspicion's ROC AUC.

    python recipes/english/audit_check.py --corpus corpora/kathleen --other corpora/ljspeech \\
        --other corpora/vctk_p239 --other corpora/librispeech -o audit_check

A tenth of the clips is corrupted, chosen by chance again and again: by one kind at a time ("alone"), and by all kinds
at once, a tenth each ("mixed"). The AUC is that of the corrupted clips against the clean ones of the same draw. All
clips, corrupted or not, bear the name of the corpus' speaker. Measures are kept in OUT/features.jsonl.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from speechvae import Voice
from speechvae.audio import load
from speechvae.audit.measures import Measures, examine, judge
from speechvae.audit.run import voice_mark
from speechvae.corpus import Utterance, read_corpus
from speechvae.errors import SpeechVAEError
from speechvae.journal import Journal, write_text

KINDS = ("swapped", "noise", "clipped", "truncated", "other")
NEEDED = {"swapped": 0.95, "truncated": 0.95, "other": 0.95}
NOISE_SNR = 10.0  # dB, of the whole clip
CLIPPED_SHARE = 0.02  # of the samples are cut off
KEPT = 0.65  # of a truncated clip
SHARE = 0.1


def corrupt(kind: str, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A corrupted copy of wav [S]; kinds that change the text or the speaker leave it as it is."""
    if kind == "noise":
        hiss = rng.normal(size=len(wav)) * np.sqrt(np.mean(np.square(wav))) * 10 ** (-NOISE_SNR / 20)
        return np.clip(wav + hiss, -1, 1).astype(np.float32)
    if kind == "clipped":
        top = np.quantile(np.abs(wav), 1 - CLIPPED_SHARE)
        return np.clip(wav, -top, top)
    return wav[: int(KEPT * len(wav))] if kind == "truncated" else wav


def features(
    voice: Voice, clips: Sequence[Utterance], others: Sequence[Sequence[Utterance]], store: Journal
) -> dict[tuple[str, str], Measures]:
    """Measures of each clip as it is and in each corruption, by id and kind."""
    found = {}
    mark = voice_mark(voice)
    for i, clip in enumerate(tqdm(clips, desc="clips and their corruptions")):
        rng = np.random.default_rng(i)
        swap = next(c for c in [*clips[i + len(clips) // 2 :], *clips] if c.prompt != clip.prompt)
        group = others[i % len(others)]
        stranger = group[int(rng.integers(len(group)))]
        for kind in ("clean", *KINDS):
            key = f"{clip.id} {kind} {mark}"
            if key not in store.data:
                source = stranger if kind == "other" else clip
                text = swap.text if kind == "swapped" else source.text
                assert source.audio is not None
                wav, rate = load(source.audio)
                try:
                    sentence = voice.frontend.utterance(text)
                    measures = examine(voice, corrupt(kind, wav, rng), rate, sentence, voice.default_speaker)
                except SpeechVAEError as e:
                    measures = {"error": str(e)}
                store.add(key, measures)
            found[clip.id, kind] = store.data[key]
    return found


def auc(bad: np.ndarray, good: np.ndarray) -> float:
    """The chance that a bad clip is more suspicious than a good one; a tie counts half."""
    return float(np.mean((bad[:, None] > good) + 0.5 * (bad[:, None] == good)))


def experiment(found: dict[tuple[str, str], Measures], ids: Sequence[str], draws: int) -> dict[str, dict[str, Any]]:
    """AUC of each kind, alone and mixed: mean and smallest over the draws."""
    values: dict[str, dict[str, list[float]]] = {k: {"alone": [], "mixed": []} for k in KINDS}
    size = max(1, round(SHARE * len(ids)))
    for draw in range(draws):
        order = np.random.default_rng(draw).permutation(len(ids))
        parts = {k: order[i * size : (i + 1) * size] for i, k in enumerate(KINDS)}
        for way, together in (*(("alone", [k]) for k in KINDS), ("mixed", list(KINDS))):
            what = {int(i): k for k in together for i in parts[k]}
            verdicts = judge([found[n, what.get(i, "clean")] for i, n in enumerate(ids)], ["one"] * len(ids))
            scores = np.array([v.suspicion for v in verdicts])
            good = scores[[i for i in range(len(ids)) if i not in what]]
            for kind in together:
                values[kind][way].append(auc(scores[parts[kind]], good))
    return {
        kind: {f"{way}_{name}": round(float(f(v)), 4) for way, v in ways.items() for name, f in
               (("mean", np.mean), ("least", np.min))}
        for kind, ways in values.items()
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--corpus", type=Path, required=True, help="recordings of the voice's main speaker")
    p.add_argument("--other", type=Path, action="append", required=True, help="recordings of others; again for more")
    p.add_argument("--voice", default="kathleen")
    p.add_argument("--split", default="test")
    p.add_argument("--draws", type=int, default=20)
    p.add_argument("-o", "--out", type=Path, required=True, help="folder for features.jsonl and report.json")
    args = p.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    clips = [u for u in read_corpus(args.corpus) if u.split == args.split]
    others = [[u for u in read_corpus(o) if u.split == args.split] for o in args.other]
    store = Journal(args.out / "features.jsonl")
    found = features(Voice.load(args.voice), clips, others, store)
    store.close()
    report = experiment(found, [c.id for c in clips], args.draws)
    print(f"{len(clips)} clips, split {args.split}, {args.draws} draws\n{'kind':10} {'alone':>14} {'mixed':>14}")
    for kind, row in report.items():
        cells = (f"{row[f'{way}_mean']:7.3f} ({row[f'{way}_least']:.2f})" for way in ("alone", "mixed"))
        print(f"{kind:10} " + " ".join(cells))
    low = [k for k, need in NEEDED.items() if min(report[k]["alone_mean"], report[k]["mixed_mean"]) < need]
    print(f"below what is needed: {', '.join(low)}" if low else "all that is needed is reached")
    facts = {"split": args.split, "clips": len(clips), "draws": args.draws, "voice": args.voice, "auc": report}
    write_text(args.out / "report.json", json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
