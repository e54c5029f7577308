"""What the commands share: options, examples in the help, output."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speechvae.directing.edits import AXIS, LIMITS, Edits
from speechvae.errors import SpeechVAEError

if TYPE_CHECKING:
    from speechvae.text.types import Word

DEFAULT_VOICE = "kathleen"


def semitones(value: str) -> float:
    """"+2st", "-3" (semitones) or "+10%" → semitones."""
    match = re.fullmatch(r"\s*([+-]?\d{1,3}(?:\.\d+)?)\s*(st|%|)\s*", value)
    if match is None or (match[2] == "%" and float(match[1]) <= -100):
        raise typer.BadParameter(f"{value!r}: write semitones, as in +2st or -3, or a share, as in +10%")
    number = float(match[1])
    return 12 * math.log2(1 + number / 100) if match[2] == "%" else number


def decibels(value: str) -> float:
    """"+3dB" or "-3" → dB."""
    match = re.fullmatch(r"\s*([+-]?\d{1,3}(?:\.\d+)?)\s*(?:dB)?\s*", value, re.IGNORECASE)
    if match is None:
        raise typer.BadParameter(f"{value!r}: write decibels, as in +3dB or -2")
    return float(match[1])


VoiceOption = Annotated[
    str, typer.Option("--voice", "-v", help="A name from `speechvae voices`, or the folder of a voice.")
]
VocoderOption = Annotated[
    str | None,
    typer.Option(metavar="griffinlim|VOICE|PATH", help="Another vocoder than the voice's own, also a public Vocos one.")
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
SteadinessOption = Annotated[
    float,
    typer.Option(min=0, max=1, help="How much of its mood a sentence has from the one before; 1 = one mood for all."),
]
AxisOption = Annotated[
    list[str] | None,
    typer.Option(
        "--axis", metavar="NAME=VALUE",
        help="Move along an axis of the voice, in standard deviations: pitch=+1.5. Repeatable. `speechvae info` "
        "lists the axes.",
    ),
]
PitchOption = Annotated[
    float | None, typer.Option(parser=semitones, metavar="SHIFT", help="Higher or lower: +2st, -3, +10%.")
]
RangeOption = Annotated[
    float | None,
    typer.Option("--range", min=LIMITS["range"][0], max=LIMITS["range"][1],
                 help="Factor of the pitch movement: 0 = monotone, 1.2 = livelier."),
]  # fmt: skip
EnergyOption = Annotated[
    float | None, typer.Option(parser=decibels, metavar="SHIFT", help="Louder or softer voice: +3dB, -2.")
]
EmphasisOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WORD[=STRENGTH]",
        help="Stress a word, by its number or as written (then wherever it stands); strength 1 = strong. Repeatable.",
    ),
]
BreakOption = Annotated[
    list[str] | None,
    typer.Option(
        "--break", metavar="WORD=SECONDS", help="A pause of at least that length after a word: 3=0.5. Repeatable."
    ),
]
SaveTakeOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Keep the reading, too, as a take that `speechvae perform` replays.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]


def examples(*lines: str) -> str:
    """The epilog of a command's help: lines to copy."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def print_json(value: Any) -> None:
    """Indented, on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def read_text(source: Path | None) -> str:
    """The UTF-8 text of a file, or of standard input for None."""
    try:
        data = sys.stdin.buffer.read() if source is None else source.read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        where = "standard input" if source is None else str(source)
        raise SpeechVAEError(f"{where} is not UTF-8 text (byte {e.start}): save it as UTF-8 and try again") from e


def text_to_say(text: str | None, file: Path | None) -> str:
    """The text of an argument, of a file, or of standard input for `-`: exactly one of them must be given."""
    if (text is None) == (file is None):
        raise typer.BadParameter("give the text, or a file with -f, or `-` to read standard input: one of them")
    if text == "-" or (file is not None and str(file) == "-"):
        return read_text(None)
    if file is not None:
        return read_text(file)
    assert text is not None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as e:
        raise SpeechVAEError(f"the text is not valid UTF-8 (character {e.start})") from e
    return text


def axis_values(given: list[str] | None) -> dict[str, float]:
    """["pitch=+1.5"] → {"pitch": 1.5}."""
    values: dict[str, float] = {}
    for item in given or ():
        name, equals, value = item.partition("=")
        try:
            values[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            raise typer.BadParameter(f"--axis {item}: write NAME=VALUE, as in pitch=+1.5 ({AXIS[0]:g} to {AXIS[1]:g})")
    return values


def edited(
    base: Edits, words: Callable[[], Iterable[Word]], pitch: float | None, range_: float | None, energy: float | None,
    emphasis: list[str] | None, breaks: list[str] | None,
) -> Edits:  # fmt: skip
    """`base` with what the options say; `words` gives the words of the text, where one is named as written.

    Raises SpeechVAEError for values out of range, and for a word that the text does not have.
    """
    return Edits(
        base.pitch if pitch is None else pitch,
        base.range if range_ is None else range_,
        base.energy if energy is None else energy,
        base.emphasis if emphasis is None else _word_values("--emphasis", emphasis, words, 1.0),
        base.breaks if breaks is None else _word_values("--break", breaks, words, None),
    )


def _word_values(
    option: str, given: list[str], words: Callable[[], Iterable[Word]], usual: float | None
) -> tuple[tuple[int, float], ...]:
    """["3=0.5", "wolf"] → ((3, 0.5), (7, usual), ...), by number; of two values for a word the later counts."""
    values: dict[int, float] = {}
    for item in given:
        match = re.fullmatch(r"\s*(.+?)\s*(?:=\s*([+-]?\d*\.?\d+)\s*s?)?\s*", item)
        if match is None or (match[2] is None and (usual is None or "=" in item)):
            form = "WORD=SECONDS, as in 3=0.5" if usual is None else "WORD or WORD=STRENGTH, as in 3 or wolf=0.5"
            raise typer.BadParameter(f"{option} {item}: write {form}")
        if match[1].isdecimal():
            numbers = [int(match[1])]
        else:
            from speechvae.directing.prosody_edits import find_words

            numbers = find_words(words(), match[1])
            if not numbers:
                raise SpeechVAEError(f"{option}: the text has no word {match[1]!r}; `speechvae words` lists them")
        value = usual if match[2] is None else float(match[2])
        assert value is not None
        values.update((number, value) for number in numbers)
    return tuple(sorted(values.items()))


def take_name(path: Path) -> str:
    """The name a take gets from its file: wolf.take.json → wolf."""
    return path.name.removesuffix(".json").removesuffix(".take")
