"""The commands that start from a recording: transfer, repair, audit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from speechvae.cli_options import (
    DEFAULT_VOICE,
    ForceOption,
    SeedOption,
    SpeakerOption,
    TemperatureOption,
    VoiceOption,
    examples,
)
from speechvae.cli_training import Split
from speechvae.errors import SpeechVAEError

app = typer.Typer(rich_markup_mode=None)

Recording = Annotated[Path, typer.Argument(help="wav, flac, ogg, opus or mp3.", metavar="RECORDING")]


@app.command(epilog=examples(
    'speechvae transfer me.wav --text "What I said in it." -o performed.wav',
    'speechvae transfer me.wav --text "What I said in it." --nats 1 -o loosely.wav',
    'speechvae transfer me.wav --text "What I said in it." --exact --speaker lj -o as_i_said_it.wav',
    'speechvae transfer me.wav --text "What I said in it." --new-text "Something else." -o in_my_manner.wav',
))  # fmt: skip
def transfer(
    recording: Recording,
    text: Annotated[str, typer.Option(help="What is said in the recording, all of it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="wav, flac, ogg or mp3, by its ending.")],
    new_text: Annotated[
        str | None, typer.Option(help="Perform this instead: only the manner of the recording is used.")
    ] = None,
    voice: VoiceOption = DEFAULT_VOICE,
    speaker: SpeakerOption = None,
    nats: Annotated[
        float | None,
        typer.Option(min=0, help="How close: 0 = as the voice would say it, 1 = loosely, 2 = closely. Default: all."),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Keep the measured pitch, loudness and timing as well.")
    ] = False,
    save_take: Annotated[Path | None, typer.Option(help="Write the reading, for `perform` (.take.json).")] = None,
    force: ForceOption = False,
) -> None:
    """Let the voice say a text as a recording says it.

    Anybody may speak in the recording; a speaker of the voice performs.
    """
    from speechvae.audio import load
    from speechvae.files import check_output, write_sound

    check_output(output, force)
    _check_free(save_take, force)
    wav, rate = load(recording)
    from speechvae.recordings import transfer as transfers
    from speechvae.synthesis import Voice

    loaded = Voice.load(voice)
    take = transfers.transfer(
        loaded, wav, rate, text, speaker=speaker, nats=nats, exact=exact, new_text=new_text
    )  # fmt: skip
    audio = loaded.perform(take)
    write_sound(output, audio.wav, audio.sample_rate)
    typer.echo(f"{output}: {audio.duration:.2f} s, {transfers.nats_of(loaded, take):.2f} nats a phoneme")
    if new_text is None:
        for name, value in transfers.closeness(loaded, wav, rate, text, audio).items():
            typer.echo(f"{name:22} {value:.3f}")
    if save_take is not None:
        typer.echo(str(audio.take.save(save_take)))


@app.command(epilog=examples(
    'speechvae repair rec.wav --text "We meet at nine on Sunday." --words 4 -o better.wav',
    'speechvae repair rec.wav --old-text "We meet at nine." --text "We meet at ten." -o ten.wav',
    'speechvae repair rec.wav --text "We meet at nine." --words 3-4 --alternatives 3 -o choice.wav --picture',
))  # fmt: skip
def repair(
    recording: Recording,
    text: Annotated[str, typer.Option(help="What shall be said in the end.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="wav or flac; at the recording's own rate.")],
    words: Annotated[
        str, typer.Option(help="Words of the text to say anew, by number from 1: 3,5-6.")
    ] = "",
    old_text: Annotated[
        str | None, typer.Option(help="What is said in the recording; words that differ are said anew.")
    ] = None,
    voice: VoiceOption = DEFAULT_VOICE,
    speaker: SpeakerOption = None,
    seed: SeedOption = None,
    temperature: TemperatureOption = None,
    alternatives: Annotated[int, typer.Option(min=1, max=50, help="So many versions, OUT-1, OUT-2, ...")] = 1,
    picture: Annotated[bool, typer.Option("--picture", help="A PNG beside each file: before and after.")] = False,
    force: ForceOption = False,
) -> None:
    """Replace or re-speak words of a recording; the rest stays as it is, sample by sample."""
    import secrets

    from speechvae import files
    from speechvae.directing.edits import parse_words
    from speechvae.plots import repair_picture
    from speechvae.recordings.repair import repair as run

    numbers = parse_words(words) if words.strip() else []
    paths = [output] if alternatives == 1 else [
        output.with_name(f"{output.stem}-{i}{output.suffix}") for i in range(1, alternatives + 1)
    ]  # fmt: skip
    for path in paths:
        files.check_lossless(path, force)
        if picture:
            _check_free(path.with_suffix(".png"), force)
    wav, rate, subtype = files.read_sound(recording)
    first = secrets.randbelow(2**31) if seed is None else seed
    from speechvae.synthesis import Voice

    loaded = Voice.load(voice)
    for i, path in enumerate(paths):
        done = run(loaded, wav, rate, text, words=numbers, old_text=old_text, speaker=speaker, seed=first + i,
                   temperature=temperature)  # fmt: skip
        files.write_like(path, done.wav, rate, subtype)
        typer.echo(f"{path}: {len(done.wav) / rate:.2f} s, seed {first + i}")
        for s in done.spans:
            change = f"“{s.old}” → “{s.new}”" if s.old != s.new else f"“{s.new}” anew"
            typer.echo(f"  {s.start:.3f}-{s.end:.3f} s became {s.new_start:.3f}-{s.new_end:.3f} s: {change}")
        if picture:
            typer.echo(f"  {repair_picture(done, loaded.settings.audio, path.with_suffix('.png'))}")


@app.command(epilog=examples(
    "speechvae audit corpora/kathleen -o audit",
    "speechvae audit recordings --split train -o audit       again: goes on where it stopped",
))  # fmt: skip
def audit(
    corpus: Annotated[Path, typer.Argument(help="Recordings and texts: a folder or JSONL file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for index.html and audit.csv.")],
    voice: VoiceOption = DEFAULT_VOICE,
    split: Annotated[Split, typer.Option(help="Which part of the corpus.")] = Split.all,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="At most so many clips, spread over the split.")
    ] = None,
    force: ForceOption = False,
) -> None:
    """Find the clips of a corpus that deserve an ear: wrong text, noise, clipping, cut ends, another speaker."""
    from speechvae.audit.run import JOURNAL, PAGE
    from speechvae.audit.run import audit as run

    if output.is_dir() and any(output.iterdir()) and not (output / JOURNAL).is_file() and not force:
        raise SpeechVAEError(f"{output} holds other things: choose another folder, or use it with --force")
    from speechvae.synthesis import Voice

    rows = run(Voice.load(voice), corpus, output, split=split.value, limit=limit)
    for row in rows[:10]:
        if row.verdict.suspicion >= 3:
            typer.echo(f"{row.verdict.suspicion:5.1f}  {row.utterance.id:20} {row.verdict.reason}")
    odd = sum(r.verdict.suspicion >= 3 for r in rows)
    typer.echo(f"{odd} of {len(rows)} clips are suspicious: {output / PAGE}")


def _check_free(path: Path | None, force: bool) -> None:
    from speechvae.files import check_free

    if path is not None:
        check_free(path, force)
