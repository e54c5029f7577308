"""Speed and memory of a voice, beside a VITS of the usual size in the same run.

    python tests/benchmarks/speed.py --voice kathleen --threads 2 -o speed.json --check

Measures, one after the other: real-time factor of `say` (warm) on texts of four lengths and, interleaved, that of
`transformers.VitsModel(VitsConfig())` with random weights on as many characters; latency of the first chunk of
`stream`; peak memory of a fresh process that says one sentence; memory while a long text is streamed in a fresh
process. With --check the exit code is 1 if a limit of `LIMITS` is broken (the factor counts for texts of more than
a second). Other work on the machine slows both systems: the ratio then says more than the factors. Not collected by
pytest: run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

# oneDNN keeps its kernels for each new sentence length: 30 to 40 MB until all lengths were met, then nothing more.
LIMITS = {"rtf": 0.10, "peak_memory_mb": 1500.0, "stream_growth_mb": 64.0}
TEXTS = (
    "It is late.",
    "The birch canoe slid on the smooth planks.",
    "The birch canoe slid on the smooth planks, and nobody on the bank had anything to say about it.",
    "Four hours of steady work faced us, but the box was thrown beside the parked truck. The juice of lemons makes "
    "fine punch, the hogs were fed chopped corn and garbage, and rice is often served in round bowls.",
)
WORDS = (
    "water", "stone", "light", "garden", "morning", "letter", "winter", "river", "candle", "window", "paper", "silver",
    "mountain", "question", "market", "sister", "thunder", "harbour", "bread", "engine", "shadow", "copper", "island",
    "summer", "ladder", "voice", "field", "corner", "signal", "weather",
)  # fmt: skip
VERBS = ("holds", "finds", "leaves", "follows", "carries", "answers", "covers", "watches", "breaks", "turns", "draws")


def long_text(words: int, seed: int = 0) -> str:
    """Sentences of changing words, `words` in all."""
    draw = random.Random(seed)
    parts: list[str] = []
    count = 0
    while count < words:
        first, second, third = draw.sample(WORDS, 3)
        sentence = f"The {first} {draw.choice(VERBS)} the {second}, and the old {third} {draw.choice(VERBS)} it again."
        parts.append(sentence)
        count += len(sentence.split())
    return " ".join(" ".join(parts).split()[:words])


def load(name: str) -> Any:
    """The voice; `test` is the small one with random weights."""
    from speechvae.synthesis import Voice

    return Voice.silent_test_voice() if name == "test" else Voice.load(name)


def seconds(call: Any) -> tuple[float, Any]:
    """Wall-clock time of a call and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


class Vits:
    """VITS with random weights: for speed only. Characters are parted by blanks, as its tokenizer does."""

    def __init__(self) -> None:
        import torch
        from transformers import VitsConfig, VitsModel

        torch.manual_seed(0)
        self.torch = torch
        self.model = VitsModel(VitsConfig()).eval()
        self.rate = self.model.config.sampling_rate
        self.parameters = sum(p.numel() for p in self.model.parameters())

    def say(self, text: str) -> float:
        """Seconds of audio."""
        ids = self.torch.zeros(1, 2 * len(text) + 1, dtype=self.torch.long)
        ids[0, 1::2] = self.torch.tensor([1 + ord(c) % (self.model.config.vocab_size - 1) for c in text])
        self.torch.manual_seed(0)
        with self.torch.inference_mode():
            return float(self.model(input_ids=ids).waveform.shape[-1] / self.rate)


def compare_speed(voice: Any, vits: Vits | None, repeats: int) -> list[dict[str, float]]:
    """For each text: median seconds, seconds of audio and rtf of both, taken in turns."""
    rows = []
    for text in TEXTS:
        ours, theirs, length, length_vits = [], [], 0.0, 0.0
        for turn in range(repeats + 1):
            spent, audio = seconds(lambda text=text: voice.say(text, seed=1))
            length = len(audio.wav) / audio.sample_rate
            ours += [spent] if turn else []
            if vits is not None:
                spent, length_vits = seconds(lambda text=text: vits.say(text))
                theirs += [spent] if turn else []
        row = {"characters": len(text), "seconds": float(np.median(ours)), "audio_seconds": length}
        row["rtf"] = row["seconds"] / length
        if vits is not None:
            row |= {"vits_seconds": float(np.median(theirs)), "vits_audio_seconds": length_vits}
            row["vits_rtf"] = row["vits_seconds"] / length_vits
            row["vits_over_voice"] = row["vits_rtf"] / row["rtf"]
        rows.append(row)
    return rows


