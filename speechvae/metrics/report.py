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

from speechvae.metrics.blur import against
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
    ("level_0_1", "0-1 kHz dB", ".1f"), ("level_1_4", "1-4 kHz dB", ".1f"), ("level_4_8", "4-8 kHz dB", ".1f"),
    ("level_8_12", "8-12 kHz dB", ".1f"), ("mel_std", "mel std. dB", ".2f"), ("mel_step", "mel step dB", ".2f"),
    ("mel_ripple", "mel ripple dB", ".2f"),
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
    `diversity` maps a statistic to `human`, `samples`, `ratio` and its interval. `sharpness` maps a system to its
    levels (dB) and variations (ratios) against the recordings', see :func:`speechvae.metrics.blur.against`. `latents`,
    `levels`, `smoothness`: see :class:`speechvae.metrics.latents.LatentUse` and ``smoothness``. `transfer`: how like
    recordings their transferred readings are, means over clips. `voice` holds cost and latent statistics, `about` what
    was measured, `rows` one dict for each clip and system, `notes` what was left out and why, `path` the contours of
    one interpolation, for its picture.
    """

    about: dict[str, Any] = field(default_factory=dict)
    systems: dict[str, dict[str, float]] = field(default_factory=dict)
    diversity: dict[str, dict[str, float]] = field(default_factory=dict)
    sharpness: dict[str, dict[str, float]] = field(default_factory=dict)
    latents: dict[str, dict[str, float]] = field(default_factory=dict)
    levels: dict[str, dict[str, float]] = field(default_factory=dict)
    smoothness: dict[str, float] = field(default_factory=dict)
    transfer: dict[str, float] = field(default_factory=dict)
    voice: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list, repr=False)
    path: list[np.ndarray] = field(default_factory=list, repr=False)

    def summarise(self) -> Report:
        """Bring the figures of the systems up to date with the rows (each with `system` and `id`)."""
        for system in dict.fromkeys(r["system"] for r in self.rows):
            self.systems[system] = summarise([r for r in self.rows if r["system"] == system])
        recorded = self.systems.get("recording")
        if recorded is not None and "mel_step" in recorded:
            others = {s: f for s, f in self.systems.items() if s != "recording"}
            self.sharpness = {s: against(f, recorded) for s, f in others.items()}
        return self

    def to_dict(self) -> dict[str, Any]:
        """Everything but the rows, ready for JSON (what is not finite becomes None)."""
        parts = {"about": self.about, "systems": self.systems, "diversity": self.diversity}
        names = ("sharpness", "latents", "levels", "smoothness", "transfer")
        optional = {n: getattr(self, n) for n in names if getattr(self, n)}
        return _plain({**parts, **optional, "voice": self.voice, "notes": self.notes})

    def save(self, folder: str | Path, plots: bool = True) -> Path:
        """Write `report.json`, `utterances.jsonl` and, with `plots`, the pictures of what was measured."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "report.json", json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n")
        lines = (json.dumps(_plain(r), ensure_ascii=False) + "\n" for r in self.rows)
        _write(folder / "utterances.jsonl", "".join(lines))
        if plots:
            from speechvae.metrics.pictures import draw

            draw(self, folder)
        return folder / "report.json"

    def tables(self) -> list[Any]:
        """Rich tables of all that was measured: the systems side by side first."""
        title = " ".join(str(self.about[k]) for k in ("voice", "corpus", "split") if k in self.about)
        styles = {label: (key, style) for key, label, style in LINES}
        there = {n: styles[n] for n in styles if any(styles[n][0] in f for f in self.systems.values())}
        lines = {n: [_cell(f.get(key), style) for f in self.systems.values()] for n, (key, style) in there.items()}
        tables = [_table(title, "", list(self.systems), lines)]
        if self.diversity:
            lines = {n: [_cell(f.get(k), s) for k, s in _DIVERSITY] for n, f in self.diversity.items()}
            heads = ["human", "samples", "ratio (1 = human)", "95 % from", "to"]
            tables.append(_table("", "spread of readings", heads, lines))
        for name, table in (("against recordings", self.sharpness), ("rebuilt from", self.latents)):
            if table:
                keys = dict.fromkeys(k for f in table.values() for k in f)
                lines = {k: [_cell(f.get(k), ".3f") for f in table.values()] for k in keys}
                tables.append(_table("", name, list(table), lines))
        if self.levels:
            lines = {k: [_cell(f[k], ".4g") for f in self.levels.values()] for k in next(iter(self.levels.values()))}
            tables.append(_table("", "latents", list(self.levels), lines))
        named = {"paths that go one way": self.smoothness, "transfer": self.transfer, "voice": self.voice}
        for name, figures in named.items():
            if figures:
                lines = {k: [_cell(v, ",.0f" if v >= 1000 else ".4g")] for k, v in figures.items()}
                tables.append(_table("", name, [""], lines))
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


_DIVERSITY = (("human", ".3f"), ("samples", ".3f"), ("ratio", ".2f"), ("low", ".2f"), ("high", ".2f"))


def _table(title: str, corner: str, heads: Sequence[str], lines: dict[str, list[str]]) -> Any:
    from rich.table import Column, Table

    table = Table(corner, *(Column(h, justify="right") for h in heads), title=title if title else None)
    for name, cells in lines.items():
        table.add_row(name, *cells)
    return table


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
