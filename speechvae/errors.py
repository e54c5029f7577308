"""The one exception type that users of the package meet."""

from __future__ import annotations


class SpeechVAEError(ValueError):
    """Bad input, data or files. The message says what is wrong, where, and what to do next."""
