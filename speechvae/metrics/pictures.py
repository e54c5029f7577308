"""The pictures of an evaluation: distributions, spreads, long-term spectra, one interpolation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from speechvae.errors import SpeechVAEError
from speechvae.plots import save_figure

if TYPE_CHECKING:
    from speechvae.metrics.report import Report

# Okabe and Ito: told apart by the colour-blind
INKS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
GOOD_RATIO = (0.7, 1.3)  # of spreads: as varied as the speaker


def draw(report: Report, folder: Path) -> list[Path]:
    """Every picture for which there are figures, into `folder`."""
    made = [plot_distributions(report, folder / "distributions.png")]
    if report.diversity:
        made.append(plot_spreads(report, folder / "spreads.png"))
    if any("spectrum" in r for r in report.rows):
        made.append(plot_spectra(report, folder / "spectra.png"))
    if report.path:
        made.append(plot_path(report, folder / "interpolation.png"))
    return made


def plot_distributions(report: Report, path: str | Path) -> Path:
    """Histograms of mean F0 (Hz), log-F0 standard deviation and duration (s) of the clips, one colour a system.

    Drawn are the recordings and whatever was synthesised; copies would hide behind the recordings.
    """
    from matplotlib.figure import Figure

    systems = [s for s in report.systems if "copy" not in s]
    panels = (("log_f0_mean", "mean F0 (Hz)", math.exp), ("log_f0_std", "log-F0 standard deviation", float),
              ("duration", "duration (s)", float))  # fmt: skip
    if not report.rows:
        raise SpeechVAEError("nothing was measured, so there is nothing to draw")
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    for index, (key, label, scale) in enumerate(panels, 1):
        axes: Any = figure.add_subplot(1, len(panels), index)
        values = {s: [scale(r[key]) for r in report.rows if r["system"] == s and _finite(r.get(key))] for s in systems}
        everything = [v for found in values.values() for v in found]
        if everything:
            bins = np.histogram_bin_edges(everything, bins=20)
            for (system, found), ink in zip(values.items(), INKS * 3, strict=False):
                axes.hist(found, bins=list(bins), alpha=0.2, color=ink)
                axes.hist(found, bins=list(bins), histtype="step", lw=1.8, label=f"{system} ({len(found)})", color=ink)
            axes.legend(fontsize=8)
        axes.set(xlabel=label, ylabel="clips" if index == 1 else "")
    return save_figure(figure, path, 110)


def plot_spreads(report: Report, path: str | Path) -> Path:
    """Bars of the ratios of sample spread to human spread, with their intervals and the band from 0.7 to 1.3."""
    from matplotlib.figure import Figure

    there = {n: f for n, f in report.diversity.items() if math.isfinite(f["ratio"])}
    figure = Figure(figsize=(8, 0.9 + 0.42 * len(there)), layout="constrained")
    axes: Any = figure.add_subplot()
    axes.axvspan(*GOOD_RATIO, color="#009E73", alpha=0.18, lw=0)
    axes.axvline(1, color="#009E73", lw=1)
    places = np.arange(len(there))
    axes.barh(places, [f["ratio"] for f in there.values()], color=INKS[0], height=0.6)
    for place, figures in zip(places, there.values(), strict=True):
        ends = [figures.get("low", math.nan), figures.get("high", math.nan)]
        if all(map(math.isfinite, ends)):
            axes.plot(ends, [place, place], color="#333333", lw=1.6)
        axes.annotate(f"{figures['ratio']:.2f}", (0, place), (4, 0), textcoords="offset points", va="center",
                      color="white", fontsize=9)  # fmt: skip
    axes.set_yticks(places, list(there))
    axes.invert_yaxis()
    # one wild statistic would squeeze the others; its figure stands in its bar
    top = min(3.0, max(1.5, 1.1 * max((f["ratio"] for f in there.values()), default=1.0)))
    axes.set(xlabel="spread of samples / spread of human readings (band: 0.7 to 1.3)", xlim=(0, top))
    return save_figure(figure, path, 110)


def plot_spectra(report: Report, path: str | Path) -> Path:
    """Long-term average spectra (dB, clips at -23 dBFS) of the systems, and their differences from the recordings."""
    from matplotlib.figure import Figure

    from speechvae.metrics.blur import spectrum_frequencies

    khz = spectrum_frequencies() / 1000
    means = {s: np.mean([r["spectrum"] for r in report.rows if r["system"] == s and "spectrum" in r], axis=0)
             for s in report.systems if any(r["system"] == s and "spectrum" in r for r in report.rows)}  # fmt: skip
    figure = Figure(figsize=(12, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (system, mean), ink in zip(means.items(), INKS * 3, strict=False):
        left.plot(khz, mean, label=system, color=ink)
        if system != "recording" and "recording" in means:
            right.plot(khz, mean - means["recording"], label=system, color=ink)
    right.axhline(0, color="#777777", lw=0.8)
    left.set(xlabel="kHz", ylabel="dB", title="long-term average spectrum")
    right.set(xlabel="kHz", ylabel="dB", title="difference from the recordings")
    left.legend(fontsize=8)
    return save_figure(figure, path, 110)


def plot_path(report: Report, path: str | Path) -> Path:
    """The f0 contours (Hz) of `report.path`: from one reading of a text to another in equal steps."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4), layout="constrained")
    axes: Any = figure.add_subplot()
    for i, (times, hz) in enumerate(report.path):
        ink = colormaps["viridis"](0.9 * i / max(1, len(report.path) - 1))
        label = "one reading" if i == 0 else "the other" if i == len(report.path) - 1 else None
        axes.plot(times, hz, "o-", ms=3, color=ink, label=label)
    axes.set(xlabel="s", ylabel="f0 (Hz)", title=str(report.about.get("path_text", "")))
    axes.legend(fontsize=8)
    return save_figure(figure, path, 110)


def _finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)
