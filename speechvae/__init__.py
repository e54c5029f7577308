"""Text to speech that treats how a sentence is said as a random variable.

    from speechvae import Voice

    audio = Voice.load("kathleen").say("Hello there.", seed=1)
    audio.save("hello.wav")

The names below load on first use: importing the package costs milliseconds and brings in no model library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from speechvae.errors import SpeechVAEError

if TYPE_CHECKING:
    from speechvae.directing.edits import Edits, parse_words
    from speechvae.directing.retakes import blend
    from speechvae.synthesis import Audio, AudioChunk, Voice, list_voices
    from speechvae.takes import Take
    from speechvae.words.writer import Writer

__version__ = "0.1.0"
__all__ = [
    "Audio", "AudioChunk", "Edits", "SpeechVAEError", "Take", "Voice", "Writer", "__version__", "blend", "list_voices",
    "parse_words",
]  # fmt: skip

_HOME = {
    "Audio": "speechvae.synthesis",
    "AudioChunk": "speechvae.synthesis",
    "Edits": "speechvae.directing.edits",
    "Voice": "speechvae.synthesis",
    "blend": "speechvae.directing.retakes",
    "list_voices": "speechvae.synthesis",
    "parse_words": "speechvae.directing.edits",
    "Take": "speechvae.takes",
    "Writer": "speechvae.words.writer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'speechvae' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
