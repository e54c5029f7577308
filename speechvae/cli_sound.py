"""The command that sends recordings through a vocoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechvae.cli_options import DEFAULT_VOICE, ForceOption, examples

if TYPE_CHECKING:
    from speechvae.resynthesis import Resynthesiser

app = typer.Typer(rich_markup_mode=None)


@app.command(epilog=examples(
    "speechvae resynthesise me.wav -o copy.wav",
    "speechvae resynthesise me.wav -o plain.wav --vocoder griffinlim --iterations 100",
    "speechvae resynthesise recordings -o copies           a folder: goes on where it stopped",
    "speechvae resynthesise me.wav -o vocos.wav --vocoder models/vocos-mel-24khz",
))  # fmt: skip
def resynthesise(
    source: Annotated[Path, typer.Argument(help="A recording, or a folder of them.", metavar="IN")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="wav, flac, ogg or mp3, by its ending; or a folder, for a folder.")
    ],
    vocoder: Annotated[
        str, typer.Option(metavar="griffinlim|VOICE|PATH",
                          help="griffinlim, a voice's, a training's folder, or that of a public Vocos mel vocoder."),
    ] = DEFAULT_VOICE,
    iterations: Annotated[int, typer.Option(min=1, max=10000, help="Of Griffin-Lim.")] = 32,
    force: ForceOption = False,
) -> None:  # fmt: skip
    """Send recordings through a vocoder: recording → mel → wav, to hear and measure what it does.

    Any rate and length; channels are mixed to one. The copy has the vocoder's rate (24 kHz for the shipped voice), the
    duration and the level of the recording. In a folder sub-folders are kept, and copies that are there are passed
    over. Files that fail are listed at the end, the rest is done all the same, and the exit code is then 1.
    """
    from speechvae.errors import SpeechVAEError

    if not source.exists():
        raise SpeechVAEError(f"no recording or folder at {source}")
    if source.is_dir() and output.is_file():
        raise SpeechVAEError(f"{source} is a folder, so its copies need one, and {output} is a file")
    from speechvae.files import check_output

    if not source.is_dir():
        check_output(output, force)
    from speechvae.resynthesis import Resynthesiser
    from speechvae.vocoders import load_vocoder

    worker = Resynthesiser(load_vocoder(vocoder), iterations=iterations, name=vocoder)
    if not source.is_dir():
        _one(worker, source, output, force)
        return
    report = worker.folder(source, output, force)
    for path, reason in report.failed:
        typer.echo(f"{path}: {reason}", err=True)
    clipped = [c for c in report.written if c.clipped]
    if clipped:
        typer.echo(f"{len(clipped)} copies went over full scale in some samples: {clipped[0].path} …", err=True)
    typer.echo(
        f"{output}: {len(report.written)} written at {worker.audio.sample_rate} Hz, {len(report.skipped)} there "
        f"already, {len(report.failed)} failed"
    )
    if report.failed:
        raise typer.Exit(1)


def _one(worker: Resynthesiser, source: Path, output: Path, force: bool) -> None:
    from tqdm import tqdm

    with tqdm(unit="s", unit_scale=True, disable=None, desc=source.name) as bar:
        done = worker.file(source, output, force, bar.update)
    rate = f"{done.rate} Hz" if done.rate == done.source_rate else f"{done.rate} Hz (recording: {done.source_rate} Hz)"
    typer.echo(f"{output}: {done.duration:.2f} s at {rate}, rtf {done.rtf:.3f}")
    if done.clipped:
        typer.echo(f"{done.clipped} samples went over full scale and were cut off", err=True)
