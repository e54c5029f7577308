"""Utterances, splits and readers of the common corpus layouts.

Every reader yields the same :class:`Utterance`. A reader never decodes audio files and never stops at one bad
entry: what cannot be read is passed to ``on_problem(id, reason)``. Validation of the audio and of the text is the
business of :mod:`speechvae.prepare`.

============  =============================================================================================
format        layout
============  =============================================================================================
``speaker``   ``metadata.csv`` with lines ``id|speaker|text`` (UTF-8, no header) and ``audio/ID.{wav,flac,...}``
``ljspeech``  ``metadata.csv`` with lines ``id|text|normalised text`` and ``wavs/ID.wav``
``pairs``     any tree of audio files, each with a ``.txt`` of the same name beside it, or in a parallel tree
              (``wav48/p225/x.wav`` and ``txt/p225/x.txt``); a sub-folder's name is the speaker
``jsonl``     one JSON object a line, see :func:`read_jsonl`
``dataset``   a Hugging Face ``datasets`` object with audio and text columns, see :mod:`speechvae.corpus_dataset`
============  =============================================================================================
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from speechvae.errors import SpeechVAEError
from speechvae.utterance import AUDIO_SUFFIXES, Problem, Utterance, clean_text, safe_id, split_of, warn

FORMATS = ("auto", "speaker", "ljspeech", "pairs", "jsonl", "dataset")
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Corpus:
    """Where a corpus is and how to read it; ``speaker`` names every utterance that brings no speaker of its own."""

    source: Any
    format: str = "auto"
    speaker: str | None = None
    language: str | None = None
    name: str = ""

    @property
    def label(self) -> str:
        """The name given, or that of the folder or file, or ``dataset``."""
        if self.name:
            return self.name
        if isinstance(self.source, str | Path):
            path = Path(self.source).resolve()
            return path.stem if path.is_file() else path.name
        return "dataset"


def prompts_of(entries: Sequence[tuple[str, str]]) -> list[str]:
    """The prompt id of each ``(id, text)``: the part before ``_`` if the ids are ``PROMPT_TAKE``, else the whole id.

    The ids are ``PROMPT_TAKE`` if all of them end in ``_`` and a number, some prompt has several takes, and the
    takes of a prompt have one text. (``p239_001`` is no take of ``p239``: its texts differ.)
    """
    texts: dict[str, list[str]] = defaultdict(list)
    for name, text in entries:
        match = re.fullmatch(r"([^_]+)_\d+", name)
        if match is None:
            return [name for name, _ in entries]
        texts[match[1]].append(re.sub(r"\W", "", text).casefold())
    several = [group for group in texts.values() if len(group) > 1]
    same = sum(len(set(group)) == 1 and group[0] != "" for group in several)
    # a few takes may be transcribed differently (a repeated word); numbered files of one speaker never agree
    if not several or same < 0.8 * len(several):
        return [name for name, _ in entries]
    return [name.split("_")[0] for name, _ in entries]


def read_corpus(
    source: Any,
    format: str = "auto",
    *,
    speaker: str | None = None,
    on_problem: Problem | None = None,
    columns: Mapping[str, str] | None = None,
) -> Iterator[Utterance]:
    """Yield the utterances of a corpus: a folder, a JSONL file, a :class:`Corpus` or a ``datasets`` object.

    ``speaker`` is used where the corpus names none (default: the folder's name). ``on_problem(id, reason)`` is
    called for each entry that cannot be read (default: a warning). ``columns`` maps ``audio``, ``text``,
    ``speaker``, ``id`` to the column names of a ``datasets`` object. Raises :class:`SpeechVAEError` if there is no
    such corpus or its layout is not known.
    """
    if isinstance(source, Corpus):
        return read_corpus(source.source, source.format, speaker=source.speaker or speaker,
                           on_problem=on_problem, columns=columns)
    problem = warn if on_problem is None else on_problem
    # imported here because it builds upon this module
    from speechvae.corpus_dataset import load_from_disk, read_dataset

    if not isinstance(source, str | Path):
        return read_dataset(source, speaker=speaker, on_problem=problem, columns=columns)
    path = Path(source)
    layout = detect_format(path) if format == "auto" else format
    if layout == "dataset":
        return read_dataset(load_from_disk(path), speaker=speaker, on_problem=problem, columns=columns)
    readers = {"speaker": read_speaker_csv, "ljspeech": read_ljspeech, "pairs": read_pairs, "jsonl": read_jsonl}
    if layout not in readers:
        raise SpeechVAEError(f"unknown corpus format {layout!r} for {path}; known: {', '.join(FORMATS)}")
    if not path.exists():
        raise SpeechVAEError(f"no corpus at {path}: the folder does not exist; check --corpus")
    utterances = readers[layout](path, speaker or Corpus(path).label, problem)
    known = [u.prompt or None for u in utterances]
    prompts = prompts_of([(u.id, u.text) for u in utterances])
    return iter([
        replace(u, prompt=given or prompt, split=u.split or split_of(given or prompt))
        for u, given, prompt in zip(utterances, known, prompts, strict=True)
    ])


def detect_format(path: Path) -> str:
    """The layout of a folder or file; :class:`SpeechVAEError` if it is none of those in the module's table."""
    if path.is_file() and path.suffix in (".jsonl", ".json"):
        return "jsonl"
    if not path.is_dir():
        raise SpeechVAEError(f"no corpus at {path}: expected a folder or a .jsonl file; check --corpus")
    if (path / "manifest.jsonl").is_file():  # says more than a metadata.csv beside it
        return "jsonl"
    if (path / "metadata.csv").is_file():
        return "ljspeech" if (path / "wavs").is_dir() else "speaker"
    if (path / "dataset_info.json").is_file() and (path / "state.json").is_file():
        return "dataset"
    if any(p.suffix.lower() in AUDIO_SUFFIXES for p in path.rglob("*")):
        return "pairs"
    raise SpeechVAEError(
        f"{path} is no corpus: it has neither metadata.csv (with audio/ or wavs/), nor manifest.jsonl, nor audio "
        "files with .txt files beside them"
    )


def read_speaker_csv(path: Path, speaker: str, problem: Problem) -> list[Utterance]:
    """``id|speaker|text`` and ``audio/``; a line ``id|text`` belongs to the default speaker."""
    find = _AudioIndex(path / "audio")
    found = []
    for where, line in _lines(path / "metadata.csv", problem):
        fields = line.split("|", 2)
        if len(fields) < 2:
            problem(where, "not of the form id|speaker|text")
            continue
        name = safe_id(fields[0], where, problem)
        if name is not None:
            who = fields[1].strip() if len(fields) == 3 else ""
            found.append(Utterance(name, who or speaker, clean_text(fields[-1]), find(fields[0]), ""))
    return found


def read_ljspeech(path: Path, speaker: str, problem: Problem) -> list[Utterance]:
    """``id|text|normalised text`` and ``wavs/``; the normalised text is preferred (LJSpeech 1.1, K. Ito, 2017)."""
    find = _AudioIndex(path / "wavs")
    found = []
    for where, line in _lines(path / "metadata.csv", problem):
        fields = line.split("|")
        if len(fields) < 2:
            problem(where, "not of the form id|text|normalised text")
            continue
        name = safe_id(fields[0], where, problem)
        if name is not None:
            text = fields[2] if len(fields) > 2 and fields[2].strip() else fields[1]
            found.append(Utterance(name, speaker, clean_text(text), find(fields[0]), ""))
    return found


def read_pairs(path: Path, speaker: str, problem: Problem) -> list[Utterance]:
    """Audio files with a text of the same name beside them, or in a tree beside (``wav*/…`` and ``txt*/…``)."""
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in AUDIO_SUFFIXES)
    texts = {p.relative_to(path).with_suffix("").as_posix(): p for p in path.rglob("*.txt")}
    # the same name under another top folder: wav48/p225/p225_001.wav <-> txt/p225/p225_001.txt
    below_top = {key.split("/", 1)[-1]: p for key, p in texts.items()}
    found = []
    for file in files:
        key = file.relative_to(path).with_suffix("").as_posix()
        inner = key.split("/", 1)[-1]
        beside = texts.get(key)
        text = below_top.get(inner) if beside is None else beside
        if text is None:
            problem(key, "no .txt file for this recording")
            continue
        # the top folder of parallel trees (wav48) says nothing about the speaker
        parents = PurePosixPath(key if beside is not None else inner).parent.parts
        try:
            words = clean_text(text.read_text("utf-8-sig"))
        except (UnicodeDecodeError, OSError) as error:
            problem(key, f"cannot read {text.name}: {error}")
            continue
        name = safe_id(key if beside is not None else inner, key, problem)
        if name is not None:
            found.append(Utterance(name, parents[-1] if parents else speaker, words, file, ""))
    return found


