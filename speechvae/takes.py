"""A take: one reading of a text as a small file that replays exactly, and what a user changed about it."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from speechvae.directing.edits import AXIS, EXPANSION, LENGTH_SCALE, TEMPERATURE, Edits, check_number
from speechvae.errors import SpeechVAEError

__all__ = ["Edits", "Reading", "Take", "text_fingerprint"]

FORMAT = 2  # files of format 1, which lack the edits, are read too


def text_fingerprint(symbols: list[str]) -> str:
    """Twelve hex digits of a symbol sequence: latents fit a text only if its phonemes are these."""
    return hashlib.sha256("\x1f".join(symbols).encode()).hexdigest()[:12]


@dataclass
class Reading:
    """The latents of one sentence: z_u [Du] and z_p [Dp, N], and the phonemes they belong to.

    `prosody` [4, N] (log duration in frames, normalised log f0, voicing 0..1, normalised energy), where it is given,
    stands in for what the heads would predict from the latents: phonemes that must stay as they were, to the frame.
    `centre` (normalised log f0) is then what `Edits.range` scales around; None = the mean of the voiced phonemes.
    """

    text: str
    fingerprint: str
    z_u: np.ndarray
    z_p: np.ndarray
    prosody: np.ndarray | None = None
    centre: float | None = None


@dataclass
class Take:
    """How a text was said: everything that `Voice.perform` needs to say it again, sample by sample.

    `expansion` makes up for the flatness of drawn readings (`VoiceSettings.expansion`): a factor of the f0 movement
    beside `edits.range`. What was transferred from a recording has 1.
    """

    text: str
    voice: str
    speaker: str
    seed: int
    temperature: float
    style_temperature: float
    length_scale: float
    ssml: bool = False
    steadiness: float = 1.0
    axes: dict[str, float] = field(default_factory=dict)
    edits: Edits = Edits()
    name: str = ""
    readings: list[Reading] = field(default_factory=list)
    expansion: float = 1.0

    @property
    def f0_range(self) -> float:
        """By what the f0 movement of the readings is multiplied."""
        return self.edits.range * self.expansion

    def save(self, path: str | Path) -> Path:
        """Write JSON (`.take.json` is usual); the file appears whole or not at all."""
        path = Path(path)
        data = asdict(self)
        for reading in data["readings"]:
            for key in ("z_u", "z_p", "prosody"):
                reading[key] = None if reading[key] is None else _numbers(reading[key])
        path.parent.mkdir(parents=True, exist_ok=True)
        tmp = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            tmp.write_text(json.dumps({"format": FORMAT, **data}, ensure_ascii=False), encoding="utf-8")
            os.replace(tmp, path)
        except BaseException:
            tmp.unlink(missing_ok=True)
            raise
        return path

    @classmethod
    def load(cls, path: str | Path) -> Take:
        """Read a file written by `save`.

        Raises SpeechVAEError for a file that is missing, is no take, or has values that no take can have.
        """
        path = Path(path)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data.pop("format") not in (1, FORMAT):
                raise SpeechVAEError(f"it has another format; this version reads format {FORMAT}")
            readings = [_reading(r) for r in data.pop("readings")]
            edits = data.pop("edits", {})
            for key in ("emphasis", "breaks"):
                edits[key] = tuple((int(word), float(value)) for word, value in edits.get(key, ()))
            take = cls(**data, edits=Edits(**edits), readings=readings)
            _check(take)
            return take
        except FileNotFoundError as e:
            raise SpeechVAEError(f"no take at {path}") from e
        except IsADirectoryError as e:
            raise SpeechVAEError(f"{path} is a folder, not a take") from e
        except (SpeechVAEError, KeyError, TypeError, ValueError, AttributeError) as e:
            raise SpeechVAEError(f"{path} is not a take file ({e})") from e


def _check(take: Take) -> None:
    """What a file may have wrong that no constructor sees."""
    for name in ("text", "voice", "speaker", "name"):
        if not isinstance(getattr(take, name), str):
            raise SpeechVAEError(f"{name} must be a string")
    if isinstance(take.seed, bool) or not isinstance(take.seed, int) or take.seed < 0:
        raise SpeechVAEError("seed must be a whole number from 0")
    for name, limits in (
        ("temperature", TEMPERATURE), ("style_temperature", TEMPERATURE), ("length_scale", LENGTH_SCALE),
        ("steadiness", (0.0, 1.0)), ("expansion", EXPANSION),
    ):  # fmt: skip
        check_number(name, getattr(take, name), *limits)
    for name, value in take.axes.items():
        check_number(f"axis {name}", value, *AXIS)


def _numbers(array: np.ndarray) -> list[Any]:
    """Nested lists with the fewest digits that give the same float32 back."""
    return array.astype(np.float32).astype(str).astype(float).tolist()


def _reading(data: dict[str, Any]) -> Reading:
    arrays = {k: np.asarray(data[k], np.float32) for k in ("z_u", "z_p", "prosody") if data.get(k) is not None}
    n = arrays["z_p"].shape[-1]
    expected = {"z_u": arrays["z_u"].shape[:1], "z_p": arrays["z_p"].shape[:1] + (n,), "prosody": (4, n)}
    for key, array in arrays.items():
        if array.shape != expected[key] or not np.isfinite(array).all():
            raise ValueError(f"{key} has the wrong shape or is not finite")
    centre = data.get("centre")
    return Reading(data["text"], data["fingerprint"], **arrays, centre=None if centre is None else float(centre))
