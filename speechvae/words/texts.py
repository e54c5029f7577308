"""Text files as users have them: sentences, one a line, or dialogues as JSONL; checked line by line."""

from __future__ import annotations

import gzip
import json
import re
import unicodedata
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from speechvae.errors import SpeechVAEError

LONGEST = 2000  # characters of a line: more is not a sentence
FEWEST = 20  # sentences: with fewer nothing can be learnt, nor set apart for a test


@dataclass(frozen=True)
class Dialogue:
    """Turns in order; a sentence that stands alone is a dialogue of one turn."""

    id: str
    turns: tuple[str, ...]

    @property
    def split(self) -> str:
        """train, dev or test: by a checksum of the id, so that all turns of a dialogue stay together."""
        return {0: "test", 1: "dev"}.get(zlib.crc32(self.id.encode(errors="surrogatepass")) % 20, "train")


@dataclass
class TextReport:
    """What was read, and which lines were left out: (file, line number, reason)."""

    dialogues: int = 0
    turns: int = 0
    refused: list[tuple[str, int, str]] = field(default_factory=list)

    def table(self) -> str:
        lines = [f"{self.dialogues} dialogues or single sentences, {self.turns} turns"]
        lines += [f"left out: {where}, line {number}: {why}" for where, number, why in self.refused[:10]]
        if len(self.refused) > 10:
            lines.append(f"left out: {len(self.refused) - 10} lines more")
        return "\n".join(lines)


def clean(text: str) -> str:
    """Composed characters, single spaces, nothing at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def fault(text: str) -> str:
    """Why a line cannot be used as a sentence; empty if it can."""
    if any(unicodedata.category(c) == "Cc" for c in text):
        return "holds control characters: is it text?"
    if any(unicodedata.category(c) == "Cs" for c in text):
        return "holds half of a character (a lone surrogate)"
    if len(text) > LONGEST:
        return f"{len(text)} characters; a sentence has at most {LONGEST}: put one on a line"
    return "" if any(c.isalnum() for c in text) else "no letters or digits"


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text file, gzipped or not. Raises SpeechVAEError where it is none, or is empty."""
    path = Path(path)
    if not path.is_file():
        raise SpeechVAEError(f"no text file at {path}")
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise SpeechVAEError(f"{path} is not UTF-8 text (byte {e.start}): is it a binary file? Save it as UTF-8") from e
    except (OSError, EOFError, zlib.error) as e:
        raise SpeechVAEError(f"{path} cannot be read ({e})") from e
    if "\0" in text:
        raise SpeechVAEError(f"{path} holds zero bytes: it is a binary file, not text")
    if not text.strip():
        raise SpeechVAEError(f"{path} is empty: it should hold one sentence a line")
    # Not splitlines(): it also ends lines where JSON may go on, and then counts them otherwise than editors do.
    return re.split(r"\r\n|\r|\n", text)


def read_texts(path: str | Path, report: TextReport) -> Iterator[Dialogue]:
    """The dialogues of a file; what cannot be used goes into the report, and the rest goes on.

    A name that ends in .jsonl or .jsonl.gz: one JSON object a line, with `turns` (list of strings) and perhaps `id`.
    Any other name: one sentence a line; empty lines are passed over.
    """
    path = Path(path)
    json_lines = path.name.removesuffix(".gz").endswith(".jsonl")
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        found, why = _dialogue(line, f"{path.name}:{number}") if json_lines else _sentence(line)
        if found is None:
            report.refused.append((str(path), number, why))
            continue
        report.dialogues += 1
        report.turns += len(found.turns)
        yield found


def _sentence(line: str) -> tuple[Dialogue | None, str]:
    text = clean(line)
    why = fault(text)
    # Its own id: a sentence that stands in the file twice never lies on both sides of a split.
    return (None, why) if why else (Dialogue(text, (text,)), "")


def _dialogue(line: str, name: str) -> tuple[Dialogue | None, str]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as e:
        return None, f"not JSON ({e})"
    turns = data.get("turns") if isinstance(data, dict) else None
    if not isinstance(turns, list) or not turns or not all(isinstance(t, str) for t in turns):
        return None, 'wanted is {"turns": ["...", "..."]}'
    kept = tuple(clean(t) for t in turns)
    for n, turn in enumerate(kept, 1):
        why = fault(turn)
        if why:
            return None, f"turn {n}: {why}"
    own = data.get("id")
    return Dialogue(name if own is None else str(own), kept), ""