def read_jsonl(path: Path, speaker: str, problem: Problem) -> list[Utterance]:
    """One JSON object a line: ``{"audio": "a.wav", "text": "Hello.", "id": …, "speaker": …, "split": …}``.

    ``audio`` is relative to the manifest. ``id`` defaults to the file's name without suffix, ``speaker`` to the
    corpus' default, ``split`` to the rule of :func:`split_of` on ``prompt`` (default: see :func:`prompts_of`).
    Instead of, or beside, a text an entry may carry its phonemes: ``"symbols": ["^", "h", "ə", …, ".", "$"]``, one
    model symbol each in order of time, ``^`` and ``$`` being the silence at the ends (added where missing), and
    optionally ``"words": [["hello", 1, 5], …]`` with the first symbol and the last symbol + 1 of each word. Such an
    entry passes no frontend, so no real language is needed. Other keys are ignored, which makes the manifest
    written by ``speechvae prepare`` a valid corpus.
    """
    manifest = path / "manifest.jsonl" if path.is_dir() else path
    found = []
    for where, line in _lines(manifest, problem):
        try:
            found.append(_from_json(json.loads(line), manifest.parent, speaker))
        except (ValueError, TypeError, KeyError) as error:  # ValueError: bad JSON too
            problem(where, f"bad entry: {error}")
    return found


