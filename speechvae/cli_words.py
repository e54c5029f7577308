"""The commands that write: write and reply; prepare-text and export-writer make a writer of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechvae.cli_options import DEFAULT_VOICE, ForceOption, VoiceOption, examples, print_json
from speechvae.errors import SpeechVAEError

if TYPE_CHECKING:
    from speechvae.words.writer import Writer, Written

app = typer.Typer(rich_markup_mode=None)

WriterOption = Annotated[str, typer.Option("--writer", "-w", help="An installed writer, or the folder of one.")]
WordsTemperatureOption = Annotated[
    float | None,
    typer.Option(
        min=0, max=3,
        help="How far the latents may lie from the expected; 1 = as the model learnt it. Default: 1, with --like 0.5.",
    ),
]
WordTemperatureOption = Annotated[
    float | None, typer.Option(min=0, max=3, help="Of the words given a latent; 0 = the likeliest. Default: 0.8.")
]
WordsSeedOption = Annotated[
    int | None, typer.Option(min=0, help="Same seed, same sentences (and readings). Default: a new one, reported.")
]
BlockOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Words that no sentence may hold, one a line.")
]
SayOption = Annotated[bool, typer.Option("--say", help="Speak the sentences, too, each into a wav file in -o.")]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder for what --say speaks.")]
JsonOption = Annotated[bool, typer.Option("--json", help="As JSON, with latents and costs.")]
SMALL = "A small model: its sentences are plausible at best, and nothing it says is checked. It can be rude or wrong."


@app.command(epilog=examples(
    "speechvae write -n 5",
    'speechvae write -n 3 --like "Did you watch the game last night?" --say -o written',
    'speechvae write --between "I love dogs." "The election was in November." --steps 5',
    "speechvae write --odd chapter1.txt                       which lines are unlike the texts it learnt from?",
))  # fmt: skip
def write(
    n: Annotated[int, typer.Option("-n", min=1, max=1000, help="How many sentences; of --odd, lines.")] = 5,
    like: Annotated[str | None, typer.Option(help="Write variations of this sentence.")] = None,
    between: Annotated[
        tuple[str, str] | None, typer.Option(metavar="A B", help="Go from sentence A to sentence B in the latents.")
    ] = None,
    steps: Annotated[int, typer.Option(min=2, max=100, help="Of --between, with both ends.")] = 5,
    odd: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Judge the lines of a text file instead; list the oddest.")
    ] = None,
    temperature: WordsTemperatureOption = None,
    word_temperature: WordTemperatureOption = None,
    seed: WordsSeedOption = None,
    writer: WriterOption = "topical",
    block: BlockOption = None,
    say: SayOption = False,
    output: OutputOption = Path("written"),
    voice: VoiceOption = DEFAULT_VOICE,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Write sentences: new ones, variations of one, a path between two; or find the odd lines of a file.

    Every sentence has a latent, and near latents mean sentences that are like each other. With --say the voice speaks
    them, each in a reading of its own. The writer is a small model: plausible at best, and nothing it says is checked.
    """
    if sum(x is not None for x in (like, between, odd)) > 1:
        raise typer.BadParameter("give only one of --like, --between and --odd")
    if odd is not None:
        _odd(odd, n, writer, say, output, voice, seed, as_json, force)
        return
    from speechvae.batch import new_seed

    seed = new_seed() if seed is None else seed
    author = _load(writer, block)
    if between is not None:
        found, name = author.between(*between, steps), "between"
    else:
        options = {} if word_temperature is None else {"word_temperature": word_temperature}
        found, name = author.write(n, like, temperature, seed, **options), "write"
    _show(found, seed, n if between is None else steps, as_json)
    if say:
        _say([w.text for w in found], name, output, voice, seed, force, as_json)


@app.command(epilog=examples(
    'speechvae reply "What did you do at the weekend?" -n 3',
    'speechvae reply "Do you like dogs?" "Yes, I have two." -n 3 --say -o replies      the last turns, oldest first',
))  # fmt: skip
def reply(
    turns: Annotated[list[str], typer.Argument(help="What was said, oldest first.")],
    n: Annotated[int, typer.Option("-n", min=1, max=100, help="How many replies.")] = 3,
    temperature: WordsTemperatureOption = None,
    word_temperature: WordTemperatureOption = None,
    seed: WordsSeedOption = None,
    writer: WriterOption = "topical",
    block: BlockOption = None,
    say: SayOption = False,
    output: OutputOption = Path("written"),
    voice: VoiceOption = DEFAULT_VOICE,
    as_json: JsonOption = False,
    force: ForceOption = False,
) -> None:
    """Answer a remark in several ways that differ, the likeliest first.

    More are drawn than are shown: implausible ones are dropped. A small model: it follows the topic at best, knows
    nothing, and may be rude or wrong.
    """
    from speechvae.batch import new_seed

    seed = new_seed() if seed is None else seed
    options = {} if word_temperature is None else {"word_temperature": word_temperature}
    found = _load(writer, block).reply(turns, n, 1.0 if temperature is None else temperature, seed, **options)
    if not found:
        raise SpeechVAEError("no reply was plausible: try another --seed, or a lower --temperature")
    _show(found, seed, n, as_json)
    if say:
        _say([w.text for w in found], "reply", output, voice, seed, force, as_json)


