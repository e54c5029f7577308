"""The tokenizer: byte-level BPE, trained on the texts, kept with the model. Every text has tokens; none is unknown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from speechvae.errors import SpeechVAEError
from speechvae.models.text_vae import BOS, EOS, SPECIAL, TURN


class Tokenizer:
    """Texts ↔ token ids. The ids below `len(SPECIAL)` have meanings of their own."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        # Somebody's text that reads "</s>" is text, not the end of a sentence.
        inner.encode_special_tokens = True

    @classmethod
    def train(cls, texts: Iterable[str], size: int) -> Tokenizer:
        """Learn at most `size` tokens from texts."""
        from tokenizers import Tokenizer as Inner
        from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

        inner = Inner(models.BPE())
        inner.normalizer = normalizers.NFC()
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        inner.decoder = decoders.ByteLevel()
        inner.train_from_iterator(texts, trainers.BpeTrainer(
            vocab_size=size, special_tokens=list(SPECIAL), show_progress=False, min_frequency=2,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ))  # fmt: skip
        return cls(inner)

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        from tokenizers import Tokenizer as Inner

        if not path.is_file():
            raise SpeechVAEError(f"no tokenizer at {path}")
        try:
            return cls(Inner.from_file(str(path)))
        except Exception as e:  # the library raises bare exceptions
            raise SpeechVAEError(f"{path} is damaged or not a tokenizer ({e}); restore or retrain it") from e

    def save(self, path: Path) -> None:
        from speechvae.files import replacing

        with replacing(path) as part:
            self.inner.save(str(part), pretty=False)

    @property
    def size(self) -> int:
        return int(self.inner.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Token ids, without a beginning and an end."""
        return list(self.inner.encode(text, add_special_tokens=False).ids)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [e.ids for e in self.inner.encode_batch(list(texts), add_special_tokens=False)]

    def decode(self, ids: Iterable[int]) -> str:
        return self.inner.decode([i for i in ids if i >= len(SPECIAL)]).strip()


def sentence(ids: Sequence[int]) -> list[int]:
    """Token ids with a beginning and an end."""
    return [BOS, *ids, EOS]


def context_of(turns: Sequence[Sequence[int]], tokens: int) -> list[int]:
    """Token ids of what was said before, oldest first, each turn after a mark; the last `tokens` of them."""
    return [i for turn in turns for i in (TURN, *turn)][-tokens:]
