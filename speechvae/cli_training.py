"""The commands that make and measure voices: prepare, train, reconstruct, export, evaluate."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from speechvae.cli_options import ForceOption, StyleTemperatureOption, TemperatureOption, examples, print_json
from speechvae.errors import SpeechVAEError

app = typer.Typer(rich_markup_mode=None)


class Split(StrEnum):
    test = "test"
    dev = "dev"
    train = "train"
    all = "all"


class Stage(StrEnum):
    aligner = "aligner"
    vae = "vae"
    vocoder = "vocoder"


class Vocoder(StrEnum):
    network = "network"
    griffinlim = "griffinlim"


@app.command(epilog=examples(
    "speechvae prepare --corpus ~/recordings --work work/mine",
    "speechvae prepare recipes/english/config.yaml --corpus kathleen --corpus ljspeech --work work/english",
))  # fmt: skip
def prepare(
    config: Annotated[
        Path | None, typer.Argument(help="A recipe's config.yaml: its audio settings and language are used.")
    ] = None,
    corpus: Annotated[
        list[Path] | None, typer.Option(help="A corpus: folder or JSONL file. Give it again for more corpora.")
    ] = None,
    work: Annotated[Path, typer.Option(help="Folder for the manifest and the features.")] = Path("work"),
    language: Annotated[str | None, typer.Option(help="Default: the config's, else en-us.")] = None,
    speaker: Annotated[str | None, typer.Option(help="Name of the speaker where a corpus has none.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Check recordings and cache what training needs.

    Corpus layouts: `id|speaker|text` in metadata.csv with audio/; LJSpeech (metadata.csv with wavs/); pairs of
    audio and .txt files; a JSONL manifest. What is refused is listed with the reason, and the rest goes on.
    """
    from speechvae.config import Config
    from speechvae.corpus import Corpus
    from speechvae.prepare import prepare as run

    if not corpus:
        raise typer.BadParameter("name at least one corpus with --corpus DIR")
    cfg = Config() if config is None else Config.load(config)
    report = run(
        [Corpus(path, speaker=speaker) for path in corpus],
        work,
        cfg.audio,
        cfg.language if language is None else language,
        jobs=jobs,
    )
    typer.echo(report.table())


@app.command(epilog=examples(
    "speechvae train recipes/english/config.yaml --stage aligner --work work/english",
    "speechvae train recipes/english/config.yaml --stage vae --work work/english --minutes 30",
    "speechvae train recipes/english/config.yaml --stage vocoder --work work/english",
    "tensorboard --logdir work/english/logs",
))  # fmt: skip
def train(
    config: Annotated[Path, typer.Argument(help="A recipe's config.yaml.")],
    stage: Annotated[Stage, typer.Option(help="In this order: aligner, vae, vocoder.")],
    work: Annotated[Path, typer.Option(help="The folder that `speechvae prepare` filled.")] = Path("work"),
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Stop after so many minutes; call again to go on.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="`cpu` or `cuda`. Default: a GPU when there is one.")] = None,
    init: Annotated[
        str | None, typer.Option(help="Begin with the weights of this voice (vae: same symbols and speakers).")
    ] = None,
) -> None:
    """Train one stage of a voice, or go on training it.

    Training resumes exactly where it stopped, at the end of --minutes or after Ctrl-C.
    """
    from speechvae.trainer import train as run

    figures = run(config, stage.value, work, minutes=minutes, device=device, init=init)
    for name, value in figures.items():
        typer.echo(f"{name:28} {value:.4g}")


@app.command(
    epilog=examples(
        "speechvae reconstruct work/english",
        "speechvae train recipes/english/vocoder_on_vae.yaml --stage vocoder --work work/english",
    )
)
def reconstruct(
    work: Annotated[Path, typer.Argument(help="A folder in which the vae stage was trained.")],
) -> None:
    """Render the corpus with the VAE, to tune a vocoder on.

    A vocoder whose config says `mel_source: vae` then learns from them and from the recordings, half and half.
    """
    from speechvae.reconstruct import reconstruct as run

    typer.echo(str(run(work)))


@app.command(
    epilog=examples(
        "speechvae export work/english -o my_voice",
        'speechvae say "It worked." --voice my_voice',
    )
)
def export(
    work: Annotated[Path, typer.Argument(help="A folder in which the stages were trained.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the voice.")],
    vocoder: Annotated[
        Vocoder, typer.Option(help="The trained one, or Griffin-Lim, which needs no training.")
    ] = Vocoder.network,
    force: ForceOption = False,
) -> None:
    """Make a voice of a trained work folder, for --voice."""
    if (output / "voice.yaml").exists() and not force:
        raise SpeechVAEError(f"{output} holds a voice already: choose another folder, or replace it with --force")
    from speechvae.export import export_voice

    folder = export_voice(work, output, vocoder.value)
    size = sum(f.stat().st_size for f in folder.iterdir() if f.is_file()) / 1e6
    typer.echo(f"{folder}: {size:.1f} MB")


@app.command(
    epilog=examples(
        "speechvae evaluate kathleen --corpus corpora/kathleen -o evaluation",
        "speechvae evaluate my_voice --corpus recordings --split dev -n 20 --without pesq",
        "speechvae evaluate kathleen --corpus corpora/kathleen --takes 8 --temperature 0.8",
    )
)
def evaluate(
    voice: Annotated[str, typer.Argument(help="A name from `speechvae voices`, or the folder of a voice.")],
    corpus: Annotated[Path, typer.Option(help="Recordings to compare with: a folder or JSONL file.")],
    split: Annotated[Split, typer.Option(help="Which part of the corpus.")] = Split.test,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="At most so many sentences, spread over the split.")
    ] = None,
    takes: Annotated[
        int, typer.Option(min=0, help="Readings to draw of each prompt recorded several times, to compare spreads.")
    ] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for report.json, a row a sentence, and pictures.")
    ] = None,
    measure: Annotated[list[str] | None, typer.Option(help="Only this measure. Again for more.")] = None,
    without: Annotated[list[str] | None, typer.Option(help="Leave this measure out. Again for more.")] = None,
    temperature: TemperatureOption = None,
    style_temperature: StyleTemperatureOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    force: ForceOption = False,
) -> None:
    """Measure a voice beside the recordings of the same sentences.

    Measures: recognition, dnsmos, similarity, spectrum, f0, duration, signal, pesq, stoi, stft. What they need is
    installed by `pip install 'speechvae[evaluate]'`.
    """
    from speechvae.evaluate import evaluate as run

    report = run(
        voice,
        corpus,
        split.value,
        limit,
        takes,
        output,
        metrics=measure,
        without=() if without is None else without,
        overwrite=force,
        temperature=temperature,
        style_temperature=style_temperature,
    )
    if as_json:
        print_json(report.to_dict())
    else:
        report.print()
