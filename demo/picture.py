"""The picture of a reading: mel spectrogram in rows, phonemes under it, words and the f0 curve over it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from speechvae import Audio

ROW_SECONDS = 6.0
MAX_ROWS = 6
INK, CURVE = "#222222", "#39d5ff"


def reading_picture(audio: Audio) -> np.ndarray:
    """Draw `audio` as RGB uint8 [H, W, 3]: at most `MAX_ROWS` rows of at most `ROW_SECONDS`; the rest is left out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = min(audio.duration, MAX_ROWS * ROW_SECONDS)
    rows = max(1, math.ceil(shown / ROW_SECONDS - 1e-6))
    # A very short sound is not stretched over the whole width.
    width = max(1.5, shown / rows)
    figure = Figure(figsize=(13, 2.9 * rows), dpi=110, layout="constrained", facecolor="white")
    canvas = FigureCanvasAgg(figure)
    for row in range(rows):
        axes = figure.add_subplot(rows, 1, row + 1)
        _draw_row(axes, audio, row * width, (row + 1) * width)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_row(axes: Any, audio: Audio, start: float, end: float) -> None:
    bands, frames = audio.mel.shape
    seconds = max(audio.duration, 1e-3)
    axes.imshow(
        audio.mel, origin="lower", aspect="auto", extent=(0, seconds, 0, bands), cmap="magma",
        vmin=math.log(1e-4), vmax=max(1.0, float(audio.mel.max(initial=0.0))), interpolation="nearest",
    )  # fmt: skip
    axes.set(xlim=(start, end), ylim=(0, bands), ylabel="mel band")
    axes.set_facecolor("white")
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(start, end + 1e-6, 0.5))
    axes.tick_params(axis="x", pad=16, labelsize=8, colors="#777777", length=0)
    axes.tick_params(axis="y", labelsize=8, colors="#777777")
    for phoneme in audio.phonemes:
        if start <= phoneme.start < end:
            axes.plot([phoneme.start] * 2, [0, bands], color="white", lw=0.5, alpha=0.45)
            middle = min((phoneme.start + phoneme.end) / 2, end)
            label = {" ": "", "^": "", "$": ""}.get(phoneme.symbol, phoneme.symbol)
            axes.annotate(label, (middle, 0), (0, -4), textcoords="offset points", ha="center", va="top",
                          fontsize=10, color=INK, annotation_clip=False)  # fmt: skip
    for word in audio.words:
        if start <= word.start < end:
            axes.annotate(word.text, (word.start, bands), (1, 3), textcoords="offset points", ha="left",
                          va="bottom", fontsize=9, color=INK, annotation_clip=False)  # fmt: skip
            axes.plot([word.start] * 2, [0, bands], color="white", lw=1.2, alpha=0.8)
    _draw_f0(axes, audio.f0, seconds, (start, end))


def _draw_f0(axes: Any, f0: np.ndarray, seconds: float, span: tuple[float, float]) -> None:
    curve = axes.twinx()
    curve.spines[:].set_visible(False)
    curve.tick_params(axis="y", labelsize=8, colors="#1487a8")
    curve.set_ylabel("f0 (Hz)", color="#1487a8")
    top = max(300.0, 1.2 * float(f0.max(initial=0.0)))
    curve.set(xlim=span, ylim=(0, top))
    if len(f0):
        times = (np.arange(len(f0)) + 0.5) * seconds / len(f0)
        curve.plot(times, np.where(f0 > 0, f0, np.nan), color=CURVE, lw=2)
