"""A take: one reading of a text as a small file that replays exactly."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from speechvae.errors import SpeechVAEError

FORMAT = 1


def text_fingerprint(symbols: list[str]) -> str:
    """Twelve hex digits of a symbol sequence: latents fit a text only if its phonemes are these."""
    return hashlib.sha256("\x1f".join(symbols).encode()).hexdigest()[:12]


@dataclass
class Reading:
    """The latents of one sentence: z_u [Du] and z_p [Dp, N], and the phonemes they belong to."""

    text: str
    fingerprint: str
    z_u: np.ndarray
    z_p: np.ndarray


@dataclass
class Take:
    """How a text was said: everything that `Voice.perform` needs to say it again, sample by sample."""

    text: str
    voice: str
    speaker: str
    seed: int
    temperature: float
    style_temperature: float
    length_scale: float
    ssml: bool = False
    readings: list[Reading] = field(default_factory=list)

    def save(self, path: str | Path) -> Path:
        """Write JSON (`.take.json` is usual); the file appears whole or not at all."""
        path = Path(path)
        data = asdict(self)
        for reading in data["readings"]:
            reading["z_u"], reading["z_p"] = reading["z_u"].tolist(), reading["z_p"].tolist()
        path.parent.mkdir(parents=True, exist_ok=True)
        tmp = path.with_name(f".{path.name}.{os.getpid()}.part")
        tmp.write_text(json.dumps({"format": FORMAT, **data}, ensure_ascii=False), encoding="utf-8")
        os.replace(tmp, path)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Take:
        """Read a file written by `save`."""
        path = Path(path)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data.pop("format") != FORMAT:
                raise SpeechVAEError(f"{path} is a take of another format; this version reads format {FORMAT}")
            readings = [
                Reading(
                    r["text"], r["fingerprint"], np.asarray(r["z_u"], np.float32), np.asarray(r["z_p"], np.float32)
                )
                for r in data.pop("readings")
            ]
            return cls(**data, readings=readings)
        except FileNotFoundError as e:
            raise SpeechVAEError(f"no take at {path}") from e
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError) as e:
            raise SpeechVAEError(f"{path} is not a take file ({e})") from e
