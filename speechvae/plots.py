"""Pictures of mels, alignments, contours and sets of readings (matplotlib, drawn off screen)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speechvae.config import AudioConfig
from speechvae.errors import SpeechVAEError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from speechvae.recordings.repair import Repair
    from speechvae.sound import Audio, WordTime


def mel_figure(
    mel: np.ndarray, audio: AudioConfig, symbols: list[str] | None = None, w: list[int] | None = None,
    f0: np.ndarray | None = None, title: str = "",
) -> Figure:  # fmt: skip
    """Log-mel [M, T] with its symbols (durations w in frames) and the f0 contour [T] (Hz, 0 = unvoiced)."""
    from matplotlib.figure import Figure

    frames = mel.shape[1]
    end = frames / audio.frame_rate
    figure = Figure(figsize=(max(6.0, min(24.0, 2.4 * end + 2)), 3.4), layout="constrained")
    axes: Any = figure.add_subplot()
    axes.imshow(
        mel, origin="lower", aspect="auto", extent=(0, end, 0, audio.n_mels), cmap="magma",
        vmin=np.log(1e-4), vmax=max(2.0, float(mel.max(initial=0.0))), interpolation="nearest",
    )  # fmt: skip
    axes.set(ylabel="mel band", xlabel="s", title=title, xlim=(0, end))
    if symbols is not None and w is not None:
        ends = np.cumsum(w) / audio.frame_rate
        for s, stop, n in zip(symbols, ends, w, strict=True):
            axes.axvline(stop, color="white", lw=0.5, alpha=0.6)
            label = {" ": "·"}.get(s, s)
            axes.text(stop - n / audio.frame_rate / 2, audio.n_mels * 1.01, label, ha="center", va="bottom", fontsize=8)
        axes.set_title(title, pad=18)
    if f0 is not None and np.any(f0 > 0):
        twin = axes.twinx()
        times = (np.arange(len(f0)) + 0.5) / audio.frame_rate
        twin.plot(times, np.where(f0 > 0, f0, np.nan), color="cyan", lw=1.6)
        twin.set(ylabel="f0 (Hz)", ylim=(50, max(400.0, float(f0.max()) * 1.15)), xlim=(0, end))
    return figure


def alignment_figure(mel: np.ndarray, symbols: list[str], w: list[int], audio: AudioConfig) -> Figure:
    """Log-mel [M, T] with the borders of its symbols."""
    return mel_figure(mel, audio, symbols, w, title="alignment")


# -- contact sheet -----------------------------------------------------------------------------------------------------

SHEET_ROWS, SHEET_SECONDS, SHEET_WIDTH = 24, 10.0, 1500  # rows, s a row, pixels
F0_INK, ENERGY_INK, WORD_INK = "#0072B2", "#E69F00", "#333333"  # of Okabe and Ito: told apart by the colour-blind
ENERGY_DEPTH = 45.0  # dB under the loudest frame, the foot of the energy band
WORD_LANES = 3


def contact_sheet(readings: Sequence[Audio], path: str | Path, labels: Sequence[str] | None = None) -> Path:
    """Draw readings under each other on one time axis as a PNG of 1500 pixels' width.

    A row is a reading: f0 (line, Hz on a log axis, the same for all rows; dotted: its mean), energy (band, dB), words
    with their durations in ms. At most 24 rows, and of each the words that every reading says within 10 s (of readings
    of different texts: its own); what is left out is said.

    Args:
        readings: at least one, usually of one text.
        labels: a short title a reading (default: its take's name, else "take N").

    Raises:
        SpeechVAEError: no readings, or as many labels as there are not readings.
    """
    from matplotlib.figure import Figure

    if not readings:
        raise SpeechVAEError("a contact sheet needs at least one reading")
    if labels is not None and len(labels) != len(readings):
        raise SpeechVAEError(f"{len(labels)} labels for {len(readings)} readings: give one each")
    shown = list(readings[:SHEET_ROWS])
    names = [_title(i, r) if labels is None else labels[i] for i, r in enumerate(shown)]
    ends = _row_ends(shown)
    longest = max(*ends, 1.0)
    low, high = _f0_range(shown)
    height = 1.5 if len(shown) <= 8 else 1.25
    notes = _left_out(readings, shown, ends)
    figure = Figure(figsize=(SHEET_WIDTH / 100, 0.75 + height * len(shown)), dpi=100, facecolor="white")
    left, top = 0.115, 0.42  # of the width; inches
    figure.text(0.008, 1 - 0.1 / figure.get_figheight(), _heading(shown), va="top", fontsize=11, color=WORD_INK)
    for row, (reading, name, end) in enumerate(zip(shown, names, ends, strict=True)):
        space = figure.get_figheight()
        foot = (space - top - (row + 1) * height + 0.40) / space
        axes: Any = figure.add_axes((left, foot, 0.985 - left, (height - 0.44) / space))
        _draw_reading(axes, reading, end, longest, (low, high))
        facts = f"seed {reading.seed}\n{reading.duration:.2f} s, {_mean_f0(reading.f0)}"
        figure.text(0.008, foot + (height - 0.44) / space, name[:24], va="top", fontsize=10, weight="bold")
        figure.text(0.008, foot + (height - 0.66) / space, facts, va="top", fontsize=9, color=WORD_INK)
        if row == len(shown) - 1:
            axes.tick_params(axis="x", labelbottom=True, pad=28)
            axes.xaxis.set_major_formatter("{x:g} s")
    figure.text(left, 0.08 / figure.get_figheight(), notes, va="bottom", fontsize=9, color=WORD_INK)
    return save_figure(figure, path)


def save_figure(figure: Figure, path: str | Path, dpi: int = 100) -> Path:
    """Write a PNG; it appears whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(f".{path.stem}.{os.getpid()}.part.png")
    try:
        figure.savefig(tmp, dpi=dpi)
        os.replace(tmp, path)
    finally:
        tmp.unlink(missing_ok=True)
    return path


def _title(index: int, reading: Audio) -> str:
    name = getattr(reading.take, "name", "")
    return name if name else f"take {index + 1}"


def _heading(shown: list[Audio]) -> str:
    texts = list(dict.fromkeys(r.text for r in shown))
    text = " ".join(texts[0].split()) if len(texts) == 1 else f"{len(texts)} texts"
    return text if len(text) <= 150 else f"{text[:149]}…"


def _left_out(readings: Sequence[Audio], shown: list[Audio], ends: list[float]) -> str:
    notes = ["line: f0 (Hz)   band: energy (45 dB)   under the words: ms"]
    if any(r.duration > end + 1e-3 and r.duration > SHEET_SECONDS for r, end in zip(shown, ends, strict=True)):
        notes.append(f"only the beginning, up to {SHEET_SECONDS:.0f} s")
    if len(readings) > len(shown):
        notes.append(f"{len(readings) - len(shown)} more readings are not shown")
    return "      ".join(notes)


def _row_ends(shown: list[Audio]) -> list[float]:
    """Seconds of each reading that are drawn: all of it, or up to the end of a word that fits into the row."""
    if all(r.duration <= SHEET_SECONDS for r in shown):
        return [r.duration for r in shown]
    fit = [sum(w.end <= SHEET_SECONDS for w in r.words) for r in shown]
    if len({tuple(w.text for w in r.words) for r in shown}) == 1:
        fit = [min(fit)] * len(shown)
    return [
        r.duration if n == len(r.words) else (r.words[n - 1].end if n else SHEET_SECONDS)
        for r, n in zip(shown, fit, strict=True)
    ]


def _f0_range(shown: list[Audio]) -> tuple[float, float]:
    """Limits in Hz that hold nearly all voiced frames, at least an octave apart."""
    voiced = np.concatenate([r.f0[r.f0 > 0] for r in shown])
    if len(voiced) == 0:
        return 80.0, 320.0
    low, high = np.percentile(voiced, [0.5, 99.5]) * [0.92, 1.09]
    middle = float(np.sqrt(low * high))
    return min(float(low), middle / 2**0.5), max(float(high), middle * 2**0.5)


def _mean_f0(f0: np.ndarray) -> str:
    voiced = f0[f0 > 0]
    return f"{np.exp(np.log(voiced).mean()):.0f} Hz" if len(voiced) else "no voice"


def _draw_reading(axes: Any, reading: Audio, end: float, longest: float, limits: tuple[float, float]) -> None:
    axes.set_yscale("log")
    axes.set(xlim=(0, longest), ylim=limits)
    ticks = [hz for hz in (50, 70, 100, 140, 200, 280, 400, 560) if limits[0] <= hz <= limits[1]]
    axes.set_yticks(ticks, [str(hz) for hz in ticks])
    axes.minorticks_off()
    axes.tick_params(labelsize=8, length=0, colors="#777777", labelbottom=False)
    axes.grid(axis="y", color="#dddddd", lw=0.6)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    times = _frame_times(reading.mel.shape[1], reading.duration)
    loudness = 10 / np.log(10) * np.logaddexp.reduce(2 * np.asarray(reading.mel, np.float64), axis=0)
    share = np.clip(1 + (loudness - loudness.max(initial=-200.0)) / ENERGY_DEPTH, 0, 1)
    tops = limits[0] * (limits[1] / limits[0]) ** (0.9 * share)
    seen = times <= end
    axes.fill_between(times[seen], limits[0], tops[seen], color=ENERGY_INK, alpha=0.3, lw=0)
    f0 = _contour(reading)
    times = _frame_times(len(f0), reading.duration)
    seen = times <= end
    axes.plot(times[seen], np.where(f0 > 0, f0, np.nan)[seen], color=F0_INK, lw=2)
    if (f0 > 0).any():
        axes.axhline(np.exp(np.log(f0[f0 > 0]).mean()), color=F0_INK, lw=0.8, ls=":", alpha=0.8)
    _draw_words(axes, [w for w in reading.words if w.end <= end + 1e-6], longest)


def _frame_times(count: int, seconds: float) -> np.ndarray:
    return (np.arange(count) + 0.5) * seconds / max(1, count)


def _contour(reading: Audio) -> np.ndarray:
    """The f0 track [T] in Hz. One with a value a phoneme is drawn as the decoder reads it: on straight lines."""
    voiced = reading.f0 > 0
    points = [((p.start + p.end) / 2, np.log(p.f0)) for p in reading.phonemes if p.f0 > 0]
    if not points or len(np.unique(reading.f0[voiced])) > len(points):
        return reading.f0
    times = _frame_times(len(voiced), reading.duration)
    return np.where(voiced, np.exp(np.interp(times, *np.transpose(points))), 0.0)


def _draw_words(axes: Any, words: list[WordTime], longest: float) -> None:
    """Words under the axis, each with its duration in ms, on as many lines as keep them apart."""
    pixel = longest / (SHEET_WIDTH * 0.87)
    free = [0.0] * WORD_LANES
    for word in words:
        axes.axvline(word.start, color="#999999", lw=0.6)
        wide = (7.1 * len(word.text) + 4) * pixel
        number = f"{1000 * (word.end - word.start):.0f}"
        room = wide + (5.4 * len(number) + 3) * pixel
        lane = min(range(WORD_LANES), key=lambda i: (max(free[i], word.start), i))
        start = max(word.start, free[lane])
        axes.annotate(
            word.text, (start, 0), (1.5, -3 - 9 * lane), xycoords=("data", "axes fraction"), fontsize=8.5,
            textcoords="offset points", ha="left", va="top", color=WORD_INK, annotation_clip=False,
        )  # fmt: skip
        axes.annotate(
            number, (start + wide, 0), (1.5, -5 - 9 * lane), xycoords=("data", "axes fraction"), fontsize=6,
            textcoords="offset points", ha="left", va="top", color="#777777", annotation_clip=False,
        )  # fmt: skip
        free[lane] = start + room


def repair_picture(repair: Repair, audio: AudioConfig, path: Path) -> Path:
    """A PNG: log-mels before and after, with what changed between the lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.5), layout="constrained")
    plots = figure.subplots(2, 1)
    marks = ([(s.start, s.end) for s in repair.spans], [(s.new_start, s.new_end) for s in repair.spans])
    for axes, mel, title, spans in zip(
        plots, (repair.mel_before, repair.mel_after), ("before", "after"), marks, strict=True
    ):
        begin = repair.offset
        end = begin + mel.shape[1] / repair.frame_rate
        place = (begin, end, 0, audio.n_mels)
        axes.imshow(mel, origin="lower", aspect="auto", extent=place, cmap="magma", vmin=-9, vmax=2)
        axes.set(title=title, ylabel="mel band", xlabel="s")
        for a, b in spans:
            axes.axvspan(a, b, facecolor="none", edgecolor="cyan", lw=2)
    return save_figure(figure, path, dpi=110)
