"""Reader of Hugging Face ``datasets`` objects, by their column names alone: the library itself is optional."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechvae.errors import SpeechVAEError
from speechvae.utterance import Problem, Utterance, clean_text, safe_id, split_of, warn

COLUMNS = {
    "audio": ("audio", "speech", "wav"),
    "text": ("text_normalized", "normalized_text", "text", "sentence", "transcription", "transcript"),
    "speaker": ("speaker", "speaker_id", "client_id"),
    "id": ("id", "utterance_id", "segment_id"),
}


def read_dataset(
    data: Any,
    *,
    speaker: str | None = None,
    on_problem: Problem | None = None,
    columns: Mapping[str, str] | None = None,
) -> Iterator[Utterance]:
    """Yield the rows of a Hugging Face ``datasets.Dataset`` (or anything iterable with ``column_names``).

    The audio of a row may be ``{"array", "sampling_rate"}``, ``{"bytes", "path"}``, a path, or a decoder with
    ``get_all_samples()``. Rows are read one by one, never all at once. The split is that of the row's id (default:
    its number), as everywhere. Raises :class:`SpeechVAEError` if the audio or the text column is missing.
    """
    problem = warn if on_problem is None else on_problem
    names = getattr(data, "column_names", None)
    if isinstance(names, Mapping):
        raise SpeechVAEError(f"this is a dict of datasets: pass one of them, e.g. data[{next(iter(names))!r}]")
    if not isinstance(names, Sequence):
        raise SpeechVAEError(f"cannot read a corpus from {type(data).__name__}: expected a folder, a .jsonl file or "
                             "a datasets object with column_names")
    column = {}
    for key, candidates in COLUMNS.items():
        wanted = (columns or {}).get(key)
        column[key] = next((c for c in ((wanted,) if wanted else candidates) if c in names), None)
    for key in ("audio", "text"):
        if column[key] is None:
            raise SpeechVAEError(f"the dataset has no {key} column; it has {', '.join(names)}: "
                                 f"say which with columns={{{key!r}: NAME}}")
    return _rows(data, column, speaker or "speaker", problem)


def _rows(data: Any, column: Mapping[str, str | None], speaker: str, problem: Problem) -> Iterator[Utterance]:
    for number, row in _each(data, problem):
        def value(key: str, row: Any = row) -> Any:
            name = column[key]
            return None if name is None else row.get(name)

        raw = value("id")
        where = f"row {number}"
        name = safe_id(f"{number:06d}" if raw is None else str(raw), where, problem)
        if name is None:
            continue
        try:
            path, samples, rate = _row_audio(value("audio"))
        except Exception as error:  # noqa: BLE001 - decoders raise anything; one bad row must not stop the corpus
            problem(name, f"cannot decode: {error}")
            continue
        who = value("speaker")
        yield Utterance(name, speaker if who is None else str(who), clean_text(str(value("text") or "")), path,
                        split_of(name), samples=samples, sample_rate=rate, prompt=name)


def _each(data: Any, problem: Problem) -> Iterator[tuple[int, Any]]:
    if not hasattr(data, "__len__"):
        yield from enumerate(data)
        return
    for number in range(len(data)):
        try:
            row = data[number]  # decoding happens here
        except Exception as error:  # noqa: BLE001 - as above
            problem(f"row {number}", f"cannot read: {error}")
            continue
        yield number, row


def _row_audio(audio: Any) -> tuple[Path | None, np.ndarray | None, int | None]:
    if isinstance(audio, str | Path):
        return Path(audio), None, None
    if isinstance(audio, Mapping):
        if audio.get("array") is not None:
            wav = np.asarray(audio["array"], np.float32)
            return None, wav if wav.ndim == 1 else wav.mean(int(np.argmin(wav.shape))), int(audio["sampling_rate"])
        if audio.get("bytes") is not None:
            import soundfile

            wav, rate = soundfile.read(io.BytesIO(audio["bytes"]), dtype="float32", always_2d=True)
            return None, wav.mean(1), int(rate)
        if audio.get("path") is not None:
            return Path(audio["path"]), None, None
    if hasattr(audio, "get_all_samples"):  # datasets >= 4 gives a torchcodec decoder: data [channels, T]
        decoded = audio.get_all_samples()
        return None, np.asarray(decoded.data, np.float32).mean(0), int(decoded.sample_rate)
    raise ValueError(f"unknown kind of audio: {type(audio).__name__}")


def load_from_disk(path: Path) -> Any:
    """A dataset saved by ``save_to_disk``; :class:`SpeechVAEError` if ``datasets`` is not installed."""
    try:
        import datasets
    except ImportError as error:
        raise SpeechVAEError(f"{path} is a Hugging Face dataset: pip install datasets to read it") from error
    return datasets.load_from_disk(str(path))
