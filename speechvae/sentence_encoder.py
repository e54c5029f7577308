"""What a sentence means, as a vector, by any encoder of `transformers`: an option, beside the phonemes.

Off by default: a pretrained encoder is larger than the rest of a voice, and must be there wherever the voice speaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechvae.errors import SpeechVAEError

BATCH = 32
SENTENCES = "sentences.safetensors"  # in a work folder


class SentenceEncoder:
    """Embeddings [B, E]: the mean of the encoder's last hidden states over the tokens, scaled to length one."""

    def __init__(self, name: str) -> None:
        """`name`: a folder with an encoder and its tokenizer, or a name that `transformers` knows."""
        self.name = name

    @cached_property
    def _parts(self) -> tuple[Any, Any]:
        from transformers import AutoModel, AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(self.name), AutoModel.from_pretrained(self.name).eval()
        except (OSError, ValueError) as e:
            raise SpeechVAEError(
                f"the sentence encoder {self.name!r} cannot be loaded ({str(e).splitlines()[0]}): give the folder of a "
                "transformers encoder with its tokenizer, or a name that can be downloaded"
            ) from e

    @property
    def size(self) -> int:
        """E."""
        return int(self._parts[1].config.hidden_size)

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Texts → [B, E]. What is longer than the encoder can read is judged by its beginning."""
        tokenizer, model = self._parts
        longest = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512))
        tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
        tokens.pop("token_type_ids", None)
        states = model(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None].to(states.dtype)
        mean = (states * mask).sum(1) / mask.sum(1).clamp_min(1)
        return torch.nn.functional.normalize(mean.float(), dim=1)

    def table(self, texts: Iterable[str], path: Path) -> dict[str, Tensor]:
        """Embeddings by text, kept in the file `path`; what is there of the same encoder is not made again."""
        from tqdm import tqdm

        from speechvae import checkpoint

        wanted = sorted(set(texts))
        known: dict[str, Tensor] = {}
        if path.is_file() and checkpoint.fingerprint(path) == self.name:
            known = checkpoint.load_weights(path, "sentence embeddings")
        missing = [t for t in wanted if t not in known]
        for i in tqdm(range(0, len(missing), BATCH), desc="sentence embeddings", disable=not missing, unit="batch"):
            part = missing[i : i + BATCH]
            known |= dict(zip(part, self.embed(part).clone(), strict=True))
        if missing:
            checkpoint.save_weights(path, {k: v.contiguous() for k, v in known.items()}, half=False, mark=self.name)
        return {t: known[t] for t in wanted}
