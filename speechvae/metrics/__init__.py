"""Objective measures of speech: what is said, how it sounds, whose voice it is, how it is read, what it costs.

Every function takes samples (float [T] in [-1, 1]) and their rate in Hz. Measures that need the packages of the
extra ``evaluate`` import them when called and say so if they are absent. See :mod:`speechvae.evaluate` for the
report that puts them side by side for recordings, copies and synthesis.
"""

from speechvae.metrics._common import SPEECH_LEVEL, at_rate, require
from speechvae.metrics.blur import sharpness
from speechvae.metrics.perceptual import Dnsmos, Recogniser, SpeakerEncoder, pesq_wb, stoi
from speechvae.metrics.prosody import (
    beside,
    diversity,
    duration_error,
    f0_errors,
    f0_track,
    f0_tracker,
    pairwise_distances,
    reading_statistics,
    spoken_duration,
    spread,
)
from speechvae.metrics.runtime import (
    first_chunk_latency,
    latent_statistics,
    parameters,
    peak_memory,
    real_time_factor,
    resident_memory,
    say_peak_memory,
)
from speechvae.metrics.signal import (
    CLICK,
    active_level,
    clipped_share,
    edge_jump,
    edge_silence,
    in_noise,
    level_to,
    signal_checks,
    speech_shaped_noise,
    trim,
)
from speechvae.metrics.spectral import (
    distortion,
    dtw_path,
    mel_cepstra,
    mel_cepstral_distortion,
    stft_distance,
)
from speechvae.metrics.text import (
    Errors,
    bootstrap_interval,
    cer,
    character_errors,
    normalise,
    paired_interval,
    wer,
    word_errors,
)

__all__ = [
    "CLICK", "SPEECH_LEVEL", "Dnsmos", "Errors", "Recogniser", "SpeakerEncoder", "active_level", "at_rate", "beside",
    "bootstrap_interval", "cer", "character_errors", "clipped_share", "distortion", "diversity", "dtw_path",
    "duration_error", "edge_jump", "edge_silence", "f0_errors", "f0_track", "f0_tracker", "first_chunk_latency",
    "in_noise", "latent_statistics", "level_to", "mel_cepstra", "mel_cepstral_distortion", "normalise",
    "paired_interval", "pairwise_distances", "parameters", "peak_memory", "pesq_wb", "reading_statistics",
    "real_time_factor", "require", "resident_memory", "say_peak_memory", "sharpness", "signal_checks",
    "speech_shaped_noise", "spoken_duration", "spread", "stft_distance", "stoi", "trim", "wer", "word_errors",
]  # fmt: skip
