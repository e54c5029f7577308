"""From text to phonemes: frontends, symbols, segmentation and SSML."""

from __future__ import annotations

from .frontend import Frontend, get_frontend
from .symbols import SymbolTable
from .types import Sentence, Word, join_sentences

__all__ = ["Frontend", "Sentence", "SymbolTable", "Word", "get_frontend", "join_sentences"]