def _from_json(entry: Any, folder: Path, speaker: str) -> Utterance:
    if not isinstance(entry, dict):
        raise ValueError("not a JSON object")
    audio = next((entry[k] for k in ("audio", "audio_filepath", "file_name") if isinstance(entry.get(k), str)), None)
    if audio is None:
        raise ValueError('no "audio" path')
    raw = str(entry["id"]) if entry.get("id") is not None else PurePosixPath(audio).with_suffix("").as_posix()
    reasons: list[str] = []
    name = safe_id(raw.lstrip("/"), raw, lambda _, reason: reasons.append(reason))
    if name is None:
        raise ValueError(reasons[0])
    split = entry.get("split")
    if split is not None and split not in SPLITS:
        raise ValueError(f'split {split!r} is none of {", ".join(SPLITS)}')
    symbols = entry.get("symbols")
    if symbols is not None and not (isinstance(symbols, list) and all(isinstance(s, str) and s for s in symbols)):
        raise ValueError('"symbols" is not a list of non-empty strings')
    words = tuple((str(t), int(a), int(b)) for t, a, b in entry.get("words") or ())
    if symbols and symbols[0] != "^":
        symbols = ["^", *symbols]
        words = tuple((t, a + 1, b + 1) for t, a, b in words)
    if symbols and symbols[-1] != "$":
        symbols = [*symbols, "$"]
    if any(not 0 <= a < b <= len(symbols or ()) for _, a, b in words):
        raise ValueError('"words" point outside "symbols"')
    return Utterance(
        name, str(entry.get("speaker") or speaker), clean_text(str(entry.get("text") or "")), folder / audio,
        split or "", prompt=str(entry.get("prompt") or ""), symbols=tuple(symbols) if symbols else None, words=words,
    )


class _AudioIndex:
    """Finds ``ID.suffix`` below a folder without asking the disk once for each suffix and id."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = {}
        for file in sorted(folder.rglob("*"), reverse=True) if folder.is_dir() else ():
            if file.suffix.lower() in AUDIO_SUFFIXES:
                self.files[file.relative_to(folder).with_suffix("").as_posix()] = file

    def __call__(self, raw_id: str) -> Path:
        # an id may itself contain dots, so its suffix is cut only if it names an audio file
        key = raw_id.strip()
        if PurePosixPath(key).suffix.lower() in AUDIO_SUFFIXES:
            key = PurePosixPath(key).with_suffix("").as_posix()
        return self.files.get(key, self.folder / f"{key}.wav")


def _lines(path: Path, problem: Problem) -> Iterator[tuple[str, str]]:
    """Non-empty lines with their place; a line that is no UTF-8 is a problem of its own, not of the file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SpeechVAEError(f"cannot read the corpus: no {path.name} in {path.parent} ({error})") from error
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        where = f"{path.name}:{number}"
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError:
            problem(where, "not UTF-8")
            continue
        if line.strip():
            yield where, line
