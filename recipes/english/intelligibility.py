"""How many words does a recogniser mistake, in quiet and in noise? Vocoders compared on the same mels.

    python recipes/english/intelligibility.py --corpus corpora/kathleen --voice kathleen --vocoder kathleen \\
        --readings 3 --snr 10 5 -o intelligibility

Copies: the clips of a split through each vocoder, beside the recordings. Readings: the texts of that split, as the
voice says them at its default temperatures, each mel through every vocoder. In quiet the best vocoders are as clear as
a recording, and only noise tells them apart: speech-shaped, `--snr` dB below the speech, the same for all systems.
Differences are paired, with Griffin-Lim, and have 95 % intervals over clips. What was heard is kept in OUT/heard.jsonl;
call again to go on, or with more `--readings`. `--pool` counts what other runs heard as well.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from vocoder_check import AUDIO, RATE, System, load_clips, systems

from speechvae import Voice
from speechvae import metrics as m
from speechvae.audio import LogMel
from speechvae.errors import SpeechVAEError
from speechvae.journal import Journal, write_text
from speechvae.metrics.recordings import Clip

NOISE = 60.0  # s
Errors = dict[tuple[str, str, str], list[m.Errors]]  # by kind, condition and system, in one order of clips


def copied(clip: Clip) -> Tensor:
    """The log-mel [1, M, T] of a recording."""
    padded = np.pad(clip.wav, (0, -len(clip.wav) % AUDIO.hop)).astype(np.float32)
    return LogMel(AUDIO)(torch.from_numpy(padded)[None])


def read(voice: Voice, text: str, seed: int) -> Tensor:
    """The log-mel [1, M, T] of a reading."""
    return torch.from_numpy(np.array(voice.say(text, seed=seed).mel))[None]


def sounds(
    clips: Sequence[Clip], voice: Voice, readings: int
) -> Iterator[tuple[str, str, Callable[[], Tensor], Clip | None]]:
    """KIND/ID, text, what makes the log-mel and, of copies, the recording."""
    for clip in clips:
        yield f"copies/{clip.id}", clip.text, partial(copied, clip), clip
    for reading in range(readings):
        for i, text in enumerate(dict.fromkeys(c.text for c in clips)):
            yield f"readings/{i}-{reading}", text, partial(read, voice, text, reading * 10_000 + i), None


class Listener:
    """Recognises a sound in quiet and in noise; every sound of one id gets the same stretch of noise."""

    def __init__(self, noise: np.ndarray, snr: Sequence[float]) -> None:
        self.noise, self.recogniser = noise, m.Recogniser()
        self.conditions: dict[str, float | None] = {"quiet": None, **{f"{s:g} dB": s for s in snr}}

    def hear(self, wav: np.ndarray, place: int) -> dict[str, str]:
        """What is heard, by condition; `place`: which stretch of the noise."""
        start = place * 7919 % len(self.noise)
        return {
            name: self.recogniser.transcribe(
                wav if snr is None else m.in_noise(wav, RATE, self.noise, snr, start), RATE
            )
            for name, snr in self.conditions.items()
        }  # fmt: skip


def listen(
    clips: Sequence[Clip], voice: Voice, readings: int, tried: dict[str, System], listener: Listener, out: Path
) -> None:  # fmt: skip
    """Note in the journal `out` what is heard of every sound that is not in it yet."""
    with closing(Journal(out)) as journal, torch.inference_mode():
        for place, (key, text, make, clip) in enumerate(
            tqdm(list(sounds(clips, voice, readings)), desc="listening", unit="mel")
        ):
            if key in journal.data:
                continue
            mel = make()
            wavs = {system: run(mel)[0].numpy() for system, run in tried.items()}
            if clip is not None:
                wavs["recording"] = clip.wav
            heard = {system: listener.hear(wav, place) for system, wav in wavs.items()}
            journal.add(key, {"text": text, "heard": heard})


def count(*heard: Path) -> Errors:
    """The word errors of all that these journals hold."""
    found: Errors = defaultdict(list)
    for path in heard:
        with closing(Journal(path)) as journal:
            for key, row in journal.data.items():
                kind = key.partition("/")[0]
                for system, conditions in row["heard"].items():
                    for condition, words in conditions.items():
                        found[kind, condition, system].append(m.word_errors(row["text"], words))
    return found


def show(found: Errors, reference: str) -> str:
    """The table in Markdown."""
    names = ["sounds", "condition", "system", "clips", "words", "WER", "95 %", "against Griffin-Lim", "95 %"]
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    for (kind, condition, system), errors in sorted(found.items()):
        all_of_it = sum(errors, m.Errors())
        low, high = m.bootstrap_interval(errors)
        line = f"| {kind} | {condition} | {system} | {len(errors)} | {all_of_it.length} | {all_of_it.rate:.4f} "
        line += f"| {low:.3f} to {high:.3f} |"
        other = found[kind, condition, reference]
        if system == reference:
            line += " | |"
        else:
            low, high = m.paired_interval(errors, other)
            line += f" {all_of_it.rate - sum(other, m.Errors()).rate:+.4f} | {low:+.4f} to {high:+.4f} |"
        lines.append(line)
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--corpus", type=Path, required=True, help="recordings whose copies and texts are heard")
    p.add_argument("--voice", default="kathleen", help="says the readings")
    p.add_argument("--vocoder", action="append", help="voice, checkpoint or Vocos folder; again for more")
    p.add_argument("--split", default="test", help="of the corpus; all: everything")
    p.add_argument("-n", type=int, default=84, help="clips")
    p.add_argument("--readings", type=int, default=3, help="of each text")
    p.add_argument("--snr", type=float, nargs="*", default=[10.0, 5.0], help="dB, of the speech over the noise")
    p.add_argument("--pool", type=Path, nargs="*", default=[], metavar="OUT", help="folders of other runs, to count in")
    p.add_argument("-o", "--out", type=Path, required=True, help="folder for heard.jsonl and table.md")
    args = p.parse_args(argv)
    if args.readings < 0:
        raise SpeechVAEError("--readings must not be negative")
    torch.set_num_threads(1)
    tried = systems([args.voice] if args.vocoder is None else args.vocoder, [32])
    clips = load_clips(args.corpus, args.split, args.n)
    noise = m.speech_shaped_noise([c.wav for c in clips], RATE, NOISE)
    others = [folder / "heard.jsonl" for folder in args.pool]
    for path in others:
        if not path.is_file():
            raise SpeechVAEError(f"no {path}: --pool takes the -o of earlier runs")
    args.out.mkdir(parents=True, exist_ok=True)
    heard = args.out / "heard.jsonl"
    listen(clips, Voice.load(args.voice), args.readings, tried, Listener(noise, args.snr), heard)
    table = show(count(heard, *others), next(iter(tried)))
    print(table)
    write_text(args.out / "table.md", table + "\n")


if __name__ == "__main__":
    main()
