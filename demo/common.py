"""What the tabs of the page share: sound for the browser, a line of facts, errors in plain words."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from speechvae import SpeechVAEError

if TYPE_CHECKING:
    from speechvae import Audio

Sound = tuple[int, np.ndarray]
# Neither voices nor writers are thread safe: everything that uses one waits in the same queue.
ONE_AT_A_TIME: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "voice"}
log = logging.getLogger("speechvae.demo")


def sound_of(audio: Audio) -> Sound:
    """(rate, int16 [T]) of `audio`."""
    # The page would scale float samples to full level; 16-bit samples it leaves alone.
    return audio.sample_rate, (np.clip(audio.wav, -1.0, 1.0) * 32767).astype(np.int16)


def facts_of(audio: Audio) -> str:
    """A line of Markdown: length, seed, speed, pitch."""
    voiced = audio.f0[audio.f0 > 0]
    parts = [f"**{audio.duration:.2f} s**", f"seed **{audio.seed}**", f"real-time factor {audio.rtf:.3f}"]
    if len(voiced):
        parts.append(f"mean f0 {voiced.mean():.0f} Hz")
    if audio.duration > 0:
        parts.append(f"{len(audio.words) / audio.duration:.1f} words a second")
    return " · ".join(parts)


def in_plain_words(function: Callable[..., Any]) -> Callable[..., Any]:
    """Turn the errors of `function` into messages on the page."""

    @functools.wraps(function)
    def wrapped(*args: Any) -> Any:
        try:
            return function(*args)
        except (SpeechVAEError, OSError) as e:
            raise gr.Error(str(e), title="That did not work", print_exception=False) from e
        except Exception as e:
            log.exception("the demo failed")
            message = f"An error inside the program ({type(e).__name__}: {e}). Its log has the details."
            raise gr.Error(message, title="That did not work", print_exception=False) from e

    return wrapped
