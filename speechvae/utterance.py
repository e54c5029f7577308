"""One recording with its text, whatever corpus it comes from."""

from __future__ import annotations

import re
import unicodedata
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

AUDIO_SUFFIXES = (".wav", ".flac", ".opus", ".ogg", ".mp3")

Problem = Callable[[str, str], None]


@dataclass(frozen=True)
class Utterance:
    """One recording with its text.

    ``id`` is unique in its corpus and safe as a file name. ``prompt`` names what was read: several recordings of
    one prompt share it, and ``split`` follows from it. The sound is a file (``audio``) or float samples in [-1, 1]
    (``samples`` [T] with ``sample_rate`` in Hz). ``symbols`` and ``words`` are given only by corpora that carry
    their own phonemes; ``words`` are ``(text, first symbol, last symbol + 1)``.
    """

    id: str
    speaker: str
    text: str
    audio: Path | None
    split: str
    samples: np.ndarray | None = field(default=None, compare=False, repr=False)
    sample_rate: int | None = None
    prompt: str = ""
    symbols: tuple[str, ...] | None = None
    words: tuple[tuple[str, int, int], ...] = ()


def split_of(prompt_id: str) -> str:
    """``test`` (5 %), ``dev`` (5 %) or ``train``, by ``crc32(prompt_id) % 20``; all readings of a prompt agree."""
    return {0: "test", 1: "dev"}.get(zlib.crc32(prompt_id.encode("utf-8")) % 20, "train")


def safe_id(raw: str, where: str, problem: Problem) -> str | None:
    """The id as a file name (folders joined by ``-``), or None and a problem: ids name files in the work folder."""
    path = PurePosixPath(raw.strip())
    name = raw.strip()
    if path.suffix.lower() in AUDIO_SUFFIXES:
        name = path.with_suffix("").as_posix()
    if not name or ".." in path.parts or path.is_absolute() or re.search(r"[\\\x00-\x1f:*?\"<>|]", name):
        problem(where, f"the id {raw!r} cannot name a file")
        return None
    return name.replace("/", "-").lstrip(".") or None


def clean_text(text: str) -> str:
    """Composed characters (NFC), single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def warn(name: str, reason: str) -> None:
    """What becomes of a problem by default."""
    warnings.warn(f"{name}: {reason}", stacklevel=3)
