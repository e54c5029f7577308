"""What the commands share: options, examples in the help, output."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

DEFAULT_VOICE = "kathleen"

VoiceOption = Annotated[
    str, typer.Option("--voice", "-v", help="A name from `speechvae voices`, or the folder of a voice.")
]
SpeakerOption = Annotated[
    str | None, typer.Option(help="One of the voice's speakers (`speechvae info`). Default: its main one.")
]
SeedOption = Annotated[
    int | None, typer.Option(min=0, help="Same seed, same reading. Default: a new one, which is reported.")
]
TemperatureOption = Annotated[
    float | None,
    typer.Option(
        min=0, max=3, help="How freely single sounds vary; 0 = the most likely reading. Default: the voice's."
    ),
]
StyleTemperatureOption = Annotated[
    float | None,
    typer.Option(min=0, max=3, help="How freely the manner of the whole sentence varies. Default: the voice's."),
]
LengthScaleOption = Annotated[float, typer.Option(min=0.25, max=4, help="Above 1 = slower, below 1 = faster.")]
SsmlOption = Annotated[
    bool, typer.Option("--ssml", help="The text is SSML: <break>, <prosody>, <say-as>, <sub>, <phoneme>, <emphasis>.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]


def examples(*lines: str) -> str:
    """The epilog of a command's help: lines to copy."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def print_json(value: Any) -> None:
    """Indented, on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))
