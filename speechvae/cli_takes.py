"""The commands that direct readings: takes, perform, blend, words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechvae.cli_options import (
    DEFAULT_VOICE,
    AxisOption,
    BreakOption,
    EmphasisOption,
    EnergyOption,
    ForceOption,
    LengthScaleOption,
    PitchOption,
    RangeOption,
    SaveTakeOption,
    SeedOption,
    SpeakerOption,
    SsmlOption,
    SteadinessOption,
    StyleTemperatureOption,
    TemperatureOption,
    VoiceOption,
    axis_values,
    edited,
    examples,
    take_name,
    text_to_say,
)
from speechvae.directing.edits import STEADINESS, Edits, parse_words
from speechvae.errors import SpeechVAEError

if TYPE_CHECKING:
    from speechvae.sound import Audio
    from speechvae.synthesis import Voice
    from speechvae.takes import Take

app = typer.Typer(rich_markup_mode=None)

SHEET = "contact-sheet.png"
OutputFolder = Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")]
TakeVoiceOption = Annotated[
    str | None, typer.Option("--voice", "-v", help="The folder of the take's voice, if it is not an installed one.")
]


@app.command(epilog=examples(
    'speechvae takes "The birch canoe slid on the smooth planks." -n 6 -o takes',
    'speechvae takes "You came." -n 4 -o takes --style-temperature 1.2 --seed 1 --show-words',
    "speechvae perform takes/take-3.take.json -o chosen.wav",
))  # fmt: skip
def takes(
    text: Annotated[str | None, typer.Argument(help="What to say; `-` reads standard input.")] = None,
    output: OutputFolder = Path("takes"),
    n: Annotated[int, typer.Option("-n", min=1, max=99, help="How many readings.")] = 6,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the text from a UTF-8 file.")] = None,
    pool: Annotated[
        int | None, typer.Option(min=2, max=1000, help="Readings to choose from. Default: 6 times -n, at least 32.")
    ] = None,
    show_words: Annotated[bool, typer.Option("--show-words", help="Print the words with their numbers.")] = False,
    voice: VoiceOption = DEFAULT_VOICE,
    speaker: SpeakerOption = None,
    seed: SeedOption = None,
    temperature: TemperatureOption = None,
    style_temperature: StyleTemperatureOption = None,
    length_scale: LengthScaleOption = 1.0,
    ssml: SsmlOption = False,
    steadiness: SteadinessOption = STEADINESS,
    axis: AxisOption = None,
    pitch: PitchOption = None,
    range_: RangeOption = None,
    energy: EnergyOption = None,
    emphasis: EmphasisOption = None,
    breaks: BreakOption = None,
    force: ForceOption = False,
) -> None:
    """Read a text in several ways that differ as much as they can.

    Writes take-1.wav, take-1.take.json and so on, and contact-sheet.png, where f0, energy and durations of all takes
    stand under each other. The takes are chosen from a larger pool of readings by their distance; the least plausible
    readings of the pool are left out. take-1 is the one in the middle.
    """
    from speechvae.synthesis import Voice

    said = text_to_say(text, file)
    names = [f"take-{i}" for i in range(1, n + 1)]
    check_folder(output, names, force)
    speaking = Voice.load(voice)
    edits = edited(Edits(), lambda: speaking.words(said, ssml), pitch, range_, energy, emphasis, breaks)
    chosen = speaking.takes(
        said, n, pool=pool, seed=seed, speaker=speaker, temperature=temperature, style_temperature=style_temperature,
        length_scale=length_scale, ssml=ssml, steadiness=steadiness, axes=axis_values(axis), edits=edits,
    )  # fmt: skip
    if show_words:
        print_words(speaking, said, ssml)
    write_takes(speaking, [replace(take, name=name) for take, name in zip(chosen, names, strict=True)], output, names)


@app.command(epilog=examples(
    "speechvae perform takes/take-3.take.json -o chosen.wav",
    'speechvae perform chosen.take.json --text "Another sentence." --speaker lj -o other.wav',
    'speechvae perform chosen.take.json --reroll "3,7-9" --seed 2 -o new.wav --save-take new.take.json',
    "speechvae perform chosen.take.json --emphasis planks --break 3=0.4 --range 1.3 -o edited.wav",
))  # fmt: skip
def perform(
    take: Annotated[Path, typer.Argument(help="A .take.json file of `say --save-take`, `takes` or `blend`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="wav, flac, ogg or mp3, by its ending.")],
    text: Annotated[str | None, typer.Option(help="Say this text instead, in the manner of the take.")] = None,
    ssml: Annotated[bool, typer.Option("--ssml", help="--text is SSML.")] = False,
    speaker: Annotated[str | None, typer.Option(help="Another of the voice's speakers.")] = None,
    reroll: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Draw these words anew, such as 3,7-9; all others stay.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="For --reroll. Default: a new one, reported.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=3, help="For --reroll. Default: the take's.")] = None,
    length_scale: Annotated[
        float | None, typer.Option(min=0.25, max=4, help="Above 1 = slower. Default: the take's.")
    ] = None,
    pitch: PitchOption = None,
    range_: RangeOption = None,
    energy: EnergyOption = None,
    emphasis: EmphasisOption = None,
    breaks: BreakOption = None,
    name: Annotated[str | None, typer.Option(help="A name for the take that --save-take writes.")] = None,
    save_take: SaveTakeOption = None,
    show_words: Annotated[bool, typer.Option("--show-words", help="Print the words with their numbers.")] = False,
    voice: TakeVoiceOption = None,
    force: ForceOption = False,
) -> None:
    """Say a take again: exactly as it was, or changed.

    Edits take the place of the take's own of the same kind; what is not named stays as it is in the take.
    """
    from speechvae.batch import new_seed
    from speechvae.directing.retakes import retake
    from speechvae.files import check_free, check_output, write_sound
    from speechvae.takes import Take

    check_output(output, force)
    if save_take is not None:
        check_free(save_take, force)
    if reroll is None and (seed is not None or temperature is not None):
        raise typer.BadParameter("--seed and --temperature say how to draw words anew: name the words with --reroll")
    words = None if reroll is None else parse_words(reroll)
    directed = Take.load(take)
    speaking = voice_of(directed, voice)
    directed = retake(speaking, directed, text, speaker, ssml)
    note = ""
    if words is not None:
        seed = new_seed() if seed is None else seed
        directed = speaking.reroll(directed, words, seed, temperature)
        note = f", reroll seed {seed}"
    edits = edited(
        directed.edits, lambda: speaking.words(directed.text, directed.ssml), pitch, range_, energy, emphasis, breaks
    )
    if show_words:
        print_words(speaking, directed.text, directed.ssml)
    audio = speaking.perform(directed, length_scale=length_scale, edits=edits)
    write_sound(output, audio.wav, audio.sample_rate)
    if save_take is not None:
        replace(audio.take, name=take_name(save_take) if name is None else name).save(save_take)
    typer.echo(f"{output}: {facts(audio)}{note}")


@app.command(epilog=examples(
    "speechvae blend takes/take-1.take.json takes/take-4.take.json -o blend --steps 5",
    "speechvae blend a.take.json b.take.json -o blend --from -0.5 --to 1.5      beyond the two",
    "speechvae blend a.take.json b.take.json -o blend --words 3-5               only these words go over to b",
))  # fmt: skip
def blend(
    a: Annotated[Path, typer.Argument(help="The take to begin with; its text and speaker are kept.")],
    b: Annotated[Path, typer.Argument(help="The take to go to.")],
    output: OutputFolder = Path("blend"),
    steps: Annotated[int, typer.Option(min=1, max=99, help="How many readings, both ends counted.")] = 5,
    first: Annotated[float, typer.Option("--from", min=-1, max=2, help="0 = the first take.")] = 0.0,
    last: Annotated[float, typer.Option("--to", min=-1, max=2, help="1 = the second take.")] = 1.0,
    words: Annotated[str | None, typer.Option(help="Blend these words only, such as 3,7-9.")] = None,
    voice: TakeVoiceOption = None,
    force: ForceOption = False,
) -> None:
    """Shade one take into another.

    Takes of the same text are mixed in all they are; of different texts, the first gets the manner of the second.
    Writes blend-1.wav, blend-1.take.json and so on, and contact-sheet.png.
    """
    from speechvae.directing import retakes
    from speechvae.takes import Take

    names = [f"blend-{i}" for i in range(1, steps + 1)]
    check_folder(output, names, force)
    numbers = None if words is None else parse_words(words)
    left, right = Take.load(a), Take.load(b)
    speaking = voice_of(left, voice)
    shares = [first + (last - first) * i / max(steps - 1, 1) for i in range(steps)]
    mixed = [
        replace(retakes.blend(speaking, left, right, t, numbers), name=name)
        for t, name in zip(shares, names, strict=True)
    ]
    write_takes(speaking, mixed, output, [f"t = {t:.2f}" for t in shares])


@app.command(epilog=examples(
    'speechvae words "On 3 May we paid $12.50."',
    "speechvae words takes/take-1.take.json",
))  # fmt: skip
def words(
    text: Annotated[str | None, typer.Argument(help="A text, a .take.json file, or `-` for standard input.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the text from a UTF-8 file.")] = None,
    ssml: SsmlOption = False,
    voice: VoiceOption = DEFAULT_VOICE,
) -> None:
    """List the words of a text with the numbers that --emphasis, --break, --reroll and blend --words take."""
    from speechvae.synthesis import Voice
    from speechvae.takes import Take

    if text is not None and text.endswith(".json") and file is None:
        take = Take.load(text)
        print_words(voice_of(take, None if voice == DEFAULT_VOICE else voice), take.text, take.ssml)
    else:
        said = text_to_say(text, file)
        print_words(Voice.load(voice), said, ssml)


# -- what they share -------------------------------------------------------------------------------------------------


def voice_of(take: Take, named: str | None) -> Voice:
    """The voice of a take, loaded: by the name it carries, or from where the user says it is."""
    from speechvae.synthesis import Voice

    try:
        return Voice.load(take.voice if named is None else named)
    except SpeechVAEError as e:
        if named is None:
            raise SpeechVAEError(f"the take was made with the voice {take.voice!r}: {e}") from e
        raise


def print_words(voice: Voice, text: str, ssml: bool) -> None:
    """A line a word: its number, the word as written, and as spoken where that differs."""
    count = 0
    for count, word in enumerate(voice.words(text, ssml), start=1):
        spoken = f"  ({word.spoken})" if word.spoken else ""
        typer.echo(f"{count:5}  {word.text}{spoken}")
    if count == 0:
        typer.echo("the text has no words")


def check_folder(folder: Path, names: list[str], force: bool) -> None:
    """Raise before any work is done when a file is in the way."""
    from speechvae.files import check_free

    if folder.exists() and not folder.is_dir():
        raise SpeechVAEError(f"{folder} is a file: name a folder with -o")
    for name in (SHEET, *(f"{n}{ending}" for n in names for ending in (".wav", ".take.json"))):
        check_free(folder / name, force)


def write_takes(voice: Voice, chosen: list[Take], folder: Path, labels: list[str]) -> None:
    """Perform takes into a folder, each named by its name, with a contact sheet and a line of facts a take."""
    from tqdm import tqdm

    from speechvae.plots import contact_sheet

    folder.mkdir(parents=True, exist_ok=True)
    readings = []
    for take in tqdm(chosen, unit="take", disable=None, leave=False):
        audio = voice.perform(take)
        audio.save(folder / f"{take.name}.wav")
        audio.take.save(folder / f"{take.name}.take.json")
        readings.append(audio)
    contact_sheet(readings, folder / SHEET, labels=labels)
    for audio, label in zip(readings, labels, strict=True):
        shown = "" if label == audio.take.name else f"{label}, "
        typer.echo(f"{folder / audio.take.name}.wav: {shown}{facts(audio)}")


def facts(audio: Audio) -> str:
    """Duration, seed, mean f0 (geometric) and its standard deviation in semitones."""
    import numpy as np

    voiced = np.log2(audio.f0[audio.f0 > 0])
    pitch = f", f0 {2 ** voiced.mean():.0f} Hz, range {12 * voiced.std():.1f} st" if len(voiced) else ", no voice"
    return f"{audio.duration:.2f} s, seed {audio.seed}{pitch}"
