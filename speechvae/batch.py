"""Speech into files: one text of any length, or a list of utterances that can be stopped and taken up again.

`speak_to_file` writes sentence by sentence, so memory does not grow with the text. `run_batch` gives every
utterance its own file and a row in `manifest.jsonl`, written when the file is complete: what a stopped run leaves
behind is exactly what the next run may skip.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechvae.directing.edits import STEADINESS, Edits
from speechvae.errors import SpeechVAEError
from speechvae.files import FORMATS, check_output, replacing

if TYPE_CHECKING:
    from speechvae.synthesis import Voice
    from speechvae.takes import Take

MANIFEST = "manifest.jsonl"
MAX_ID_BYTES = 200
MAX_SEED = 2**31 - 1

_ID = re.compile(r"\w[\w.-]*\Z")
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}


@dataclass(frozen=True)
class Style:
    """How to read: the settings of `Voice.say` but the seed. None = the voice's own default."""

    speaker: str | None = None
    temperature: float | None = None
    style_temperature: float | None = None
    length_scale: float = 1.0
    ssml: bool = False
    steadiness: float = STEADINESS
    axes: Mapping[str, float] = field(default_factory=dict)
    edits: Edits = Edits()

    def options(self) -> dict[str, Any]:
        """As `Voice.say` takes them."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def row(self) -> dict[str, Any]:
        """As they come back from a manifest."""
        return json.loads(json.dumps(asdict(self)))


@dataclass(frozen=True)
class Spoken:
    """A file that was written. `duration` and `elapsed` in seconds; `take` where it was asked for."""

    path: Path
    seed: int
    duration: float
    elapsed: float
    sample_rate: int
    take: Take | None = None

    @property
    def rtf(self) -> float:
        """Processing time / audio time."""
        return self.elapsed / self.duration if self.duration > 0 else 0.0


def new_seed() -> int:
    """A fresh random seed in [0, 2**31 - 1)."""
    return secrets.randbelow(MAX_SEED)


def speak_to_file(
    voice: Voice,
    text: str,
    path: str | Path,
    *,
    seed: int | None = None,
    style: Style | None = None,
    overwrite: bool = False,
    keep_take: bool = False,
) -> Spoken:
    """Speak `text` into `path` (wav, flac, ogg or mp3 by its ending), one sentence in memory at a time.

    Args:
        seed: None draws one; it is in the result.
        overwrite: replace an existing file instead of raising.
        keep_take: return the take with its latents too, a few kilobytes a sentence.

    Raises:
        SpeechVAEError: for a text the voice cannot take, an unknown format or an existing file.
    """
    import soundfile

    path = Path(path)
    check_output(path, overwrite)
    seed = new_seed() if seed is None else seed
    settings = (Style() if style is None else style).options()
    kind, subtype = FORMATS[path.suffix.lower()]
    rate = voice.sample_rate
    samples, started = 0, time.perf_counter()
    take: Take | None = None
    try:
        with replacing(path) as part, soundfile.SoundFile(
            str(part), "w", samplerate=rate, channels=1, format=kind, subtype=subtype
        ) as file:  # fmt: skip
            for chunk in voice.stream(text, seed=seed, **settings):
                file.write(chunk.wav)
                samples += len(chunk.wav)
                if keep_take:
                    earlier = [] if take is None else take.readings
                    earlier.extend(chunk.take.readings)
                    take = replace(chunk.take, readings=earlier)
    except soundfile.SoundFileError as e:
        raise SpeechVAEError(f"{path} could not be written as {kind} at {rate} Hz: {e}") from e
    return Spoken(path, seed, samples / rate, time.perf_counter() - started, rate, take)


@dataclass(frozen=True)
class Line:
    """One utterance to speak; `number` is its line in the file, from 1."""

    number: int
    id: str
    text: str


@dataclass(frozen=True)
class Refused:
    """A line that could not be spoken, and why."""

    number: int
    id: str
    reason: str


@dataclass
class BatchReport:
    """What a run did: ids written, ids found done, lines refused."""

    written: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.refused


def check_id(name: str) -> str | None:
    """Why `name` cannot be a file name everywhere; None when it can."""
    if not _ID.match(name) or name.endswith("."):
        return "an id has letters, digits, '_', '-' and '.', starts with none of '-' and '.', and does not end with '.'"
    if len(name.encode()) > MAX_ID_BYTES:
        return f"an id may have at most {MAX_ID_BYTES} bytes"
    if name.split(".")[0].lower() in _DEVICES:
        return "this id is a device name on Windows"
    return None


def parse_lines(lines: Iterable[str]) -> tuple[list[Line], list[Refused]]:
    """Read `id|text` lines, or one utterance a line, named `00001`, `00002`, ... by its place in the file.

    The first line that is not blank decides for the whole file: when what stands before its first `|` can be
    an id, every line must have one. Blank lines are passed over. Ids must differ, upper and lower case taken as the
    same, because some file systems do.
    """
    good: list[Line] = []
    bad: list[Refused] = []
    seen: dict[str, int] = {}
    with_ids: bool | None = None
    for number, raw in enumerate(lines, start=1):
        text = raw.strip()
        if not text:
            continue
        if with_ids is None:
            with_ids = "|" in text and check_id(text.split("|", 1)[0]) is None
        name = f"{number:05d}"
        if with_ids:
            if "|" not in text:
                bad.append(Refused(number, "", "the other lines are `id|text`, this one has no `|`"))
                continue
            name, text = (part.strip() for part in text.split("|", 1))
        reason = check_id(name)
        if reason is None and name.lower() in seen:
            reason = f"the id was used before, in line {seen[name.lower()]}"
        if reason is None and not text:
            reason = "no text after the id"
        if reason is not None:
            bad.append(Refused(number, name, reason))
            continue
        seen[name.lower()] = number
        good.append(Line(number, name, text))
    return good, bad


def seed_for(base: int, name: str) -> int:
    """The seed of one utterance, in [0, 2**31 - 1): from the batch's seed and the id, whatever the order."""
    digest = hashlib.sha256(f"{base}|{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % MAX_SEED


def read_manifest(path: Path) -> dict[str, dict[str, Any]]:
    """Rows by id. A last line cut short by a crash is dropped; of two rows with one id the later counts."""
    rows: dict[str, dict[str, Any]] = {}
    if not path.exists():
        return rows
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            int(row["batch_seed"])
            rows[row["id"]] = row
        except (ValueError, KeyError, TypeError) as e:
            if number < len(lines) or line.endswith("}"):
                raise SpeechVAEError(
                    f"{path}, line {number} is not a row of a batch manifest: "
                    "move the file away, or write to another folder"
                ) from e
    return rows


def _write_manifest(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with replacing(path) as part:
        part.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


class _Run:
    """One pass over a list of utterances into one folder."""

    def __init__(self, out: Path, voice: Voice, seed: int | None, style: Style, overwrite: bool) -> None:
        self.out, self.voice, self.style, self.overwrite = out, voice, style, overwrite
        out.mkdir(parents=True, exist_ok=True)
        self.manifest = out / MANIFEST
        self.rows = read_manifest(self.manifest)
        self.wanted: dict[str, Any] = {"voice": voice.name, **style.row()}
        if seed is not None:
            self.wanted["batch_seed"] = seed
            self.seed = seed
        else:
            self.seed = next((row["batch_seed"] for row in self.rows.values()), new_seed())

    def speak(self, line: Line) -> bool:
        """True when the file was written, False when it was there already; raises when it cannot be made."""
        file = self.out / f"{line.id}.wav"
        if file.exists() and not self.overwrite:
            reason = self._conflict(line, file)
            if reason is not None:
                raise SpeechVAEError(reason)
            return False
        seed = seed_for(self.seed, line.id)
        spoken = speak_to_file(self.voice, line.text, file, seed=seed, style=self.style, overwrite=self.overwrite)
        self.rows[line.id] = {
            "id": line.id,
            "text": line.text,
            "file": file.name,
            "duration": round(spoken.duration, 4),
            "sample_rate": spoken.sample_rate,
            "seed": seed,
            "batch_seed": self.seed,
            "voice": self.voice.name,
            **self.style.row(),
        }
        return True

    def _conflict(self, line: Line, file: Path) -> str | None:
        """Why the file that is there is not the one wanted; None when it is."""
        row = self.rows.get(line.id)
        remedy = "use another folder, or replace it with --force"
        if row is None:
            return f"{file.name} is there but not in {MANIFEST}: {remedy}"
        if row.get("text") != line.text:
            return f"{file.name} was made from another text: {remedy}"
        other = [key for key, value in self.wanted.items() if row.get(key) != value]
        if other:
            return f"{file.name} was made with another {', '.join(other)}: {remedy}"
        return None


def run_batch(
    lines: Iterable[str],
    out: str | Path,
    voice: Voice,
    *,
    seed: int | None = None,
    style: Style | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> BatchReport:
    """Speak every line into `out/ID.wav` and append its row to `out/manifest.jsonl`.

    Files that an earlier run with the same text, voice, style and seed finished are passed over. A line that
    fails is reported and the rest goes on.

    Args:
        lines: see `parse_lines`.
        seed: base of the utterances' seeds (`seed_for`); None = that of the run being continued, or a new one.
        overwrite: make every file anew.
        progress: show a bar; None = only on a terminal.
    """
    from tqdm import tqdm

    todo, refused = parse_lines(lines)
    report = BatchReport(refused=refused)
    run = _Run(Path(out), voice, seed, Style() if style is None else style, overwrite)
    # Also drops a line cut short, to which the next row would otherwise be glued.
    _write_manifest(run.manifest, run.rows.values())
    hide = None if progress is None else not progress
    with run.manifest.open("a", encoding="utf-8") as log, tqdm(todo, unit="line", disable=hide) as bar:
        for line in bar:
            try:
                written = run.speak(line)
            except Exception as e:  # one bad line must not cost the rest of the night
                known = isinstance(e, SpeechVAEError | OSError)
                reason = str(e) if known else f"{type(e).__name__}: {e}"
                report.refused.append(Refused(line.number, line.id, reason))
                continue
            if written:
                log.write(json.dumps(run.rows[line.id], ensure_ascii=False) + "\n")
                log.flush()
            (report.written if written else report.skipped).append(line.id)
    order = [line.id for line in todo if line.id in run.rows]
    _write_manifest(run.manifest, (run.rows[name] for name in dict.fromkeys([*order, *run.rows])))
    report.refused.sort(key=lambda r: r.number)
    return report
