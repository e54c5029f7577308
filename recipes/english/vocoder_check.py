"""What do vocoders leave of recordings? Copies of test clips, measured and drawn.

    python recipes/english/vocoder_check.py --corpus corpora/kathleen --other corpora/librispeech \\
        --other corpora/kerstin --vocoder kathleen --vocoder old_voice -n 40 -o vocoder_check --pictures pictures

Each vocoder (also Griffin-Lim with 32 and with 100 iterations) gets the log-mels of the recordings, as trained on
trimmed and brought to level. `--other`: speakers that it never heard. Then a sine sweep, silence, noise and the like,
for which a copy must be finite and below full scale. The rtf is that of the vocoder alone, in one thread.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from speechvae import metrics as m
from speechvae.audio import LogMel, griffin_lim
from speechvae.config import AudioConfig
from speechvae.corpus import read_corpus
from speechvae.errors import SpeechVAEError
from speechvae.journal import write_text
from speechvae.metrics.periodicity import band_levels, copy_figures, ltas_difference, power_spectrum
from speechvae.metrics.recordings import Clip, Recordings, pick
from speechvae.metrics.signal import frame_rms
from speechvae.models.vocoder import FourierVocoder
from speechvae.resynthesis import gain_for
from speechvae.vocoders import load_vocoder

COLUMNS = {
    "pesq": ".2f", "stoi": ".3f", "mcd": ".2f", "vuv_f1": ".3f", "periodicity_error": ".3f", "stft_convergence": ".3f",
    "stft_log_magnitude": ".3f", "ovrl": ".2f", "sig": ".2f", "bak": ".2f", "p808": ".2f", "ltas_max": ".1f",
    "ltas_at": ".0f", "wer": ".3f", "rtf": ".3f",
}  # fmt: skip
AUDIO = AudioConfig()
RATE = AUDIO.sample_rate
System = Callable[[torch.Tensor], torch.Tensor]


def systems(vocoders: Sequence[str], iterations: Sequence[int]) -> dict[str, System]:
    """What makes a wav [B, T * hop] of a log-mel [B, M, T], by name."""
    found: dict[str, System] = {}
    for n in iterations:
        found[f"griffin-lim {n}"] = partial(griffin_lim, cfg=AUDIO, iterations=n)
    for source in vocoders:
        vocoder = load_vocoder(source, AUDIO)
        if not isinstance(vocoder, FourierVocoder):
            raise SpeechVAEError(f"{source} is Griffin-Lim, which is measured anyway")
        name = source if source not in found else f"{source} ({len(found)})"
        found[name] = vocoder
    return found


def copy(system: System, wav: np.ndarray) -> tuple[np.ndarray, float]:
    """The copy of samples [S] at 24 kHz, of the same length, and the seconds the vocoder took."""
    padded = np.pad(wav, (0, -len(wav) % AUDIO.hop)).astype(np.float32)
    with torch.inference_mode():
        mel = LogMel(AUDIO)(torch.from_numpy(padded)[None])
        started = time.perf_counter()
        out = system(mel)
    return out[0].numpy()[: len(wav)], time.perf_counter() - started


def measure(reference: Clip, wav: np.ndarray, seconds: float, dnsmos: m.Dnsmos) -> dict[str, float]:
    """Every figure of one copy."""
    a, b = (m.mel_cepstra(m.level_to(w, RATE), RATE) for w in (reference.wav, wav))
    return {
        "pesq": m.pesq_wb(reference.wav, wav, RATE), "stoi": m.stoi(reference.wav, wav, RATE),
        "mcd": m.distortion(a, b), **copy_figures(reference.wav, wav, RATE), **dnsmos(wav, RATE),
        "rtf": seconds / (len(wav) / RATE),
    }  # fmt: skip


def ltas(recordings: Sequence[np.ndarray], copies: Sequence[np.ndarray]) -> dict[str, float]:
    """Differences in dB of the long-term average spectra by third octaves, and the largest and where (Hz)."""
    centres, gaps = ltas_difference(recordings, copies, RATE)
    # Of bands that the recordings leave empty (upsampled ones above 8 kHz) only report.json tells.
    levels = band_levels(*power_spectrum(recordings, RATE), centres)
    worst = int(np.where(levels > levels.max() - 60, np.abs(gaps), 0.0).argmax())
    found = {"ltas_max": float(np.abs(gaps[worst])), "ltas_at": float(centres[worst])}
    return found | {f"ltas_{c:.0f}": round(float(g), 2) for c, g in zip(centres, gaps, strict=True)}


def table(clips: Sequence[Clip], tried: dict[str, System], dnsmos: m.Dnsmos, label: str) -> dict[str, dict[str, float]]:
    """Mean figures of the recordings and of each system over the clips."""
    rows: dict[str, list[dict[str, float]]] = {"recording": [dict(dnsmos(c.wav, RATE)) for c in clips]}
    spectra: dict[str, dict[str, float]] = {}
    for name, system in tried.items():
        copy(system, clips[0].wav)  # the first call is slower
        copies = []
        rows[name] = []
        for clip in tqdm(clips, desc=f"{label}: {name}", unit="clip"):
            wav, seconds = copy(system, clip.wav)
            rows[name].append(measure(clip, wav, seconds, dnsmos))
            copies.append(wav)
        spectra[name] = ltas([c.wav for c in clips], copies)
    means = {n: {k: float(np.nanmean([r[k] for r in own])) for k in own[0]} for n, own in rows.items()}
    return {n: {**figures, **spectra.get(n, {})} for n, figures in means.items()}


def show(tables: dict[str, dict[str, dict[str, float]]]) -> str:
    """The tables in Markdown."""
    names = list(COLUMNS)
    lines = [f"| clips | system | {' | '.join(names)} |", f"|{'---|' * (len(names) + 2)}"]
    for label, rows in tables.items():
        for system, figures in rows.items():
            cells = [f"{figures[k]:{COLUMNS[k]}}" if k in figures else "" for k in names]
            lines.append(f"| {label} | {system} | {' | '.join(cells)} |")
    return "\n".join(lines)


def odd_sounds() -> dict[str, np.ndarray]:
    """What no corpus has, two seconds each at 24 kHz: at -23 dBFS, as `resynthesise` gives them, and far above."""
    rng = np.random.default_rng(0)
    t = np.arange(2 * RATE) / RATE
    low, high = 50.0, 11500.0
    phase = 2 * np.pi * low * 2 / np.log(high / low) * ((high / low) ** (t / 2) - 1)
    clicks = np.zeros(2 * RATE)
    clicks[:: RATE // 4] = 1.0
    found = {
        "silence": np.zeros(2 * RATE), "sine sweep 50-11500 Hz": np.sin(phase), "white noise": rng.normal(size=len(t)),
        "clipped noise": np.clip(3 * rng.normal(size=len(t)), -1, 1),
        "square 110 Hz": np.sign(np.sin(2 * np.pi * 110 * t)), "clicks": clicks,
    }  # fmt: skip
    level = {name: (wav * gain_for([wav], RATE)).astype(np.float32) for name, wav in found.items()}
    loud = ("sine sweep 50-11500 Hz", "clipped noise")
    return level | {f"{name}, full scale": found[name].astype(np.float32) for name in loud}


def stress(tried: dict[str, System]) -> list[dict[str, Any]]:
    """Peak and level of each odd sound and of its copies; samples that are not finite."""
    rows = []
    for sound, wav in odd_sounds().items():
        for name, system in {"input": None, **tried}.items():
            out = wav if system is None else copy(system, wav)[0]
            finite = np.isfinite(out)
            good = out[finite]
            rms = float(np.sqrt(np.mean(np.square(good, dtype=np.float64)))) if len(good) else float("nan")
            rows.append({
                "sound": sound, "system": name, "peak": float(np.abs(good).max(initial=0.0)),
                "rms_dbfs": 20 * np.log10(max(rms, 1e-6)), "not_finite": int((~finite).sum()),
            })  # fmt: skip
    return rows


def moments(clips: Sequence[Clip]) -> dict[str, tuple[Clip, float]]:
    """A fricative, a vowel onset, silence and a high vowel: the clip and the middle in s, found by measurement."""
    best: dict[str, tuple[float, Clip, float]] = {}

    def offer(kind: str, score: float, clip: Clip, frame: int) -> None:
        if kind not in best or score > best[kind][0]:
            best[kind] = (score, clip, frame * 0.01)

    for clip in clips:
        f0 = m.f0_track(clip.wav, RATE)
        rms = 20 * np.log10(frame_rms(clip.wav, RATE) + 1e-6)
        n = min(len(f0), len(rms))
        f0, rms = f0[:n], rms[:n]
        size = RATE // 100
        high = np.abs(np.diff(clip.wav, n=2, prepend=[0, 0]))[: n * size].reshape(n, size).mean(1)
        for i in range(25, n - 25):
            near = slice(i - 3, i + 4)
            if not f0[near].any():
                offer("fricative", float(high[near].min()), clip, i)
            if not f0[i - 4 : i].any() and (f0[i : i + 8] > 0).all():
                offer("vowel onset", float(rms[i + 3 : i + 8].min() - rms[i - 6 : i - 1].max()), clip, i)
            if (f0[i - 5 : i + 6] > 0).all() and rms[near].min() > rms.max() - 15:
                offer("high vowel", float(np.median(f0[i - 5 : i + 6])), clip, i)
            offer("silence", -float(rms[i - 12 : i + 13].max()), clip, i)
    return {kind: (clip, at) for kind, (_, clip, at) in best.items()}


def pictures(clips: Sequence[Clip], tried: dict[str, System], folder: Path) -> None:
    """A PNG for each moment: the recording on top, below it the copies, in one scale of dB."""
    import librosa
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    for kind, (clip, middle) in moments(clips).items():
        around = 0.25
        figure = Figure(figsize=(9, 2.5 * (1 + len(tried))), layout="constrained")
        axes: Any = figure.subplots(1 + len(tried), 1, sharex=True)
        for ax, (name, system) in zip(axes, {"recording": None, **tried}.items(), strict=True):
            wav = clip.wav if system is None else copy(system, clip.wav)[0]
            power = librosa.amplitude_to_db(
                np.abs(librosa.stft(wav, n_fft=1024, win_length=512, hop_length=48)) / 128, amin=1e-8, top_db=None
            )
            top = -20 if kind != "silence" else -70
            ax.imshow(power, origin="lower", aspect="auto", cmap="magma", vmin=top - 70, vmax=top,
                      extent=(0, power.shape[1] * 48 / RATE, 0, RATE / 2000))  # fmt: skip
            ax.set(title=f"{kind}, {clip.id}: {name}", ylabel="kHz", xlim=(middle - around, middle + around))
        axes[-1].set_xlabel("s")
        figure.savefig(folder / f"{kind.replace(' ', '_')}.png", dpi=80)


def load_clips(corpus: Path, split: str, n: int) -> list[Clip]:
    """Recordings that are fit, trimmed and brought to level as for training, at 24 kHz."""
    chosen = pick(list(read_corpus(corpus)), split, n)
    recordings = Recordings(chosen, RATE)
    clips = [recordings[u.id] for u in chosen if u.id in recordings]
    if not clips:
        raise SpeechVAEError(f"none of the {n} clips of {corpus} is fit: {recordings.refused}")
    return clips


def main(argv: Sequence[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--corpus", type=Path, required=True, help="recordings of a speaker of the training")
    p.add_argument("--other", type=Path, action="append", default=[], help="of speakers it never heard; again for more")
    p.add_argument("--vocoder", action="append", help="voice, checkpoint or Vocos folder; again for more")
    p.add_argument("--iterations", type=int, nargs="*", default=[32, 100], help="of Griffin-Lim")
    p.add_argument("--split", default="test")
    p.add_argument("-n", type=int, default=40, help="clips of each corpus")
    p.add_argument("--pictures", type=Path, metavar="DIR", help="draw spectrograms there")
    p.add_argument("-o", "--out", type=Path, required=True, help="folder for report.json and table.md")
    args = p.parse_args(argv)
    torch.set_num_threads(1)
    tried = systems(["kathleen"] if args.vocoder is None else args.vocoder, args.iterations)
    dnsmos = m.Dnsmos()
    tables: dict[str, dict[str, dict[str, float]]] = {}
    clips = load_clips(args.corpus, args.split, args.n)
    tables[args.corpus.resolve().name] = table(clips, tried, dnsmos, args.corpus.name)
    for other in args.other:
        found = load_clips(other, "all", args.n)
        tables[f"{other.resolve().name} (unseen)"] = table(found, tried, dnsmos, other.name)
    odd = stress(tried)
    print(show(tables))
    print("\n| sound | system | peak | level, dBFS | not finite |\n|---|---|---|---|---|")
    for r in odd:
        print(f"| {r['sound']} | {r['system']} | {r['peak']:.3f} | {r['rms_dbfs']:.1f} | {r['not_finite']} |")
    args.out.mkdir(parents=True, exist_ok=True)
    report = {"n": args.n, "split": args.split, "tables": tables, "stress": odd}
    write_text(args.out / "report.json", json.dumps(report, indent=1))
    write_text(args.out / "table.md", show(tables) + "\n")
    if args.pictures is not None:
        pictures(clips, tried, args.pictures)


if __name__ == "__main__":
    main()
