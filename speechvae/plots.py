"""Pictures of mels, alignments and contours (matplotlib, drawn off screen)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from speechvae.config import AudioConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
