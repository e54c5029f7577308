"""What do vocoders make of recorded mels, of the VAE's reconstructions of them, and of its own readings?

    python recipes/english/mels_check.py work/english --voice kathleen --vocoder kathleen --vocoder work/spectral \\
        -n 24 -o mels_check

Clips of the dev split of a work folder with reconstructions (`speechvae reconstruct`), of the voice's default speaker.
Copies and reconstructions lie frame by frame beside the recordings, so the figures of `vocoder_check.py` can be taken;
samples are new readings of the same texts (temperature 1), of which those are left out that compare samples or frames.
Every system gets the same mels. For differences in WER see `intelligibility.py`: these are too few words.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from vocoder_check import AUDIO, RATE, System, ltas, measure, show, systems

from speechvae import Voice, checkpoint
from speechvae import metrics as m
from speechvae.dataset import feature_path, read_features, read_manifest
from speechvae.errors import SpeechVAEError
from speechvae.journal import write_text
from speechvae.metrics.recordings import Clip

KINDS = ("copy", "reconstruction", "sample")


def clips_of(work: Path, speaker: str, n: int) -> list[Clip]:
    """`n` recordings of the dev split, spread over it, that have a reconstruction."""
    rows = [r for r in read_manifest(work, "dev") if r["speaker"] == speaker]
    rows = [r for r in rows if feature_path(work, r["id"], "reconstructions").is_file()]
    if not rows:
        raise SpeechVAEError(f"no reconstructions of {speaker} in {work}: run `speechvae reconstruct {work}`")
    chosen = [rows[i] for i in np.linspace(0, len(rows) - 1, min(n, len(rows))).round().astype(int)]
    wavs = [read_features(work, r["id"], AUDIO)["wav"].float().numpy() / 32767 for r in chosen]
    return [Clip(r["id"], wav, RATE, r["text"], speaker) for r, wav in zip(chosen, wavs, strict=True)]


def mels_of(work: Path, clips: Sequence[Clip], voice: Voice) -> dict[str, list[Tensor]]:
    """Log-mels [1, M, T] of every clip, by kind."""
    found: dict[str, list[Tensor]] = {k: [] for k in KINDS}
    for i, clip in enumerate(tqdm(clips, desc="mels", unit="clip")):
        found["copy"].append(read_features(work, clip.id, AUDIO)["mel"].float()[None])
        path = feature_path(work, clip.id, "reconstructions")
        found["reconstruction"].append(checkpoint.load_weights(path, "reconstruction")["mel"].float()[None])
        found["sample"].append(torch.from_numpy(np.array(voice.say(clip.text, seed=i).mel))[None])
    return found


def row(
    system: System, clips: Sequence[Clip], mels: Sequence[Tensor], aligned: bool, dnsmos: m.Dnsmos, recogniser: Any
) -> dict[str, float]:  # fmt: skip
    """Mean figures of what one system makes of the mels; `aligned`: they lie frame by frame beside the clips."""
    rows, wavs = [], []
    for clip, mel in zip(clips, mels, strict=True):
        started = time.perf_counter()
        with torch.inference_mode():
            wav = system(mel)[0].numpy()
        seconds = time.perf_counter() - started
        wavs.append(wav)
        if aligned:
            size = min(len(wav), len(clip.wav))
            own = Clip(clip.id, clip.wav[:size], RATE)
            rows.append(measure(own, wav[:size], seconds, dnsmos))
        else:
            rows.append({"mcd": m.mel_cepstral_distortion(clip.wav, wav, RATE), **dnsmos(wav, RATE),
                         "rtf": seconds / (len(wav) / RATE)})  # fmt: skip
    wer = m.wer([c.text for c in clips], [recogniser.transcribe(w, RATE) for w in wavs])
    means = {k: float(np.nanmean([r[k] for r in rows])) for k in rows[0]}
    return {**means, **ltas([c.wav for c in clips], wavs), "wer": wer}


def main(argv: Sequence[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("work", type=Path, help="work folder with features and reconstructions")
    p.add_argument("--voice", default="kathleen", help="makes the samples")
    p.add_argument("--vocoder", action="append", help="voice, checkpoint or Vocos folder; again for more")
    p.add_argument("--iterations", type=int, nargs="*", default=[32], help="of Griffin-Lim")
    p.add_argument("-n", type=int, default=24, help="clips")
    p.add_argument("-o", "--out", type=Path, required=True, help="folder for report.json and table.md")
    args = p.parse_args(argv)
    torch.set_num_threads(1)
    voice = Voice.load(args.voice)
    clips = clips_of(args.work, voice.settings.default_speaker, args.n)
    mels = mels_of(args.work, clips, voice)
    dnsmos, recogniser = m.Dnsmos(), m.Recogniser()
    own = [dict(dnsmos(c.wav, RATE)) for c in clips]
    wer = m.wer([c.text for c in clips], [recogniser.transcribe(c.wav, RATE) for c in clips])
    recorded = {**{k: float(np.mean([r[k] for r in own])) for k in own[0]}, "wer": wer}
    tables: dict[str, dict[str, dict[str, float]]] = {"": {"recording": recorded}, **{k: {} for k in KINDS}}
    tried = systems([args.voice] if args.vocoder is None else args.vocoder, args.iterations)
    for name, system in tqdm(tried.items(), desc="vocoders"):
        for kind in KINDS:
            tables[kind][name] = row(system, clips, mels[kind], kind != "sample", dnsmos, recogniser)
    table = show(tables).replace("| clips |", "| mels |", 1)
    print(table)
    args.out.mkdir(parents=True, exist_ok=True)
    write_text(args.out / "report.json", json.dumps({"n": len(clips), "tables": tables}, indent=1))
    write_text(args.out / "table.md", table + "\n")


if __name__ == "__main__":
    main()