def stream_memory(name: str, words: int) -> dict[str, float]:
    """Stream a long text and watch resident memory: runs in a process of its own."""
    from speechvae.metrics import peak_memory, resident_memory

    voice = load(name)
    text = long_text(words)
    memory, audio, start = [], 0.0, time.perf_counter()
    for chunk in voice.stream(text, seed=1):
        audio += len(chunk.wav) / chunk.sample_rate
        memory.append(resident_memory())
    early = memory[: max(1, len(memory) // 10)]  # allocators and caches settle
    late = memory[-max(1, len(memory) // 10) :]
    return {
        "words": words, "chunks": len(memory), "audio_seconds": audio, "rtf": (time.perf_counter() - start) / audio,
        "memory_early_mb": max(early) / 2**20, "memory_late_mb": float(np.median(late)) / 2**20,
        "growth_mb": (float(np.median(late)) - max(early)) / 2**20, "peak_mb": peak_memory() / 2**20,
    }  # fmt: skip


def say_memory(name: str) -> dict[str, float]:
    """Peak memory of loading and saying one sentence: runs in a process of its own."""
    from speechvae.metrics import peak_memory

    spent, voice = seconds(lambda: load(name))
    first, _ = seconds(lambda: voice.say(TEXTS[2], seed=1))
    return {"peak_memory_mb": peak_memory() / 2**20, "load_seconds": spent, "first_say_seconds": first}


def in_child(part: str, a: argparse.Namespace) -> dict[str, float]:
    """Run a part of this script in a fresh process, so that nothing else is in its memory."""
    command = [sys.executable, __file__, "--child", part, "--voice", a.voice, "--words", str(a.words)]
    command += ["--threads", str(a.threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"the part {part!r} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def broken(result: dict[str, Any]) -> list[str]:
    """Limits that are not kept."""
    worst = {
        "rtf": max(r["rtf"] for r in result["speed"] if r["audio_seconds"] > 1),
        "peak_memory_mb": result["say"]["peak_memory_mb"],
        "stream_growth_mb": result["stream"]["growth_mb"],
    }
    return [f"{k} is {worst[k]:.3g}, the limit is {limit:g}" for k, limit in LIMITS.items() if worst[k] > limit]


def show(result: dict[str, Any]) -> None:
    """Print the figures."""
    print(f"{'characters':>10} {'audio s':>8} {'voice s':>8} {'rtf':>7} {'VITS rtf':>9} {'VITS / voice':>13}")
    for r in result["speed"]:
        line = f"{r['characters']:10} {r['audio_seconds']:8.2f} {r['seconds']:8.3f} {r['rtf']:7.3f}"
        print(line + (f" {r['vits_rtf']:9.3f} {r['vits_over_voice']:13.1f}" if "vits_rtf" in r else ""))
    for part in ("latency", "say", "stream"):
        print(f"{part}: " + ", ".join(f"{k} {v:.4g}" for k, v in result[part].items()))


def options() -> argparse.ArgumentParser:
    """Command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--voice", default="kathleen", help="name or folder of a voice; `test` for random weights")
    p.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of torch")
    p.add_argument("--repeats", type=int, default=5)
    p.add_argument("--words", type=int, default=5000, help="of the streamed text")
    p.add_argument("--no-vits", action="store_true", help="leave the comparison out")
    p.add_argument("--check", action="store_true", help="exit with 1 if a limit is broken")
    p.add_argument("-o", "--out", type=Path, help="JSON file")
    p.add_argument("--child", choices=["say", "stream"], help=argparse.SUPPRESS)
    return p


def main() -> int:
    a = options().parse_args()
    import torch

    torch.set_num_threads(a.threads)
    if a.child is not None:
        print(json.dumps(say_memory(a.voice) if a.child == "say" else stream_memory(a.voice, a.words)))
        return 0
    from speechvae.metrics import first_chunk_latency

    voice = load(a.voice)
    vits = None if a.no_vits else Vits()
    result: dict[str, Any] = {
        "voice": a.voice, "threads": a.threads, "machine": platform.machine(), "torch": torch.__version__,
        "load_average": os.getloadavg()[0], "parameters": voice.info()["parameters"],
        "vits_parameters": None if vits is None else vits.parameters,
        "speed": compare_speed(voice, vits, a.repeats), "latency": first_chunk_latency(voice, TEXTS[3]),
        "say": in_child("say", a), "stream": in_child("stream", a),
    }  # fmt: skip
    show(result)
    if a.out is not None:
        part = a.out.with_name(f".{a.out.name}.part")
        part.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        os.replace(part, a.out)
    wrong = broken(result) if a.check else []
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
