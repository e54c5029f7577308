"""A recording as a reading: where each sound of its text lies, its prosody, and its latents.

Everything that starts from a recording (transfer, repair, audit, evaluation) begins with `analyse`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from speechvae.audio import LogMel, resample, track_f0
from speechvae.errors import SpeechVAEError
from speechvae.models.aligner import Aligner
from speechvae.models.decoder import Prosody
from speechvae.models.speech_vae import Gaussians, Latents
from speechvae.nn.align import durations_to_path, viterbi_durations
from speechvae.nn.batch import Batch
from speechvae.validation import Limits, Measure, measure, speaker_gain
from speechvae.voice_files import load_aligner

if TYPE_CHECKING:
    from speechvae.synthesis import Encoded, Voice
    from speechvae.text import Sentence

# A recording may be worse than what a voice is trained on: only what cannot be followed at all is refused.
LIMITS = Limits(min_rate=8000, max_seconds=60.0, min_contrast=3.0, max_clipped=1.0)
OTHER_PITCH = 0.2  # natural log: a clip whose mean f0 is farther from the speaker's is taken for somebody else's
# nats a frame. Right texts reach -1.1 and more on clean recordings of the shipped voice's three speakers, wrong ones
# -2.6 at most; noise and unknown speakers lie between.
WORST_FIT = -2.5
EMPTY_BAND = 9.0  # nats below the loudest band (78 dB): a band in which a recording has nothing


@dataclass
class Recording:
    """Sound as the models take it: trimmed, levelled, at the voice's rate.

    wav float32 [T * hop]; mel log-mel [M, T]; f0 [T] Hz, 0 = unvoiced; `start`, `end`: the part of the original that
    was kept (s); `gain`: linear, what its samples were multiplied by; `found`: level, peak and times of the original.
    """

    wav: np.ndarray
    mel: Tensor
    f0: np.ndarray
    start: float
    end: float
    gain: float
    found: Measure


@dataclass
class Alignment:
    """Where each of N symbols lies in T frames.

    w [N] whole frames, their sum T; log_prob [T]: log probability of each frame's label; margin [T]: the same less
    that of the most likely label, at most 0: unlike log_prob it does not fall with noise alone.
    """

    w: Tensor
    log_prob: Tensor
    margin: Tensor

    def over(self, values: Tensor, first: int, last: int) -> float:
        """Mean of frame values [T] over the symbols first..last - 1."""
        start, end = int(self.w[:first].sum()), int(self.w[:last].sum())
        return float(values[start:end].mean())


@dataclass
class Analysis:
    """One recording, heard with one text by one voice. N symbols, T frames, B = 1 in all tensors.

    q: both posteriors; z: their means; prosody: measured, each field [1, 1, N]; pitch_shift: natural log that was
    added to the recording's f0 so that it has the speaker's mean (0 for the speaker's own recordings).
    """

    encoded: Encoded
    recording: Recording
    alignment: Alignment
    q: Gaussians
    z: Latents
    prosody: Prosody
    pitch_shift: float
    frame_rate: float

    @property
    def score(self) -> float:
        """Mean log probability of the text's labels, nats a frame; about -0.7 for clean recordings."""
        return float(self.alignment.log_prob.mean())

    @property
    def fit(self) -> float:
        """Mean of the labels' log probability less that of the best label, nats a frame; 0 is perfect."""
        return float(self.alignment.margin.mean())

    @property
    def measured(self) -> np.ndarray:
        """Prosody [4, N]: log duration in frames, normalised log f0, voicing 0..1, normalised energy."""
        return self.prosody.stack()[0].numpy()

    def word_spans(self) -> list[tuple[int, int]]:
        """First symbol and last symbol + 1 of each word."""
        owners = self.encoded.owners
        spans = []
        for i in range(len(self.encoded.sentence.words)):
            own = [j for j, owner in enumerate(owners) if owner == i]
            spans.append((own[0], own[-1] + 1))
        return spans

    def word_fits(self) -> list[float]:
        """`fit` of each word."""
        return [self.alignment.over(self.alignment.margin, a, b) for a, b in self.word_spans()]

    def word_times(self) -> list[tuple[str, float, float]]:
        """Each word as written, with its start and end (s) in the original recording."""
        ends = [0, *self.alignment.w.cumsum(0).tolist()]
        at, rate = self.recording.start, self.frame_rate
        words = self.encoded.sentence.words
        return [
            (word.text, at + ends[a] / rate, at + ends[b] / rate)
            for word, (a, b) in zip(words, self.word_spans(), strict=True)
        ]


def aligner_of(voice: Voice) -> Aligner:
    """The voice's aligner, read at first use. SpeechVAEError where the voice has none."""
    cached: Aligner | None = voice.__dict__.get("_aligner")
    if cached is None:
        if voice.folder is None and voice.settings.aligner is not None:
            raise SpeechVAEError(f"the voice {voice.name} was not loaded from a folder, so its aligner is not known")
        folder = Path() if voice.folder is None else voice.folder
        cached = voice.__dict__["_aligner"] = load_aligner(folder, voice.settings)
    return cached


def analyse(
    voice: Voice, wav: np.ndarray, rate: int, text: str, speaker: str | None = None, *, level: bool = True,
    own: bool | None = None,
) -> Analysis:  # fmt: skip
    """Follow `text` through a recording and infer the latents of its reading.

    Args:
        wav, rate: mono samples [S] in [-1, 1] and their rate in Hz.
        text: what is said, all of it; read as one utterance.
        speaker: whose reading it shall be: one of the voice's (default: its main one).
        level: bring the speech to -23 dBFS, as in training; False: it is already.
        own: the recording is the speaker's own. False: it is somebody else's, and its f0 is shifted to the speaker's
            mean. Default: somebody else's if its mean f0 is more than 3.5 semitones from the speaker's.

    Raises:
        SpeechVAEError: the voice has no aligner; no speech in the recording; nothing to speak in the text; the text
            does not fit the sound.
    """
    recording = listen(voice, wav, rate, level=level)
    sentence = voice.frontend.utterance(text)
    if sentence is None:
        raise SpeechVAEError(f"there is nothing to speak in the text {text[:60]!r}: give the words of the recording")
    found = analyse_recording(voice, recording, sentence, speaker, own=own)
    if found.fit < WORST_FIT:
        raise SpeechVAEError(
            f"the text does not fit the recording ({found.fit:.2f} nats a frame; at least {WORST_FIT} is needed): "
            f"is {text[:60]!r} all that is said, in these words?"
        )
    return found


def listen(
    voice: Voice, wav: np.ndarray, rate: int, *, level: bool = True, gain: float | None = None,
    found: Measure | None = None,
) -> Recording:  # fmt: skip
    """Trim and level samples [S] at `rate` Hz, with mel and f0. `gain` and `found` where they are known already."""
    wav = np.asarray(wav, np.float32)
    if wav.ndim != 1:
        raise SpeechVAEError(f"samples must be mono, [S], not of shape {list(wav.shape)}")
    found = measure(wav, rate, LIMITS) if found is None else found
    if found.reason:
        raise SpeechVAEError(f"the recording cannot be used: {found.reason} ({found.detail})")
    audio = voice.settings.audio
    if gain is None:
        gain = speaker_gain([found.level], [found.peak]) if level else 1.0
    part = resample(wav[round(found.start * rate) : round(found.end * rate)], rate, audio.sample_rate) * gain
    part = np.clip(part, -1.0, 1.0)[: len(part) // audio.hop * audio.hop].astype(np.float32)
    with torch.inference_mode():
        mel = fill_bands(LogMel(audio)(torch.from_numpy(part)[None])[0])
    f0 = track_f0(part, audio.sample_rate, audio.hop)
    return Recording(part, mel, f0, found.start, found.end, gain, found)


def fill_bands(mel: Tensor) -> Tensor:
    """Log-mel [M, T] whose empty upper bands (of a recording at a lower rate) repeat the mean of the highest four.

    The models have never seen speech that ends at 8 kHz: unfilled, right texts seem wrong (fit -2.1 instead of -0.4).
    """
    loud = torch.quantile(mel, 0.95, dim=1)
    top = int((loud > loud.max() - EMPTY_BAND).nonzero().max()) + 1
    if top >= mel.shape[0] - 2:
        return mel
    top = max(4, top - 3)  # the highest are on the slope of the filter
    return torch.cat([mel[:top], mel[top - 4 : top].mean(0, keepdim=True).expand(mel.shape[0] - top, -1)])


@torch.inference_mode()
def align(aligner: Aligner, mel: Tensor, x: Tensor) -> Alignment:
    """Symbols x [N] in log-mel [M, T]. SpeechVAEError where there are fewer frames than symbols."""
    mask = torch.ones(1, 1, mel.shape[1], dtype=torch.bool)
    scores = aligner.scores(aligner(mel[None], mask), 1)[0]
    w, _ = viterbi_durations(scores, x)
    log_prob = scores.gather(1, x.repeat_interleave(w)[:, None])[:, 0]
    return Alignment(w, log_prob, log_prob - scores.max(1).values)


@torch.inference_mode()
def analyse_recording(
    voice: Voice, recording: Recording, sentence: Sentence, speaker: str | None = None, *, own: bool | None = None
) -> Analysis:
    """`analyse` for sound and text that are prepared already; a poor fit is not refused."""
    encoded = voice.encode(sentence, speaker)
    try:
        alignment = align(aligner_of(voice), recording.mel, encoded.x[0])
    except SpeechVAEError as e:
        seconds = recording.mel.shape[1] / voice.settings.audio.frame_rate
        raise SpeechVAEError(
            f"the recording ({seconds:.1f} s of speech) is too short for its text ({e}): is it cut off?"
        ) from e
    shift = pitch_shift(voice, recording.f0, encoded.speaker, own)
    f0 = torch.from_numpy(recording.f0 * np.float32(math.exp(shift)))[None]
    y, w = recording.mel[None], alignment.w[None]
    path = durations_to_path(w, y.shape[2])
    batch = Batch(ids=[""], speaker=encoded.speaker, y=y, w=w, f0=f0)
    prosody = voice.model.measure(batch, path)
    y_mask = torch.ones(1, 1, y.shape[2], dtype=torch.bool)
    q, z = voice.model.posterior(y, y_mask, path, prosody, encoded.h, encoded.x_mask, encoded.g, 0.0)
    return Analysis(encoded, recording, alignment, q, z, prosody, shift, voice.settings.audio.frame_rate)


def pitch_shift(voice: Voice, f0: np.ndarray, speaker: Tensor, own: bool | None) -> float:
    """What to add to a recording's log f0 [T] so that its mean is the speaker's; 0 where it is the speaker's own."""
    voiced = f0[f0 > 0]
    if own is True or len(voiced) < 10:
        return 0.0
    shift = float(voice.model.f0_mean[speaker[0]]) - float(np.log(voiced).mean())
    return 0.0 if own is None and abs(shift) <= OTHER_PITCH else shift


def by_sentence(voice: Voice, whole: Analysis, text: str) -> list[Analysis]:
    """An analysis for each sentence that `Voice.say` would speak `text` in; the recording is cut in their pauses."""
    sentences = voice.frontend(text)
    if len(sentences) == 1:
        return [whole]
    ends = [0, *whole.alignment.w.cumsum(0).tolist()]
    spans = whole.word_spans()
    hop, found, first, begin = voice.settings.audio.hop, [], 0, 0
    if sum(len(s.words) for s in sentences) != len(spans):
        raise SpeechVAEError(f"the text {text[:60]!r} reads differently as a whole and by sentence: give one sentence")
    for sentence in sentences:
        last = first + len(sentence.words)
        stop = ends[-1]
        if last < len(spans):  # in the middle of the mark between two words
            stop = (ends[spans[last - 1][1]] + ends[spans[last][0]] + 1) // 2
        r = whole.recording
        part = replace(
            r, wav=r.wav[begin * hop : stop * hop], mel=r.mel[:, begin:stop], f0=r.f0[begin:stop],
            start=r.start + begin / whole.frame_rate, end=r.start + stop / whole.frame_rate,
        )  # fmt: skip
        shifted = replace(part, f0=part.f0 * np.float32(math.exp(whole.pitch_shift)))
        speaker = voice.settings.speakers[int(whole.encoded.speaker)]
        found.append(analyse_recording(voice, shifted, sentence, speaker, own=True))
        first, begin = last, stop
    return found
