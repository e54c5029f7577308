"""Frontend words by espeak-ng, for the languages that gruut has no data for here (extra ``espeak``)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from ..errors import SpeechVAEError
from .lexicon import UserLexicon
from .pieces import Piece, affixes

_PHONE, _WORD = "|", " "


def is_available() -> bool:
    """Whether phonemizer and espeakng-loader are installed; imports neither."""
    return find_spec("phonemizer") is not None and find_spec("espeakng_loader") is not None


@lru_cache(maxsize=1)
def _backend_class() -> Any:
    """phonemizer's espeak backend, bound to the library that espeakng-loader brings.

    Raises:
        SpeechVAEError: a package is missing or the library cannot be loaded.
    """
    try:
        import espeakng_loader
        from phonemizer.backend import EspeakBackend
        from phonemizer.backend.espeak.wrapper import EspeakWrapper
    except ImportError as error:
        raise SpeechVAEError(
            f"espeak-ng is not installed ({error}): pip install 'speechvae[espeak]'"
        ) from None
    try:
        EspeakWrapper.set_library(espeakng_loader.get_library_path())
        if hasattr(EspeakWrapper, "set_data_path"):
            EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    except (OSError, RuntimeError) as error:
        raise SpeechVAEError(f"espeak-ng cannot be loaded: {error}") from error
    return EspeakBackend


@lru_cache(maxsize=1)
def languages() -> tuple[str, ...]:
    """The language codes that espeak-ng knows."""
    return tuple(sorted(_backend_class().supported_languages()))


class EspeakWords:
    """Pronounces the pieces of a sentence with espeak-ng, one piece at a time.

    Args:
        language: a code of espeak-ng, e.g. "fr-fr".
        lexicon: the user's words.
    """

    def __init__(self, language: str, lexicon: UserLexicon) -> None:
        self.language = language
        self.user = lexicon
        self._lock = threading.Lock()
        self._cache: dict[str, list[tuple[str, ...]]] = {}
        self._backend: Any = None

    def __call__(self, pieces: Sequence[Piece]) -> list[list[tuple[str, tuple[str, ...]]]]:
        """For each piece its spoken words with their phonemes."""
        with self._lock:
            result: list[list[tuple[str, tuple[str, ...]]]] = []
            for piece in pieces:
                core = affixes(piece.spoken)[1]
                known = self.user.find(core)
                words = list(piece.phonemes) if piece.phonemes else [known] if known else self._phonemize(piece)
                parts = core.split()
                names = parts if len(parts) == len(words) else [core] * len(words)
                result.append(list(zip(names, words, strict=True)))
            return result

    def _phonemize(self, piece: Piece) -> list[tuple[str, ...]]:
        text = piece.spoken
        if piece.kind in ("characters", "spell-out", "digits", "telephone"):
            text = " ".join(c for c in text if c.isalnum())
        found = self._cache.get(text)
        if found is None:
            found = [self._symbols(word) for word in self._ask(text).split(_WORD)]
            found = [word for word in found if word]
            if len(self._cache) >= 20_000:
                self._cache.clear()
            self._cache[text] = found
        return found

    def _ask(self, text: str) -> str:
        from phonemizer.separator import Separator

        if self._backend is None:
            self._backend = _backend_class()(self.language, with_stress=True, language_switch="remove-flags")
        separator = Separator(phone=_PHONE, syllable="", word=_WORD)
        return self._backend.phonemize([text], separator=separator, strip=True)[0]

    @staticmethod
    def _symbols(word: str) -> tuple[str, ...]:
        return tuple(p for p in (part.strip("-'_ ") for part in word.split(_PHONE)) if p)
