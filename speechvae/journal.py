"""Work that can be interrupted: a journal of what is done, samples kept on disk, ordered work in processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

A = TypeVar("A")
B = TypeVar("B")


class Journal:
    """A JSONL file of `id` → value that grows as work is done; the last line of an id counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data: dict[str, Any] = {}
        if path.is_file():
            for line in path.read_text("utf-8").splitlines():
                try:
                    id, value = json.loads(line)
                except ValueError:
                    continue  # cut off by an interruption
                self.data[id] = value
        # written anew: old values go, and a line that was cut off cannot spoil the next
        write_text(path, "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in self.data.items()))
        self.file = path.open("a", encoding="utf-8")

    def add(self, id: str, value: Any) -> None:
        """Note `value` of `id`; it is in the file when this returns."""
        self.data[id] = value
        self.file.write(json.dumps((id, value), ensure_ascii=False) + "\n")
        self.file.flush()

    def close(self) -> None:
        """Close the file; `data` stays."""
        self.file.close()


class SampleStore:
    """int16 samples by id in a nameless file in `folder`: a day of speech does not fit into memory."""

    def __init__(self, folder: Path) -> None:
        self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (lives as long as the store)
        self.places: dict[str, tuple[int, int]] = {}
        self.end = 0

    def add(self, id: str, pcm: np.ndarray) -> None:
        """Keep int16 samples [T]."""
        self.file.seek(self.end)
        self.file.write(pcm.tobytes())
        self.places[id] = (self.end, pcm.nbytes)
        self.end += pcm.nbytes

    def get(self, id: str, gain: float) -> np.ndarray | None:
        """float32 samples times `gain`, or None if they were not kept (measured by an earlier run)."""
        if id not in self.places:
            return None
        place, size = self.places[id]
        self.file.seek(place)
        return np.frombuffer(self.file.read(size), np.int16).astype(np.float32) * (gain / 32767)

    def close(self) -> None:
        """Forget all samples."""
        self.file.close()


def ordered_map(work: Callable[[A], B], tasks: Iterable[A], jobs: int) -> Iterator[tuple[A, B]]:
    """`(task, work(task))` in order; with several processes only a few tasks are in memory at a time."""
    if jobs <= 1:
        for task in tasks:
            yield task, work(task)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_one_thread) as pool:
        waiting: list[tuple[A, Future[B]]] = []
        for task in tasks:
            waiting.append((task, pool.submit(work, task)))
            if len(waiting) > 4 * jobs:
                wait([waiting[0][1]])
            while waiting and waiting[0][1].done():
                first, future = waiting.pop(0)
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # read by torch when it is imported, which is later


def write_text(path: Path, text: str) -> None:
    """Write to a temporary name and rename, so that the file is there whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)
