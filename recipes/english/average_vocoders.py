"""Average the weights of vocoders that come from one start.

    python recipes/english/average_vocoders.py work/english:0.5 work/spectral:0.5 --refinements 12 --name averaged \\
        -o work/averaged

Trainings that begin with the same weights can be averaged: the mean often has the strengths of all and fewer of their
faults (Wortsman et al. 2022, arXiv 2203.05482). Shares must add up to 1; of a work folder the EMA weights are taken.
Measure the result (`vocoder_check.py`, `mels_check.py`): vocoders of different starts have no sensible mean.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from speechvae.errors import SpeechVAEError
from speechvae.models.vocoder import Vocoder
from speechvae.vocoders import load_vocoder, save_vocoder


def average(parts: dict[str, float], refinements: int | None = None) -> Vocoder:
    """One vocoder with the mean weights of several, each by name or path with its share."""
    if abs(sum(parts.values()) - 1) > 1e-6:
        raise SpeechVAEError(f"the shares {list(parts.values())} add up to {sum(parts.values()):g}, not to 1")
    found: dict[str, Vocoder] = {}
    for source in parts:
        vocoder = load_vocoder(source)
        if not isinstance(vocoder, Vocoder):
            raise SpeechVAEError(f"{source} is not one of our own networks")
        if found and vocoder.audio != next(iter(found.values())).audio:
            raise SpeechVAEError(f"{source} takes other mel features than {next(iter(found))}")
        found[source] = vocoder
    first = next(iter(found.values()))
    shapes = {s: {k: tuple(v.shape) for k, v in voc.state_dict().items()} for s, voc in found.items()}
    for source, sizes in shapes.items():
        if sizes != next(iter(shapes.values())):
            raise SpeechVAEError(f"{source} has another size than {next(iter(shapes))}")
    cfg = first.cfg.model_copy(update={} if refinements is None else {"refinements": refinements})
    mean = Vocoder(first.audio, cfg)
    states = {s: v.state_dict() for s, v in found.items()}
    with torch.no_grad():
        mean.load_state_dict({k: sum(parts[s] * states[s][k] for s in parts) for k in mean.state_dict()})
    return mean.eval()


def part_of(text: str) -> tuple[str, float]:
    """VOCODER:SHARE → both."""
    source, _, share = text.rpartition(":")
    try:
        return source, float(share)
    except ValueError as error:
        raise SpeechVAEError(f"{text!r} is not VOCODER:SHARE, such as kathleen:0.5") from error


def main(argv: Sequence[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("parts", nargs="+", metavar="VOCODER:SHARE", help="voice, vocoder or work folder, and its share")
    p.add_argument("--refinements", type=int, help="steps of Griffin-Lim after the network; default: the first one's")
    p.add_argument("--name", required=True)
    p.add_argument("--description", default="")
    p.add_argument("-o", "--out", type=Path, required=True, help="folder for the new vocoder")
    args = p.parse_args(argv)
    parts = dict(part_of(part) for part in args.parts)
    print(save_vocoder(average(parts, args.refinements), args.name, args.out, args.description))


if __name__ == "__main__":
    main()
