"""What every measure needs: optional packages with a helpful error, checked audio, the level it is measured at."""

from __future__ import annotations

import importlib
import warnings
from types import ModuleType
from typing import Any

import numpy as np

from speechvae.errors import SpeechVAEError

SPEECH_LEVEL = -23.0  # dBFS of active speech: recognisers and DNSMOS depend on the level


def require(module: str, purpose: str, extra: str = "evaluate") -> ModuleType:
    """Import an optional module, or raise :class:`SpeechVAEError` naming the extra that brings it."""
    try:
        # Some of these packages use names that their own dependencies have deprecated.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        raise SpeechVAEError(
            f"{purpose} needs the package {module.split('.')[0]!r}, which cannot be imported ({error}). "
            f"Install it with: pip install 'speechvae[{extra}]'"
        ) from error


def mono(wav: Any, rate: int, what: str = "audio") -> np.ndarray:
    """`wav` as finite float32 [T], T >= 1; raises :class:`SpeechVAEError` if it is anything else."""
    samples = np.asarray(wav, dtype=np.float32)
    if samples.ndim != 1:
        raise SpeechVAEError(f"{what} must be mono samples [T], not an array of shape {list(samples.shape)}")
    if len(samples) == 0:
        raise SpeechVAEError(f"{what} is empty: there is nothing to measure")
    if rate <= 0:
        raise SpeechVAEError(f"{what} has a sample rate of {rate} Hz; it must be positive")
    if not np.isfinite(samples).all():
        bad = int((~np.isfinite(samples)).sum())
        raise SpeechVAEError(f"{what} holds {bad} samples that are not finite: the model that made it has diverged")
    return samples


def at_rate(wav: np.ndarray, rate: int, target: int) -> np.ndarray:
    """Band-limited resampling to `target` Hz, float32 [T]."""
    if rate == target:
        return wav
    from speechvae.audio import resample

    return resample(wav, rate, target)
