"""The `speechvae` command. Everything heavy is imported inside the command that needs it, so `--help` is instant."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from speechvae import cli_recordings, cli_sound, cli_takes, cli_training, cli_words
from speechvae.batch import Style
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
    VocoderOption,
    VoiceOption,
    axis_values,
    edited,
    examples,
    print_json,
    read_text,
    take_name,
    text_to_say,
)
from speechvae.directing.edits import STEADINESS, Edits
from speechvae.errors import SpeechVAEError

app = typer.Typer(
    name="speechvae",
    help="Text to speech with many natural readings of one text. Speak, train voices, measure them.",
    epilog="""\b
Start here:
  speechvae say "Hello there."                 writes out.wav
  speechvae say "Hello there." --seed 7        the same reading every time
  speechvae takes "Hello there." -o takes      six readings that differ as much as they can
  speechvae reply "How was your day?" --say    three answers, written and spoken
  speechvae demo                               the same in a browser
  speechvae COMMAND --help                     what a command does, with examples
""",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
_settings = {"debug": False}


def _show_version(wanted: bool) -> None:
    if wanted:
        from speechvae import __version__

        typer.echo(f"speechvae {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    _settings["debug"] = debug


@app.command(epilog=examples(
    'speechvae say "The birch canoe slid on the smooth planks."',
    'speechvae say "Slowly now." -o slow.flac --length-scale 1.3 --seed 7',
    "speechvae say -f chapter1.txt -o chapter1.mp3",
    "echo \"From a pipe.\" | speechvae say - -o pipe.wav",
    'speechvae say "The wolf is here." --pitch -2st --emphasis wolf --break 2=0.4 --save-take wolf.take.json',
    "speechvae say --ssml '<speak>Wait <break time=\"1s\"/> for it.</speak>'",
))  # fmt: skip
def say(
    text: Annotated[str | None, typer.Argument(help="What to say; `-` reads standard input.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Read the text from a UTF-8 file.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="wav, flac, ogg or mp3, by its ending. Default: out.wav.")
    ] = None,
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
    save_take: SaveTakeOption = None,
    vocoder: VocoderOption = None,
    force: ForceOption = False,
) -> None:
    """Speak a text into a file.

    Without -o the file is out.wav, which is replaced each time; a file named with -o is replaced only with --force.
    A text may be as long as you like: it is spoken and written sentence by sentence.
    """
    words = text_to_say(text, file)
    path, overwrite = (Path("out.wav"), True) if output is None else (output, force)
    from speechvae.batch import speak_to_file
    from speechvae.files import check_free, check_output

    check_output(path, overwrite)
    if save_take is not None:
        check_free(save_take, force)
    from speechvae.synthesis import Voice

    speaking = Voice.load(voice, vocoder=vocoder)
    edits = edited(Edits(), lambda: speaking.words(words, ssml), pitch, range_, energy, emphasis, breaks)
    style = Style(
        speaker, temperature, style_temperature, length_scale, ssml, steadiness, axis_values(axis), edits
    )
    done = speak_to_file(
        speaking, words, path, seed=seed, style=style, overwrite=overwrite, keep_take=save_take is not None
    )
    if save_take is not None and done.take is not None:
        replace(done.take, name=take_name(save_take)).save(save_take)
    typer.echo(f"{done.path}: {done.duration:.2f} s, seed {done.seed}, rtf {done.rtf:.3f}")


@app.command(epilog=examples(
    "speechvae batch lines.txt -o speech/ --seed 1",
    "speechvae batch lines.txt -o speech/ --seed 1      again: does only what is missing",
    "cut -f1,2 -d'|' metadata.csv | speechvae batch - -o speech/",
))  # fmt: skip
def batch(
    file: Annotated[str, typer.Argument(help="UTF-8 lines, `id|text` or text alone; `-` reads standard input.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for ID.wav and manifest.jsonl.")],
    voice: VoiceOption = DEFAULT_VOICE,
    speaker: SpeakerOption = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Each line's seed follows from this and its id. Default: a new one.")
    ] = None,
    temperature: TemperatureOption = None,
    style_temperature: StyleTemperatureOption = None,
    length_scale: LengthScaleOption = 1.0,
    ssml: SsmlOption = False,
    steadiness: SteadinessOption = STEADINESS,
    axis: AxisOption = None,
    pitch: PitchOption = None,
    range_: RangeOption = None,
    energy: EnergyOption = None,
    force: ForceOption = False,
) -> None:
    """Speak every line of a file into a file of its own.

    Lines without ids are named by their place in the file: 00001.wav. A run that was stopped goes on where it was.
    Lines that cannot be spoken are listed at the end, the rest is done all the same, and the exit code is then 1.
    """
    lines = read_text(None if file == "-" else Path(file)).splitlines()
    from speechvae.batch import run_batch
    from speechvae.synthesis import Voice

    edits = edited(Edits(), tuple, pitch, range_, energy, None, None)
    style = Style(speaker, temperature, style_temperature, length_scale, ssml, steadiness, axis_values(axis), edits)
    report = run_batch(lines, output, Voice.load(voice), seed=seed, style=style, overwrite=force)
    for refused in report.refused:
        name = f" ({refused.id})" if refused.id else ""
        typer.echo(f"line {refused.number}{name}: {refused.reason}", err=True)
    typer.echo(
        f"{output}: {len(report.written)} written, {len(report.skipped)} there already, {len(report.refused)} failed"
    )
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def voices(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """List the voices that `--voice` knows by name."""
    from speechvae.synthesis import list_voices

    found = list_voices()
    if as_json:
        fields = ("name", "language", "speakers", "path", "description")
        print_json([{key: getattr(v, key) for key in fields} for v in found])
        return
    for v in found:
        typer.echo(f"{v.name:16} {v.language:8} {', '.join(v.speakers)}")
        if v.description:
            typer.echo(f"{'':16} {v.description}")
    if not found:
        typer.echo("No voice is installed. --voice also takes the folder of a voice.", err=True)


@app.command()
def info(
    voice: Annotated[
        str, typer.Argument(help="A name from `speechvae voices`, or the folder of a voice.")
    ] = DEFAULT_VOICE,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show what a voice is made of, and the versions in use."""
    from speechvae.synthesis import Voice

    facts = {**Voice.load(voice).info(), "versions": _versions()}
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        elif isinstance(value, list | tuple):
            value = ", ".join(map(str, value))
        typer.echo(f"{key:20} {value}")


