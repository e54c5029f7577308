"""Measures with a trained listener inside: speech recognition, DNSMOS, speaker similarity, PESQ, STOI.

All models come inside the packages of the extra ``evaluate`` and run on the CPU without a network.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechvae.errors import SpeechVAEError
from speechvae.metrics._common import at_rate, mono, require
from speechvae.metrics.signal import frame_rms, level_to
from speechvae.validation import FRAME

RATE = 16000  # Hz, of every model here
LONGEST = 24.0  # s that are recognised at once; from about 40 s on the model repeats itself


def _heard(wav: Any, rate: int) -> np.ndarray:
    """`wav` as these models are fed: mono float32 [T] at 16 kHz, active level -23 dBFS, peak below 1."""
    return level_to(at_rate(mono(wav, rate), rate, RATE), RATE)


class Recogniser:
    """Offline recognition of English by Moonshine Tiny (Jeffries et al., 2024; 27 M parameters), inside its wheel.

    A transformer that mistakes three words in a hundred of clean read speech, most of them names. It writes numbers in
    figures, which :func:`speechvae.metrics.normalise` spells out again, and hears a short word in noise without speech.
    """

    def __init__(self, padding: float = 0.2) -> None:
        """`padding`: seconds put before and after each clip, so that trimmed clips are heard like others."""
        package = require("moonshine_voice", "The word error rate")
        model = Path(str(package.__file__)).parent / "assets" / "tiny-en"
        if not (model / "encoder_model.ort").is_file():
            raise SpeechVAEError(
                "this version of the package moonshine-voice comes without its model. Install one that has it with: "
                "pip install 'speechvae[evaluate]'"
            )
        self.padding = padding
        # Its voice detector cuts quiet words off; at threshold 0 everything counts as speech.
        self._model = package.Transcriber(model, package.ModelArch.TINY, options={"vad_threshold": "0.0"})

    def transcribe(self, wav: Any, rate: int) -> str:
        """What is heard in `wav` [T], as written text; "" if nothing. The same samples always give the same text."""
        return " ".join(filter(None, (self._hear(piece) for piece in _pieces(_heard(wav, rate)))))

    def _hear(self, piece: np.ndarray) -> str:
        pad = round(self.padding * RATE)
        # The model knows no digital silence; the noise at -80 dBFS is the same each time.
        noise = np.random.default_rng(0).normal(0, 1e-4, len(piece) + 2 * pad)
        found = self._model.transcribe_without_streaming(np.clip(np.pad(piece, pad) + noise, -1, 1).tolist(), RATE)
        return " ".join(line.text.strip() for line in found.lines)


def _pieces(heard: np.ndarray) -> Iterator[np.ndarray]:
    """`heard` in pieces that the recogniser can attend to as a whole, cut where it is quietest."""
    most, hop = round(LONGEST * RATE), round(FRAME * RATE)
    while len(heard) > most:
        levels = frame_rms(heard[most // 2 : most], RATE)
        cut = most // 2 + int(levels.argmin()) * hop
        yield heard[:cut]
        heard = heard[cut:]
    yield heard


class Dnsmos:
    """DNSMOS P.835 and P.808 (Reddy et al., 2022): predicted opinion scores, 1 to 5.

    The networks and polynomials are those of the package ``speechmos``, run with a fixed number of threads.
    """

    def __init__(self, threads: int = 1) -> None:
        package = require("speechmos.dnsmos", "DNSMOS")
        runtime = require("onnxruntime", "DNSMOS")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        options.log_severity_level = 3
        folder = Path(str(package.__file__)).parent / "dnsmos_models"
        # The package's constructor leaves no choice of threads and takes all cores.
        self._model = package.DNSMOS.__new__(package.DNSMOS)
        for name, file in (("onnx_sess", "sig_bak_ovr.onnx"), ("p808_onnx_sess", "model_v8.onnx")):
            session = runtime.InferenceSession(str(folder / file), options, providers=["CPUExecutionProvider"])
            setattr(self._model, name, session)

    def __call__(self, wav: Any, rate: int) -> dict[str, float]:
        """`ovrl`, `sig`, `bak`, `p808` of `wav` [T], at an active level of -23 dBFS.

        Clips under 9.01 s are repeated to that length, as in the published scripts.
        """
        heard = np.clip(_heard(wav, rate), -1, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of mel bands without a bin, which the model was trained with
            scores = self._model(heard, RATE, False)
        return {name: float(scores[f"{name}_mos"]) for name in ("ovrl", "sig", "bak", "p808")}


class SpeakerEncoder:
    """Speaker embeddings of 256 values by Resemblyzer (GE2E; Wan et al., 2018)."""

    def __init__(self) -> None:
        self._package = require("resemblyzer", "Speaker similarity")
        self._encoder = self._package.VoiceEncoder("cpu", verbose=False)

    def embed(self, wav: Any, rate: int) -> np.ndarray:
        """Unit vector, float32 [256]."""
        heard = _heard(wav, rate)
        spoken = self._package.preprocess_wav(heard)  # cuts long silences
        # where the voice detector finds no speech, judge the whole clip
        spoken = spoken if len(spoken) >= RATE // 4 else heard
        return np.asarray(self._encoder.embed_utterance(np.nan_to_num(spoken)), np.float32)

    def centroid(self, clips: Sequence[tuple[Any, int]]) -> np.ndarray:
        """Unit vector [256] in the middle of clips `(wav, rate)` of one speaker."""
        if not clips:
            raise SpeechVAEError("no recordings to make the speaker's centroid from")
        mean = np.mean([self.embed(wav, rate) for wav, rate in clips], axis=0)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), np.float32)

    def similarity(self, wav: Any, rate: int, centroid: np.ndarray) -> float:
        """Cosine between the clip and a centroid; 0 to 1, two people of one sex often reach 0.6 to 0.7."""
        return float(self.embed(wav, rate) @ centroid)


def pesq_wb(reference: Any, degraded: Any, rate: int) -> float:
    """Wideband PESQ (ITU-T P.862.2), 1.0 to 4.64, of time-aligned samples at one rate (copy-synthesis only)."""
    package = require("pesq", "PESQ")
    ref, deg = _aligned(reference, degraded, rate)
    try:
        return float(package.pesq(RATE, ref, deg, "wb"))
    except package.PesqError as error:
        raise SpeechVAEError(f"PESQ found no speech to compare: {error}") from error


def stoi(reference: Any, degraded: Any, rate: int) -> float:
    """Short-time objective intelligibility (Taal et al., 2011), 0 to 1, of time-aligned samples at one rate."""
    package = require("pystoi", "STOI")
    ref, deg = _aligned(reference, degraded, rate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(package.stoi(ref, deg, RATE))


def _aligned(reference: Any, degraded: Any, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Both at 16 kHz and of one length; lengths that differ by over 50 ms are an error."""
    ref, deg = mono(reference, rate, "the reference"), mono(degraded, rate, "the degraded clip")
    if abs(len(ref) - len(deg)) > 0.05 * rate:
        raise SpeechVAEError(
            f"the clips last {len(ref) / rate:.2f} s and {len(deg) / rate:.2f} s: this measure is for time-aligned "
            "copies; use mel_cepstral_distortion for a new reading"
        )
    length = min(len(ref), len(deg))
    return at_rate(ref[:length], rate, RATE), at_rate(deg[:length], rate, RATE)
