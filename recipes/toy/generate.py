"""A corpus with known prosody: sung nonsense whose pitch, rate and loudness are drawn from known factors.

Each prompt is a few made-up words. A phoneme is a harmonic tone with its own formants (vowels and sonorants), a
band of noise (fricatives) or a short silence and a burst (stops). Every take of a prompt draws anew

* for the utterance: pitch (semitones), pitch range (factor), rate (factor, > 1 is faster), energy (dB);
* for each phoneme: pitch (semitones, carried over in part to the next one), length (factor), energy (dB);

so there is one text and many readings, as in speech. What the text alone decides: phonemes, their usual lengths,
declination, a pause at a comma, a rise before a question mark. All lengths are whole frames of the features.

    python recipes/toy/generate.py DIR [--count 360] [--takes 3] [--seed 0]

writes DIR/audio/ID.wav, metadata.csv (`id|speaker|text`), manifest.jsonl (with symbols: what `speechvae prepare`
reads), alignment.jsonl (`id`, `symbols`, `frames`) and factors.jsonl.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import butter, sosfilt

from speechvae.audio import write_wav

RATE, HOP = 24000, 256
SPEAKERS = {"low": 120.0, "high": 205.0}  # usual pitch in Hz


@dataclass(frozen=True)
class Sound:
    """A phoneme: usual length in frames, level in dB, formants (Hz) of its tone, band (Hz) of its noise."""

    frames: float
    level: float
    formants: tuple[float, ...] = ()
    band: tuple[float, float] | None = None


SOUNDS = {
    "a": Sound(10, 0, (750, 1250, 2600)), "e": Sound(9, -1, (480, 1950, 2600)), "i": Sound(8, -2, (280, 2300, 3000)),
    "o": Sound(9, -1, (450, 850, 2500)), "u": Sound(8, -2, (300, 700, 2300)), "m": Sound(6, -8, (250, 1100, 2200)),
    "n": Sound(5, -8, (280, 1600, 2500)), "l": Sound(5, -6, (380, 1300, 2800)), "s": Sound(8, -12, (), (5000, 9000)),
    "ʃ": Sound(8, -10, (), (2200, 4500)), "t": Sound(6, -9, (), (3500, 7000)), "k": Sound(6, -8, (), (1200, 3000)),
}  # fmt: skip
VOWELS, CONSONANTS, STOPS = "aeiou", "mnlsʃtk", "tk"


def generate(folder: str | Path, count: int = 360, takes: int = 3, seed: int = 0) -> list[dict[str, Any]]:
    """Write `count` utterances, `takes` of each prompt, into `folder`; the same seed gives the same files.

    Returns what factors.jsonl holds: one dict an utterance with `pitch`, `range`, `rate`, `energy` and, for each
    symbol, `frames`, `f0` (Hz, 0 = unvoiced) and `level` (dB).
    """
    folder = Path(folder)
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    entries, factors = [], []
    for number in range(count):
        prompt, take = divmod(number, takes)
        name = f"toy{prompt:03d}_{take + 1}"
        text, symbols, words = draw_text(np.random.default_rng((seed, prompt, 0)))
        speaker = list(SPEAKERS)[prompt % len(SPEAKERS)]
        rng = np.random.default_rng((seed, prompt, take + 1))
        drawn = draw_factors(rng, symbols, SPEAKERS[speaker])
        write_wav(folder / "audio" / f"{name}.wav", sing(symbols, drawn, rng), RATE)
        entries.append({"id": name, "speaker": speaker, "text": text, "prompt": f"toy{prompt:03d}",
                        "audio": f"audio/{name}.wav", "symbols": symbols, "words": words})
        factors.append({"id": name, "speaker": speaker, **drawn})
    _write(folder / "metadata.csv", [f"{e['id']}|{e['speaker']}|{e['text']}" for e in entries])
    _write(folder / "factors.jsonl", [json.dumps(f) for f in factors])
    _write(folder / "alignment.jsonl", [
        json.dumps({"id": e["id"], "symbols": e["symbols"], "frames": f["frames"]}, ensure_ascii=False)
        for e, f in zip(entries, factors, strict=True)
    ])
    _write(folder / "manifest.jsonl", [json.dumps(e, ensure_ascii=False) for e in entries])
    return factors


def draw_text(rng: np.random.Generator) -> tuple[str, list[str], list[list[Any]]]:
    """Two to four words of one or two syllables: the text, its symbols and `[word, first, last + 1]`."""
    text, symbols, words = "", ["^"], []
    count = int(rng.integers(2, 5))
    for i in range(count):
        # a sonorant comes first, so that a soft beginning is never trimmed away
        first = rng.choice(list(CONSONANTS[:3] if i == 0 else CONSONANTS))
        word = first + rng.choice(list(VOWELS))
        if rng.random() < 0.5:
            word += rng.choice(list(CONSONANTS)) + rng.choice(list(VOWELS))
        words.append([word, len(symbols), len(symbols) + len(word)])
        last = i == count - 1
        mark = str(rng.choice([".", "?"])) if last else str(rng.choice([" ", " ", ","]))
        symbols += [*word, mark]
        text += word + (mark if last or mark == " " else mark + " ")
    return text, [*symbols, "$"], words


def draw_factors(rng: np.random.Generator, symbols: list[str], base: float) -> dict[str, Any]:
    """One reading of `symbols` by a voice whose usual pitch is `base` Hz."""

    def normal(scale: float) -> float:
        return scale * float(np.clip(rng.normal(), -2, 2))  # beyond lies what pitch trackers take for something else

    pitch, energy, span, rate = normal(2.5), normal(2.5), np.exp(normal(0.3)), np.exp(normal(0.15))
    frames, f0, level = [], [], []
    offset = 0.0
    voiced = [i for i, s in enumerate(symbols) if s in SOUNDS and SOUNDS[s].formants]
    for i, symbol in enumerate(symbols):
        offset = 0.5 * offset + normal(1.2)
        length, extra = np.exp(normal(0.15)), normal(1.5)
        sound = SOUNDS.get(symbol)
        if sound is None:
            # silence: at the ends shorter than the margin that trimming keeps, so that no frame is cut off
            usual = {"^": 7, "$": 7, " ": 1, ",": 12}.get(symbol, 1)
            frames.append(max(1, round(usual * length / rate)) if usual > 1 and symbol not in "^$" else usual)
            f0.append(0.0)
            level.append(-120.0)
            continue
        fall = 2.0 - 4.0 * i / len(symbols)
        rise = 6.0 if symbols[-2] == "?" and i == voiced[-1] else 0.0
        semitones = pitch + span * (fall + rise + offset)
        frames.append(max(3, round(sound.frames * length / rate)))
        f0.append(round(float(base * 2 ** (semitones / 12)), 2) if sound.formants else 0.0)
        level.append(round(float(sound.level + energy + extra), 2))
    return {"pitch": round(float(pitch), 4), "range": round(float(span), 4), "rate": round(float(rate), 4),
            "energy": round(float(energy), 4), "frames": frames, "f0": f0, "level": level}


def sing(symbols: list[str], drawn: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    """Samples [sum(frames) * 256] at 24 kHz of one reading."""
    owner = np.repeat(np.arange(len(symbols)), drawn["frames"])
    # pitch glides through unvoiced sounds, and everything glides a little between neighbours
    voiced = np.flatnonzero(drawn["f0"])
    track = np.interp(np.arange(len(symbols)), voiced, np.log(np.asarray(drawn["f0"])[voiced]))[owner]
    f0 = np.exp(_smooth(track, 5))
    gain = 10 ** (np.asarray(drawn["level"])[owner] / 20)
    tone, noise = np.zeros(len(owner)), {s: np.zeros(len(owner)) for s in SOUNDS if SOUNDS[s].band}
    harmonics = np.arange(1, int(5500 / f0.min()) + 1)
    timbre = np.zeros((len(owner), len(harmonics)))
    for frame, index in enumerate(owner):
        symbol = symbols[index]
        if symbol not in SOUNDS:
            continue
        if SOUNDS[symbol].formants:
            tone[frame] = gain[frame]
            timbre[frame] = _envelope(harmonics * f0[frame], SOUNDS[symbol].formants)
        # a stop is silent until its last two frames
        elif symbol not in STOPS or frame + 2 >= len(owner) or owner[frame + 2] != index:
            noise[symbol][frame] = gain[frame]
    size = len(owner) * HOP
    phase = 2 * np.pi * np.cumsum(_upsample(f0, size)) / RATE
    wav, twice_cos = np.zeros(size), 2 * np.cos(phase)
    before, now = np.zeros(size), np.sin(phase)
    for amplitude in _smooth(timbre * tone[:, None], 3).T:
        wav += _upsample(amplitude, size) * now
        before, now = now, twice_cos * now - before  # sin((k + 1) p) from the two before it: no sine per harmonic
    hiss = rng.normal(0, 1, size)
    for symbol, amplitude in noise.items():
        if amplitude.any():
            band = sosfilt(butter(4, SOUNDS[symbol].band, "bandpass", fs=RATE, output="sos"), hiss)
            wav += _upsample(_smooth(amplitude, 2), size) * band / band.std()
    return (0.08 * wav + 3e-4 * rng.normal(0, 1, size)).clip(-1, 1).astype(np.float32)


def _envelope(frequency: np.ndarray, formants: tuple[float, ...]) -> np.ndarray:
    """Amplitudes [K] of harmonics at `frequency` Hz, normalised to unit power."""
    strength = sum(
        (0.6**i) / (1 + ((frequency - formant) / (60 + 0.06 * formant)) ** 2) for i, formant in enumerate(formants)
    ) * (frequency < 5000)
    return np.asarray(strength / np.sqrt(0.5 * np.sum(strength**2)))


def _smooth(x: np.ndarray, width: int) -> np.ndarray:
    padded = np.pad(x, [(width // 2, width - 1 - width // 2)] + [(0, 0)] * (x.ndim - 1), mode="edge")
    return np.stack([padded[i : i + len(x)] for i in range(width)]).mean(0)


def _upsample(x: np.ndarray, size: int) -> np.ndarray:
    """Frames [T] to samples [T * HOP]: linear between the frames' centres."""
    padded, weight = np.pad(x, 1, mode="edge"), (np.arange(HOP) + 0.5) / HOP
    line = padded[:-1, None] * (1 - weight) + padded[1:, None] * weight
    return np.asarray(line.reshape(-1)[HOP // 2 : HOP // 2 + size])


def _write(path: Path, lines: list[str]) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    part.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Generate a corpus with known prosody.")
    parser.add_argument("folder", help="where to write it")
    parser.add_argument("--count", type=int, default=360, help="utterances (360)")
    parser.add_argument("--takes", type=int, default=3, help="readings of each prompt (3)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    factors = generate(options.folder, options.count, options.takes, options.seed)
    seconds = sum(sum(f["frames"]) for f in factors) * HOP / RATE
    print(f"{len(factors)} utterances, {seconds:.0f} s of sound, in {options.folder}")


if __name__ == "__main__":
    main()