@app.command(epilog=examples(
    "speechvae demo",
    "speechvae demo --host 0.0.0.0 --port 8080        reachable from other machines",
))  # fmt: skip
def demo(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 = any free port.")] = 7860,
    voice: VoiceOption = DEFAULT_VOICE,
) -> None:
    """Serve the demo page: speak, compare readings, see the sound."""
    try:
        import importlib

        launch = importlib.import_module("speechvae_demo.app").launch
    except ModuleNotFoundError as e:
        raise SpeechVAEError(f"the demo is not installed ({e}): run `pip install -e .` in the project") from e
    launch(host=host, port=port, voice=voice)


for _commands in (cli_takes, cli_recordings, cli_sound, cli_words, cli_training):
    app.add_typer(_commands.app)


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    from speechvae import __version__

    names = ("torch", "torchaudio", "transformers", "gruut", "numpy")
    return {"speechvae": __version__, "python": sys.version.split()[0], **{name: version(name) for name in names}}


def main(argv: list[str] | None = None) -> int:
    """Run the command line. Expected failures are one line on standard error and exit code 1; wrong usage is 2."""
    try:
        app(args=argv, prog_name="speechvae")
    except (SpeechVAEError, OSError) as e:
        if _settings["debug"]:
            raise
        message = str(e)
        if isinstance(e, OSError) and e.filename is not None and e.strerror is not None:
            message = f"{e.filename}: {e.strerror}"
        typer.echo(f"speechvae: {message}", err=True)
        return 1
    return 0
