"""From text files to a work folder that training reads: `tokenizer.json`, `texts.safetensors`; and its batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from speechvae import checkpoint
from speechvae.config import TextVAEConfig
from speechvae.dataset import BatchOrder
from speechvae.errors import SpeechVAEError
from speechvae.nn.batch import Batch
from speechvae.words.texts import FEWEST, TextReport, read_texts
from speechvae.words.tokens import Tokenizer, context_of, sentence

TOKENIZER, TEXTS = "tokenizer.json", "texts.safetensors"
SPLITS = ("train", "dev", "test")
RARE = 3  # a character seen less often is not one the writer knows


def prepare_texts(paths: Sequence[str | Path], work: str | Path, cfg: TextVAEConfig | None = None) -> TextReport:
    """Read text files, train the tokenizer on the training split, and write the work folder.

    Raises SpeechVAEError for files that are no text, and where too few sentences are left.
    """
    cfg, work = TextVAEConfig() if cfg is None else cfg, Path(work)
    report = TextReport()
    dialogues = [d for path in paths for d in read_texts(path, report)]
    splits = {d.split for d in dialogues}
    reasons = "\n" + report.table() if report.refused else ""
    if report.turns < FEWEST:
        raise SpeechVAEError(
            f"{report.turns} sentences in {', '.join(map(str, paths))}: at least {FEWEST} are needed, and some "
            f"thousands for a writer worth reading{reasons}"
        )
    empty = [s for s in ("train", "dev") if s not in splits]
    if empty:
        raise SpeechVAEError(
            f"none of the {report.dialogues} dialogues or single sentences falls into the {empty[0]} split, to which a "
            f"checksum assigns them (a twentieth to dev): more texts are needed{reasons}"
        )
    seen: Counter[str] = Counter()
    for d in dialogues:
        if d.split == "train":
            seen.update(c for t in d.turns for c in t)
    tokenizer = Tokenizer.train((t for d in dialogues if d.split == "train" for t in d.turns), cfg.vocab)
    ids = tokenizer.encode_all([t for d in dialogues for t in d.turns])
    place = [n for d in dialogues for n in range(len(d.turns))]  # of a turn in its dialogue
    tensors = {
        "tokens": torch.tensor([i for t in ids for i in t], dtype=torch.int32),
        "lengths": torch.tensor([len(t) for t in ids], dtype=torch.int32),
        "place": torch.tensor(place, dtype=torch.int32),
        "split": torch.tensor([SPLITS.index(d.split) for d in dialogues for _ in d.turns], dtype=torch.int8),
        "characters": torch.tensor(sorted(ord(c) for c, n in seen.items() if n >= RARE), dtype=torch.int32),
    }
    work.mkdir(parents=True, exist_ok=True)
    tokenizer.save(work / TOKENIZER)
    checkpoint.save_weights(work / TEXTS, tensors)
    return report


@dataclass
class TextTable:
    """The texts of a work folder as token ids."""

    tokenizer: Tokenizer
    tensors: dict[str, Tensor]

    @classmethod
    def load(cls, work: str | Path) -> TextTable:
        work = Path(work)
        if not (work / TEXTS).is_file():
            raise SpeechVAEError(f"no texts at {work / TEXTS}: run `speechvae prepare-text --work {work}` first")
        return cls(Tokenizer.load(work / TOKENIZER), checkpoint.load_weights(work / TEXTS, "texts"))

    @property
    def vocab(self) -> int:
        return self.tokenizer.size

    @property
    def characters(self) -> str:
        """Every character that the training texts have more than once in a while."""
        return "".join(map(chr, self.tensors["characters"].tolist()))

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *self.tensors["lengths"].cumsum(0).tolist()]

    def ids(self, row: int) -> list[int]:
        """Token ids of a turn."""
        return self.tensors["tokens"][self._starts[row] : self._starts[row + 1]].tolist()

    def text(self, row: int) -> str:
        return self.tokenizer.decode(self.ids(row))

    def context(self, row: int, cfg: TextVAEConfig) -> list[int]:
        """Token ids of what was said before a turn."""
        before = min(cfg.context_turns, int(self.tensors["place"][row]))
        return context_of([self.ids(r) for r in range(row - before, row)], cfg.context_tokens)

    def rows(self, split: str, cfg: TextVAEConfig, with_context: bool = False) -> list[int]:
        """Turns of a split that are short enough; `with_context`: those before which something was said."""
        t = self.tensors
        fit = (t["split"] == SPLITS.index(split)) & (t["lengths"] <= cfg.sentence_tokens) & (t["lengths"] > 0)
        fit = fit & (t["place"] > 0) if with_context else fit
        return torch.nonzero(fit)[:, 0].tolist()

    def batch(self, rows: Sequence[int], cfg: TextVAEConfig, with_context: bool) -> Batch:
        """x [B, N] of turns, and context [B, C] if wanted."""
        x = [torch.tensor(sentence(self.ids(r))) for r in rows]
        pad = torch.nn.utils.rnn.pad_sequence
        context = [torch.tensor(self.context(r, cfg)) for r in rows] if with_context else []
        return Batch(
            ids=[str(r) for r in rows], speaker=torch.zeros(len(rows), dtype=torch.long), x=pad(x, batch_first=True),
            x_lengths=torch.tensor([len(i) for i in x]), context=pad(context, batch_first=True) if context else None,
        )  # fmt: skip


class TextBatches(torch.utils.data.Dataset[Batch]):
    """Item `step` is the batch of that step: without a context where it is even, with one where it is odd."""

    def __init__(self, table: TextTable, split: str, cfg: TextVAEConfig) -> None:
        self.table, self.cfg = table, cfg
        self.rows = [table.rows(split, cfg), table.rows(split, cfg, with_context=True)]
        if not self.rows[0]:
            raise SpeechVAEError(f"no sentence of the {split} split has at most {cfg.sentence_tokens} tokens")
        lengths = table.tensors["lengths"].numpy()
        seed, size = cfg.train.seed, cfg.train.batch_size
        # The posterior's batch normalization wants more than one sentence, and sentences of all lengths together: it
        # would take the mean of a batch of short ones for that of all.
        used = self.rows if len(self.rows[1]) > 1 else self.rows[:1]
        self.order = [BatchOrder(lengths[np.array(r)].tolist(), size, seed + i, bucket=1) for i, r in enumerate(used)]

    def __len__(self) -> int:
        return sum(o.per_epoch for o in self.order)

    def __getitem__(self, step: int) -> Batch:
        kind = step % len(self.order)
        order = self.order[kind](step // len(self.order))
        # In order of length: the model pads like rows together.
        rows = sorted((self.rows[kind][i] for i in order), key=lambda r: int(self.table.tensors["lengths"][r]))
        return self.table.batch(rows, self.cfg, kind == 1)
