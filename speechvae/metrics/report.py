"""The result of an evaluation: figures by system, as a table, JSON, one line per clip and pictures."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from speechvae.errors import SpeechVAEError
from speechvae.metrics.signal import CLICK
from speechvae.metrics.text import Errors, bootstrap_interval

Row = dict[str, Any]

# key, label with what is better, format
LINES: tuple[tuple[str, str, str], ...] = (
    ("wer", "WER ↓", ".3f"), ("wer_low", "  95 % from", ".3f"), ("wer_high", "  95 % to", ".3f"),
    ("cer", "CER ↓", ".3f"),
    ("ovrl", "DNSMOS overall ↑", ".2f"), ("sig", "  speech", ".2f"), ("bak", "  background", ".2f"),
    ("p808", "  P.808", ".2f"), ("similarity", "similarity ↑", ".3f"),
    ("mcd", "MCD (DTW) dB ↓", ".2f"), ("log_f0_rmse", "log-F0 RMSE ↓", ".3f"),
    ("f0_correlation", "F0 correlation ↑", ".3f"), ("vuv_error", "V/UV error ↓", ".3f"),
    ("duration_ratio", "duration ratio → 1", ".3f"), ("duration_error", "duration error ↓", ".3f"),
    ("pesq", "PESQ wideband ↑", ".2f"), ("stoi", "STOI ↑", ".3f"),
    ("convergence", "STFT convergence ↓", ".3f"), ("log_magnitude", "STFT log mag. ↓", ".3f"),
    ("level", "speech level dBFS", ".1f"), ("peak_max", "highest peak", ".3f"),
    ("clipped_clips", "clips that clip", ".0f"), ("click_clips", "clips with a click", ".0f"),
    ("silence_start", "silence before s", ".2f"), ("silence_end", "silence after s", ".2f"),
    ("silence_max", "  longest s", ".2f"), ("f0_mean", "mean F0 Hz", ".1f"), ("log_f0_std", "log-F0 std", ".3f"),
    ("duration", "duration s", ".2f"), ("rtf", "rtf ↓", ".3f"), ("failed", "failed", ".0f"), ("n", "clips", ".0f"),
)  # fmt: skip


def summarise(rows: Sequence[Row]) -> dict[str, float]:
    """Figures of one system from its rows: means over clips where they exist, error rates over the whole text."""
    good = [r for r in rows if "error" not in r]
    result: dict[str, float] = {"n": len(good), "failed": len(rows) - len(good)}
    for name, key in (("wer", "word_errors"), ("cer", "character_errors")):
        counted = [Errors(*r[key]) for r in good if key in r]
        if counted:
            result[name] = sum(counted, Errors()).rate
            if name == "wer":
                result["wer_low"], result["wer_high"] = bootstrap_interval(counted)
    names = dict.fromkeys(k for r in good for k, v in r.items() if isinstance(v, float))
    for name in names:
        values = [r[name] for r in good if isinstance(r.get(name), float) and math.isfinite(r[name])]
        if values:
            result[name] = float(np.mean(values))
    if "log_f0_mean" in result:
        result["f0_mean"] = math.exp(result["log_f0_mean"])
    if good and "peak" in good[0]:
        result["peak_max"] = max(r["peak"] for r in good)
        result["clipped_clips"] = sum(r["clipped"] > 0 for r in good)
        result["click_clips"] = sum(r["edge_jump"] > CLICK for r in good)
        result["silence_max"] = max(max(r["silence_start"], r["silence_end"]) for r in good)
    return result


@dataclass
class Report:
    """Figures of several systems on the same sentences.

    `systems` maps a name (recording, copy, Griffin-Lim copy, synthesis) to its figures, see :func:`summarise`.
    `diversity` maps a statistic to `human`, `samples` and `ratio`. `voice` holds cost and latent statistics,
    `about` what was measured, `rows` one dict for each clip and system, `notes` what was left out and why.
    """

    about: dict[str, Any] = field(default_factory=dict)
    systems: dict[str, dict[str, float]] = field(default_factory=dict)
    diversity: dict[str, dict[str, float]] = field(default_factory=dict)
    voice: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list, repr=False)

    def summarise(self) -> Report:
        """Bring the figures of the systems up to date with the rows (each with `system` and `id`)."""
        for system in dict.fromkeys(r["system"] for r in self.rows):
            self.systems[system] = summarise([r for r in self.rows if r["system"] == system])
        return self

    def to_dict(self) -> dict[str, Any]:
        """Everything but the rows, ready for JSON (what is not finite becomes None)."""
        parts = {"about": self.about, "systems": self.systems, "diversity": self.diversity, "voice": self.voice}
        return _plain({**parts, "notes": self.notes})

    def save(self, folder: str | Path, plots: bool = True) -> Path:
        """Write `report.json`, `utterances.jsonl` and, with `plots`, `distributions.png` into `folder`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "report.json", json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n")
        lines = (json.dumps(_plain(r), ensure_ascii=False) + "\n" for r in self.rows)
        _write(folder / "utterances.jsonl", "".join(lines))
        if plots:
            plot_distributions(self, folder / "distributions.png")
        return folder / "report.json"

    def tables(self) -> list[Any]:
        """Rich tables: the systems side by side, the diversity, the voice."""
        from rich.table import Table

        main = Table(title=" ".join(str(self.about[k]) for k in ("voice", "corpus", "split") if k in self.about))
        main.add_column("")
        for name in self.systems:
            main.add_column(name, justify="right")
        for key, label, style in LINES:
            if any(key in figures for figures in self.systems.values()):
                main.add_row(label, *(_cell(f.get(key), style) for f in self.systems.values()))
        tables = [main]
        if self.diversity:
            table = Table("spread of readings", *(_right(n) for n in ("human", "samples", "ratio (1 = human)")))
            for name, figures in self.diversity.items():
                table.add_row(name, *(_cell(figures.get(k), s) for k, s in _DIVERSITY))
            tables.append(table)
        if self.voice:
            table = Table("voice", _right(""))
            for name, value in self.voice.items():
                table.add_row(name, _cell(value, ",.0f" if value >= 1000 else ".4g"))
            tables.append(table)
        return tables

    def print(self, width: int | None = None) -> None:
        """Print the tables and notes."""
        from rich.console import Console

        console = Console(width=width)
        for table in self.tables():
            console.print(table)
        for note in self.notes:
            console.print(note, markup=False, highlight=False)

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
        with console.file:
            for table in self.tables():
                console.print(table)
            return console.export_text() + "".join(f"{n}\n" for n in self.notes)


_DIVERSITY = (("human", ".3f"), ("samples", ".3f"), ("ratio", ".2f"))


def _right(title: str) -> Any:
    from rich.table import Column

    return Column(title, justify="right")


def _cell(value: float | None, style: str) -> str:
    return "" if value is None or not math.isfinite(value) else format(value, style)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def _write(path: Path, text: str) -> None:
    tmp = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        tmp.write_text(text, encoding="utf-8")
        os.replace(tmp, path)
    finally:
        tmp.unlink(missing_ok=True)


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
            for system, found in values.items():
                axes.hist(found, bins=list(bins), alpha=0.55, label=f"{system} ({len(found)})")
            axes.legend(fontsize=8)
        axes.set(xlabel=label, ylabel="clips" if index == 1 else "")
    path = Path(path)
    tmp = path.with_name(f".{path.stem}.{os.getpid()}.part.png")
    figure.savefig(tmp, dpi=110)
    os.replace(tmp, path)
    return path


def _finite(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)
