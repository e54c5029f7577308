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
    text_vae = "text_vae"
    text_lm = "text_lm"
    text_autoencoder = "text_autoencoder"


@app.command(epilog=examples(
    "speechvae prepare --corpus ~/recordings --work work/mine",
    "speechvae prepare recipes/english/config.yaml --corpus kathleen --corpus ljspeech --work work/english",
))  # fmt: skip
def prepare(
    config: Annotated[
        Path | None, typer.Argument(help="A recipe's config.yaml: its audio and prepare settings and language.")
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
        level_kept=cfg.prepare.level_kept,
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
    stage: Annotated[
        Stage, typer.Option(help="Of a voice, in this order: aligner, vae, vocoder. Of a writer: text_vae.")
    ],
    work: Annotated[
        Path, typer.Option(help="The folder that `speechvae prepare` (or `prepare-text`) filled.")
    ] = Path("work"),
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Stop after so many minutes; call again to go on.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="`cpu` or `cuda`. Default: a GPU when there is one.")] = None,
    init: Annotated[
        str | None, typer.Option(help="Begin with the weights of this voice (vae: same symbols and speakers).")
    ] = None,
) -> None:
    """Train one stage of a voice or of a writer, or go on training it.

    text_lm and text_autoencoder are what a writer is measured against: without a latent, and without noise.
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
    voice: Annotated[
        str | None, typer.Option("--voice", "-v", help="Render with a finished voice: WORK only needs to be prepared.")
    ] = None,
) -> None:
    """Render the corpus with the VAE, to tune a vocoder on.

    A vocoder whose config says `mel_source: vae` then learns from them and from the recordings, half and half.
    """
    from speechvae.reconstruct import reconstruct as run

    typer.echo(str(run(work, voice=voice)))


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
        str, typer.Option(metavar="network|griffinlim|VOICE|PATH", help="The one trained in WORK; Griffin-Lim, which "
                          "needs no training; or a finished one, such as that of a voice.")
    ] = "network",
    only_vocoder: Annotated[
        bool, typer.Option("--only-vocoder", help="Not a voice but its vocoder alone, for --vocoder.")
    ] = False,
    force: ForceOption = False,
) -> None:
    """Make a voice of a trained work folder, for --voice."""
    if only_vocoder:
        from speechvae.vocoders import DESCRIPTION, export_vocoder

        if (output / DESCRIPTION).exists() and not force:
            raise SpeechVAEError(f"{output} holds a vocoder already: choose another folder, or use --force")
        typer.echo(str(export_vocoder(work, output)))
        return
    if (output / "voice.yaml").exists() and not force:
        raise SpeechVAEError(f"{output} holds a voice already: choose another folder, or replace it with --force")
    from speechvae.export import export_voice

    folder = export_voice(work, output, vocoder)
    size = sum(f.stat().st_size for f in folder.iterdir() if f.is_file()) / 1e6
    typer.echo(f"{folder}: {size:.1f} MB")


@app.command(epilog=examples("speechvae axes work/english my_voice", 'speechvae say "Higher." --axis pitch=+1.5'))
def axes(
    work: Annotated[Path, typer.Argument(help="The folder in which the voice was trained.")],
    voice: Annotated[Path, typer.Argument(help="The folder of the voice; its voice.yaml gets the axes.")],
    limit: Annotated[int | None, typer.Option(min=40, help="Use at most so many training clips.")] = None,
    force: ForceOption = False,
) -> None:
    """Find the latent directions that move a voice's pitch, range, rate and energy, for `say --axis`.

    One unit of an axis is one standard deviation of the training recordings, speaker by speaker. The table shows what
    else moves, in standard deviations, and how far the axis leads: much beyond 3 the voice leaves what it has heard.
    """
    from speechvae import axes as module
    from speechvae.synthesis import Voice
    from speechvae.voice_files import read_settings

    if read_settings(voice).axes and not force:
        raise SpeechVAEError(f"{voice} holds axes already: replace them with --force")
    fit = module.fit(work, Voice.load(voice), limit, True)
    typer.echo(fit.table())
    typer.echo(str(module.write_axes(voice, fit.axes, force)))


@app.command(
    epilog=examples(
        "speechvae evaluate kathleen --corpus corpora/kathleen -o evaluation",
        "speechvae evaluate my_voice --corpus recordings --split dev -n 20 --without pesq",
        "speechvae evaluate kathleen --corpus corpora/kathleen --takes 8 --temperature 0.8",
        "speechvae evaluate kathleen --corpus corpora/kathleen --prosody --temperatures 0,1 -o evaluation",
    )
)
def evaluate(
    voice: Annotated[str, typer.Argument(help="A name from `speechvae voices`, or the folder of a voice.")],
    corpus: Annotated[Path, typer.Option(help="Recordings to compare with: a folder or JSONL file.")],
    split: Annotated[Split, typer.Option(help="Which part of the corpus.")] = Split.test,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="At most so many sentences, spread over the split.")
    ] = None,
    prosody: Annotated[
        bool, typer.Option("--prosody", help="Also what the latents carry, paths between readings, and 16 takes.")
    ] = False,
    takes: Annotated[
        int | None,
        typer.Option(min=0, help="Readings to draw of each prompt recorded several times, to compare spreads."),
    ] = None,
    takes_split: Annotated[
        Split | None, typer.Option(help="Where the prompts for --takes come from. Default: as --split.")
    ] = None,
    takes_temperature: Annotated[float, typer.Option(min=0, max=3, help="Temperature of --takes.")] = 1.0,
    takes_style_temperature: Annotated[float, typer.Option(min=0, max=3, help="Style temperature of --takes.")] = 1.0,
    temperatures: Annotated[
        str | None, typer.Option(metavar="T,T,…", help="A column of synthesis for each of these temperatures.")
    ] = None,
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

    Measures: recognition, dnsmos, similarity, spectrum, f0, duration, signal, sharpness, pesq, stoi, stft. What they
    need is installed by `pip install 'speechvae[evaluate]'`.
    """
    from speechvae.evaluate import evaluate as run

    report = run(
        voice,
        corpus,
        split.value,
        limit,
        (16 if prosody else 0) if takes is None else takes,
        output,
        metrics=measure,
        without=() if without is None else without,
        overwrite=force,
        prosody=prosody,
        temperatures=_numbers(temperatures, "--temperatures"),
        takes_split=None if takes_split is None else takes_split.value,
        takes_temperature=takes_temperature,
        takes_style_temperature=takes_style_temperature,
        temperature=temperature,
        style_temperature=style_temperature,
    )
    if as_json:
        print_json(report.to_dict())
    else:
        report.print()


def _numbers(text: str | None, option: str) -> list[float]:
    """Numbers from 0 to 3, parted by commas."""
    try:
        numbers = [float(part) for part in ("" if text is None else text).split(",") if part.strip()]
    except ValueError as e:
        raise typer.BadParameter(f"{option} takes numbers parted by commas, such as 0,1, not {text!r}") from e
    if not all(0 <= n <= 3 for n in numbers):
        raise typer.BadParameter(f"{option} takes temperatures from 0 to 3, not {text!r}")
    return numbers