@app.command("prepare-text", epilog=examples(
    "speechvae prepare-text recipes/text_vae/config.yaml --text dialogues.jsonl --text novel.txt --work work/words",
    "speechvae train recipes/text_vae/config.yaml --stage text_vae --work work/words",
    "speechvae export-writer work/words -o my_writer",
))  # fmt: skip
def prepare_text(
    text: Annotated[list[Path], typer.Option(help="One sentence a line, or JSONL of dialogues. Again for more files.")],
    config: Annotated[Path | None, typer.Argument(help="A recipe's config.yaml.")] = None,
    work: Annotated[Path, typer.Option(help="Folder for the tokenizer and the tokens.")] = Path("work"),
) -> None:
    """Check texts, learn their tokens, and cache what the training of a writer needs.

    A file whose name ends in .jsonl (or .jsonl.gz) has one dialogue a line: {"id": "...", "turns": ["...", "..."]}.
    Lines that cannot be used are listed with the reason, and the rest goes on.
    """
    from speechvae.config import Config
    from speechvae.words.corpus import prepare_texts

    report = prepare_texts(text, work, (Config() if config is None else Config.load(config)).text_vae)
    typer.echo(report.table())


@app.command("export-writer", epilog=examples(
    "speechvae export-writer work/words -o my_writer",
    "speechvae write -n 5 --writer my_writer",
))  # fmt: skip
def export_writer(
    work: Annotated[Path, typer.Argument(help="A folder in which the text_vae stage was trained.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the writer.")],
    force: ForceOption = False,
) -> None:
    """Make a writer of a trained work folder, for --writer."""
    if (output / "writer.yaml").exists() and not force:
        raise SpeechVAEError(f"{output} holds a writer already: choose another folder, or replace it with --force")
    from speechvae.words.export import export_writer as run

    folder = run(work, output)
    size = sum(f.stat().st_size for f in folder.iterdir() if f.is_file()) / 1e6
    typer.echo(f"{folder}: {size:.1f} MB")


def _load(writer: str, block: Path | None) -> Writer:
    from speechvae.words.texts import read_lines
    from speechvae.words.writer import Writer, block_words

    return Writer.load(writer, None if block is None else block_words(read_lines(block)))


def _show(found: Sequence[Written], seed: int, wanted: int, as_json: bool) -> None:
    if as_json:
        print_json({"seed": seed, "sentences": [asdict(w) for w in found], "note": SMALL})
        return
    for number, w in enumerate(found, 1):
        typer.echo(f"{number:3}  {w.text}")
    missing = f"; {len(found)} of {wanted}: the rest was implausible, blocked or repeated" * (len(found) < wanted)
    typer.echo(f"seed {seed}{missing}. {SMALL}", err=True)


def _say(
    texts: Sequence[str], name: str, output: Path, voice: str, seed: int, force: bool, quiet: bool
) -> None:  # fmt: skip
    """Speak each text into OUTPUT/NAME-SEED-NUMBER.wav."""
    from speechvae.batch import run_batch
    from speechvae.synthesis import Voice

    lines = [f"{name}-{seed}-{i}|{t}" for i, t in enumerate(texts, 1)]
    report = run_batch(lines, output, Voice.load(voice), seed=seed, overwrite=force)
    for refused in report.refused:
        typer.echo(f"{refused.id}: {refused.reason}", err=True)
    for id in [] if quiet else [*report.written, *report.skipped]:
        typer.echo(str(output / f"{id}.wav"))
    if not report.ok:
        raise typer.Exit(1)


def _odd(
    file: Path, n: int, writer: str, say: bool, output: Path, voice: str, seed: int | None, as_json: bool, force: bool
) -> None:  # fmt: skip
    from tqdm import tqdm

    from speechvae.words.texts import read_lines

    lines = read_lines(file)
    with tqdm(total=len(lines), unit="line", disable=None, desc=file.name) as bar:
        found = _load(writer, None).odd(lines, progress=bar.update)
    shown = found[:n]
    if as_json:
        print_json([asdict(j) for j in shown])
    else:
        typer.echo("oddity    line  text")
        for j in shown:
            text = j.text if len(j.text) <= 100 else f"{j.text[:99]}…"
            mark = "      -" if j.reason else f"{j.oddity:+7.1f}"
            typer.echo(f"{mark} {j.number:6}  {text}{f'   ({j.reason})' if j.reason else ''}")
        meaning = "standard deviations above what a sentence of that length costs"
        typer.echo(f"{len(found)} lines judged. Oddity: {meaning}.", err=True)
    if say:
        from speechvae.batch import new_seed

        speakable = [j.text for j in shown if not j.reason]
        _say(speakable, file.stem, output, voice, new_seed() if seed is None else seed, force, as_json)
