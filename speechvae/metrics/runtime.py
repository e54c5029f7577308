"""Cost of synthesis, and what a voice reports about its latents."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from speechvae.errors import SpeechVAEError


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes (POSIX only)."""
    # On Linux, getrusage also counts what the parent held when it started this process.
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError as error:
        raise SpeechVAEError("peak memory can be measured on Linux and macOS only") from error
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def resident_memory() -> int:
    """Resident memory of this process now, in bytes (Linux; elsewhere the peak)."""
    try:
        with open("/proc/self/statm") as f:
            pages = int(f.read().split()[1])
    except OSError:
        return peak_memory()
    import resource

    return pages * resource.getpagesize()


def parameters(model: Any) -> int:
    """Number of trainable values in a torch module (shared ones once)."""
    return sum(p.numel() for p in model.parameters())


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """The result of `call` and the wall-clock seconds it took."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def real_time_factor(voice: Any, text: str, repeats: int = 3, **options: Any) -> dict[str, float]:
    """`rtf` of a warm `voice.say` (median seconds of processing per second of sound), `seconds`, `audio_seconds`."""
    seed = options.pop("seed", 1)
    audio = voice.say(text, seed=seed, **options)
    times = [timed(lambda: voice.say(text, seed=seed, **options))[1] for _ in range(repeats)]
    length = len(audio.wav) / audio.sample_rate
    seconds = float(np.median(times))
    return {"rtf": seconds / length, "seconds": seconds, "audio_seconds": length}


def first_chunk_latency(voice: Any, text: str, repeats: int = 3, **options: Any) -> dict[str, float]:
    """Median seconds until `voice.stream` gives its first chunk, and that chunk's length in s; warm."""
    times, length = [], 0.0
    for turn in range(repeats + 1):
        stream = voice.stream(text, seed=1, **options)
        started = time.perf_counter()
        chunk = next(stream)
        seconds = time.perf_counter() - started
        stream.close()
        length = len(chunk.wav) / chunk.sample_rate
        if turn:
            times.append(seconds)
    return {"first_chunk_latency": float(np.median(times)), "first_chunk_seconds": length}


def say_peak_memory(voice: str | Path, text: str) -> int:
    """Peak resident memory in bytes of a fresh Python process that loads a voice (name or folder) and says `text`."""
    code = (
        "import sys; from speechvae.synthesis import Voice; from speechvae.metrics.runtime import peak_memory; "
        "Voice.load(sys.argv[1]).say(sys.argv[2], seed=1); print(peak_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(voice), text], capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SpeechVAEError(f"the process that measures memory with the voice {voice} failed: {last}")
    return int(done.stdout.split()[-1])


def latent_statistics(voice: Any) -> dict[str, float]:
    """The figures a voice carries from its training: KL in nats, active units, prior-posterior gap; {} if none.

    Read from `voice.stats` or from `stats` in `voice.info()`; nested names are joined by a slash.
    """
    stats = getattr(voice, "stats", None)
    if stats is None and hasattr(voice, "info"):
        stats = voice.info().get("stats")
    return _flat(stats, "") if isinstance(stats, Mapping) else {}


def _flat(tree: Mapping[str, Any], prefix: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[f"{prefix}{key}"] = float(value)
    return found
