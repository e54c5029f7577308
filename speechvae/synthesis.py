"""From text to speech: voices, readings, streaming. Nothing of training is imported here."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from speechvae.audio import LogMel, griffin_lim, resample
from speechvae.directing.drawing import (
    Encoded,
    Mood,
    Options,
    Shift,
    check_speaker,
    colour,
    fine_noise,
    latents_of,
    new_take,
    raw_prosody,
    reading_of,
)
from speechvae.directing.edits import LENGTH_SCALE, Edits, check_number
from speechvae.directing.prosody_edits import (
    all_words,
    directed,
    require_words,
    short_pauses,
    stretch_pauses,
    whole_frames,
)
from speechvae.errors import SpeechVAEError
from speechvae.models.decoder import Prosody
from speechvae.models.speech_vae import Latents, SpeechVAE
from speechvae.models.vocoder import FourierVocoder
from speechvae.sound import Audio, AudioChunk, PhonemeTime, WordTime
from speechvae.takes import Reading, Take
from speechvae.text import Sentence, SymbolTable, get_frontend
from speechvae.text.types import Word
from speechvae.vocoders import describe, load_vocoder
from speechvae.voice_files import VoiceInfo, VoiceSettings, find_voice, list_voices, load_models

__all__ = ["Audio", "AudioChunk", "Edits", "Encoded", "Options", "Take", "Voice", "VoiceInfo", "list_voices"]

SILENCE = 0.2  # s, what a text without words sounds like
SENTENCE_PAUSE = 0.15  # s, between the sentences of one text, beside the silence each sentence carries
FADE = 0.005  # s, at the ends of each chunk
CEILING = 0.97  # of full scale; a louder chunk is turned down as a whole


@dataclass
class Plan:
    """A sentence ready to be spoken: latents, prosody with edits, whole frames w [1, N]."""

    e: Encoded
    z: Latents
    reading: Reading
    prosody: Prosody
    w: Tensor


class Voice:
    """A loaded voice. `say` and `stream` read text; `takes` gives diverse readings; `perform` replays a take.

    Not thread safe: give each thread its own, or a lock.
    """

    def __init__(self, settings: VoiceSettings, model: SpeechVAE, vocoder: FourierVocoder | None) -> None:
        self.settings, self.model, self.vocoder = settings, model.eval(), vocoder
        if vocoder is not None:
            vocoder.eval()
        self.symbols = SymbolTable(settings.symbols)
        self._frontend: Any = None
        self._sentence_encoder: Any = None
        self.folder: Path | None = None  # where the voice was loaded from

    @classmethod
    def load(
        cls, name_or_path: str | Path = "kathleen", lexicon: Any = None, vocoder: str | Path | None = None
    ) -> Voice:  # fmt: skip
        """A shipped voice by name, or any folder with a `voice.yaml`.

        `vocoder`: another than its own, as `speechvae.vocoders.load_vocoder` takes it.

        Raises SpeechVAEError where the voice is unknown, unreadable, damaged or made with other mel features.
        """
        folder = find_voice(name_or_path)
        settings, model, own = load_models(folder)
        voice = cls(settings, model, own if vocoder is None else load_vocoder(vocoder, settings.audio))
        voice.folder = folder
        if lexicon is not None:
            voice._frontend = get_frontend(settings.language, lexicon)
        return voice

    @classmethod
    def silent_test_voice(cls, seed: int = 0) -> Voice:
        """A tiny voice with random weights for tests of what is around a voice: quick, faint, not speech."""
        from speechvae.voice_files import tiny_voice

        return cls(*tiny_voice(seed))

    # -- what it is ----------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def language(self) -> str:
        return self.settings.language

    @property
    def sample_rate(self) -> int:
        return self.settings.audio.sample_rate

    @property
    def speakers(self) -> list[str]:
        return list(self.settings.speakers)

    @property
    def default_speaker(self) -> str:
        return self.settings.default_speaker

    @property
    def stats(self) -> dict[str, float]:
        """Figures of the training's last evaluation, such as kl_u, kl_p (nats), active_u, active_p."""
        return dict(self.settings.stats)

    def info(self) -> dict[str, Any]:
        """Name, language, speakers, sizes and figures."""
        s = self.settings
        count = {"acoustic": sum(p.numel() for p in self.model.parameters())}
        if self.vocoder is not None:
            count["vocoder"] = sum(p.numel() for p in self.vocoder.parameters())
        return {
            "name": s.name, "language": s.language, "description": s.description, "speakers": self.speakers,
            "default_speaker": s.default_speaker, "sample_rate": self.sample_rate, "symbols": len(s.symbols),
            "vocoder": describe(self.vocoder), "parameters": count, "audio_fingerprint": s.audio.fingerprint(),
            "temperature": s.temperature, "style_temperature": s.style_temperature, "expansion": s.expansion,
            "axes": {name: f"1 = {axis.sd:.3g} {axis.unit}" for name, axis in s.axes.items()}, "stats": self.stats,
        }  # fmt: skip

    # -- speaking ------------------------------------------------------------------------------------------------

    def say(self, text: str, **options: Unpack[Options]) -> Audio:
        """Read a text. Same arguments and seed = same samples; no seed = a new reading, whose seed is reported.

        Options: seed, speaker, temperature, style_temperature, length_scale, ssml, steadiness, axes, edits; see
        `speechvae.directing.drawing.Options`.
        """
        started = time.perf_counter()
        take = self._new_take(text, options)
        return Audio.join(list(self._chunks(take)), take, time.perf_counter() - started)

    def stream(self, text: str, **options: Unpack[Options]) -> Iterator[AudioChunk]:
        """The same reading as `say`, sentence by sentence; memory does not grow with the text."""
        return self._chunks(self._new_take(text, options))

    def draw(self, text: str, **options: Unpack[Options]) -> Take:
        """The take that `say` would read with the same options; no sound is made."""
        return self.fill(self._new_take(text, options))

    def takes(self, text: str, n: int = 6, *, pool: int | None = None, **options: Unpack[Options]) -> list[Take]:
        """`n` readings that differ as much as they can, chosen from a pool (default: the larger of 32 and 6 n).

        Options as for `say`; the pool has the seeds from `seed` on. No sound is made: `perform` the takes.
        """
        from speechvae.directing.variety import diverse_takes

        return diverse_takes(self, self._new_take(text, options), n, pool)

    def perform(
        self, take: Take, *, text: str | None = None, speaker: str | None = None, ssml: bool = False,
        length_scale: float | None = None, edits: Edits | None = None,
    ) -> Audio:  # fmt: skip
        """Replay a take exactly, or carry its manner to another text or speaker; `take` stays as it is.

        Args:
            text: another text; see `speechvae.directing.retakes.retake`.
            speaker: another of `speakers`.
            ssml: `text` is SSML.
            length_scale: instead of the take's.
            edits: instead of the take's.

        Raises SpeechVAEError for a take of another voice, or latents that do not fit its text.
        """
        from speechvae.directing.retakes import retake

        started = time.perf_counter()
        take = retake(self, take, text, speaker, ssml)
        if length_scale is not None:
            check_number("length_scale", length_scale, *LENGTH_SCALE)
            take = replace(take, length_scale=length_scale)
        if edits is not None:
            take = replace(take, edits=edits)
        require_words(self.frontend, take, take.edits.words)
        return Audio.join(list(self._chunks(take, replay=True)), take, time.perf_counter() - started)

    def reroll(
        self, take: Take, words: Sequence[int], seed: int | None = None, temperature: float | None = None
    ) -> Take:
        """Draw some words of a take anew and keep the prosody of all others; see `directing.retakes.reroll`."""
        from speechvae.directing.retakes import reroll

        return reroll(self, take, words, seed, temperature)

    def prosody_of(self, take: Take) -> list[np.ndarray]:
        """The prosody of each sentence of a take, edits included, [4, N]; no sound is made.

        Rows: log duration in frames (not yet rounded to whole ones), normalised log f0, voicing 0..1, normalised
        energy. A take without readings is drawn first.
        """
        self.check_take(take)
        take = take if take.readings else self.fill(take)
        return [plan.prosody.stack()[0].numpy().copy() for plan in self._plans(take, replay=True)]

    def words(self, text: str, ssml: bool = False) -> Iterator[Word]:
        """The spoken words of a text in order, as edits, `reroll` and `blend` number them, from 1."""
        return all_words(self.frontend, text, ssml)

    def check_take(self, take: Take) -> None:
        """Raise SpeechVAEError unless the take was made with this voice."""
        if take.voice != self.name:
            raise SpeechVAEError(f"this take was made with the voice {take.voice!r}, not {self.name!r}: load that one")
        check_speaker(self.settings, take.speaker)

    def fill(self, take: Take) -> Take:
        """The take with readings drawn by its seed and settings."""
        self.check_take(take)
        return replace(take, readings=[plan.reading for plan in self._plans(take)])

    def parts(self, take: Take) -> Iterator[tuple[int, Sentence, Reading]]:
        """The sentences of a take with their readings, and the number of the first word of each."""
        count, first = 0, 1
        for sentence in self.frontend.stream(take.text, ssml=take.ssml):
            count += 1
            if count > len(take.readings):
                raise SpeechVAEError("the take has fewer sentences than its text: the file was changed by hand")
            yield first, sentence, take.readings[count - 1]
            first += len(sentence.words)
        if count < len(take.readings):
            raise SpeechVAEError("the take has more sentences than its text: the file was changed by hand")

    def _new_take(self, text: str, options: Options) -> Take:
        take = new_take(self.settings, text, options)
        require_words(self.frontend, take, take.edits.words)
        return take

    def _sentences(self, take: Take) -> Iterator[tuple[int, Sentence, None]]:
        first = 1
        for sentence in self.frontend.stream(take.text, ssml=take.ssml):
            yield first, sentence, None
            first += len(sentence.words)

    def _plans(self, take: Take, replay: bool = False) -> Iterator[Plan]:
        """What to say, sentence by sentence: from the take's readings, or drawn as it goes."""
        shift = Shift.along(self.settings, {} if replay else take.axes)
        mood = Mood(take.seed, take.steadiness, self.settings.vae.z_u_dim)
        parts = self.parts(take) if replay else self._sentences(take)
        for index, (first, sentence, reading) in enumerate(parts):
            # Around each sentence, not around the loop: between two of them the caller's own code runs.
            with torch.inference_mode():
                plan = self._plan(take, index, first, sentence, reading, mood, shift)
            yield plan

    def _plan(
        self, take: Take, index: int, first: int, sentence: Sentence, reading: Reading | None, mood: Mood, shift: Shift
    ) -> Plan:
        e = self.encode(sentence, take.speaker)
        if reading is None:
            fine = fine_noise(take.seed, index, self.settings.vae.z_p_dim, len(e.symbols))
            noise = Latents(mood.step() * take.style_temperature, fine * take.temperature)
            z = colour(self.model, e, noise, shift)
        else:
            z = latents_of(self.settings, e, reading)
        raw = raw_prosody(self.model, e, z, reading)
        prosody, w = directed(
            raw, sentence, e.owners, length_scale=take.length_scale, edits=take.edits, first_word=first,
            rate=self.settings.audio.frame_rate, centre=None if reading is None else reading.centre,
            f0_range=take.f0_range,
        )  # fmt: skip
        return Plan(e, z, reading_of(e, z) if reading is None else reading, prosody, whole_frames(w, e.owners))

    def _chunks(self, take: Take, replay: bool = False) -> Iterator[AudioChunk]:
        """One chunk a sentence. Each chunk's `take` holds the latents of its own sentence."""
        at, index = 0, -1
        for index, plan in enumerate(self._plans(take, replay)):
            chunk = self._speak(plan, take, index)
            chunk.start = at / self.sample_rate
            at += len(chunk.wav)
            yield chunk
        if index < 0:
            yield AudioChunk.silence(SILENCE, self.settings.audio, take)

    @property
    def frontend(self) -> Any:
        """Text → sentences of words and phonemes; made at first use."""
        if self._frontend is None:
            self._frontend = get_frontend(self.language)
        return self._frontend

    def _meaning(self, text: str) -> Tensor | None:
        """The embedding [1, E] of a sentence, for a voice that was trained with a sentence encoder."""
        if self.settings.vae.sentence_encoder is None:
            return None
        if self._sentence_encoder is None:
            from speechvae.sentence_encoder import SentenceEncoder

            self._sentence_encoder = SentenceEncoder(self.settings.vae.sentence_encoder)
        return self._sentence_encoder.embed([text])

    @torch.inference_mode()
    def encode(self, sentence: Sentence, speaker: str | None = None) -> Encoded:
        """A sentence of the frontend, as the model sees it when `speaker` says it."""
        symbols, owners = sentence.symbols()
        name = self.default_speaker if speaker is None else check_speaker(self.settings, speaker)
        x = torch.tensor([self.symbols.encode(symbols, nearest=True)])
        index = torch.tensor([self.settings.speakers.index(name)])
        x_mask = torch.ones(1, 1, x.shape[1], dtype=torch.bool)
        h, g = self.model.encode(x, x_mask, index, self._meaning(sentence.text))
        return Encoded(sentence, symbols, owners, x, x_mask, index, h, g)

    @torch.inference_mode()
    def _speak(self, plan: Plan, take: Take, index: int) -> AudioChunk:
        e, w, audio = plan.e, plan.w, self.settings.audio
        prosody, short = short_pauses(plan.prosody, w, e.owners, audio.frame_rate)
        mel = stretch_pauses(self.model.decode(e.h, plan.z, e.g, prosody, short), short, w)
        pause = round(SENTENCE_PAUSE * audio.frame_rate) if index > 0 else 0
        wav = np.pad(self._finish(self._vocode(mel)[0].numpy()), (pause * audio.hop, 0))
        hz = self.model.f0_hz(plan.prosody.f0, e.speaker)[0, 0] * (plan.prosody.vuv[0, 0] >= 0.5)
        words, phonemes = self._times(e, w[0], hz, plan.prosody.energy[0, 0], pause)
        f0 = np.pad(np.repeat(hz.numpy(), w[0].numpy()).astype(np.float32), (pause, 0))
        picture = np.pad(mel[0].numpy(), ((0, 0), (pause, 0)), constant_values=math.log(audio.floor))
        return AudioChunk(
            wav=wav, sample_rate=self.sample_rate, words=words, text=e.sentence.text, index=index, start=0.0,
            take=replace(take, readings=[plan.reading]), mel=picture, phonemes=phonemes, f0=f0,
        )  # fmt: skip

    def _finish(self, wav: np.ndarray) -> np.ndarray:
        """Fades at the ends, and a ceiling for the level."""
        n = min(len(wav) // 2, round(FADE * self.sample_rate))
        ramp = np.linspace(0.0, 1.0, n, dtype=np.float32)
        wav = wav.astype(np.float32, copy=True)
        wav[:n] *= ramp
        wav[len(wav) - n :] *= ramp[::-1]
        peak = float(np.abs(wav).max(initial=0.0))
        if peak > CEILING:
            wav *= CEILING / peak
        return wav

    def _times(
        self, e: Encoded, w: Tensor, hz: Tensor, energy: Tensor, pause: int
    ) -> tuple[list[WordTime], list[PhonemeTime]]:
        """Seconds from the start of a chunk that begins with `pause` frames of silence."""
        ends = ((w.cumsum(0) + pause) / self.settings.audio.frame_rate).tolist()
        starts = [pause / self.settings.audio.frame_rate, *ends[:-1]]
        phonemes = [
            PhonemeTime(s, a, b, f, e)
            for s, a, b, f, e in zip(e.symbols, starts, ends, hz.tolist(), energy.tolist(), strict=True)
        ]
        words = []
        for i, word in enumerate(e.sentence.words):
            own = [j for j, owner in enumerate(e.owners) if owner == i]
            words.append(WordTime(word.text, starts[own[0]], ends[own[-1]]))
        return words, phonemes

    # -- sound ---------------------------------------------------------------------------------------------------

    def _vocode(self, mel: Tensor) -> Tensor:
        return griffin_lim(mel, self.settings.audio) if self.vocoder is None else self.vocoder(mel)

    @torch.inference_mode()
    def vocode(self, mel: np.ndarray) -> np.ndarray:
        """Log-mel [M, T] → wav float32 [T * hop], by the voice's vocoder."""
        return self._vocode(torch.from_numpy(np.asarray(mel, np.float32))[None])[0].numpy()

    @torch.inference_mode()
    def log_mel(self, wav: np.ndarray, rate: int) -> np.ndarray:
        """Log-mel [M, T] of mono samples at `rate` Hz."""
        samples = resample(np.asarray(wav, np.float32), rate, self.sample_rate)
        return LogMel(self.settings.audio)(torch.from_numpy(samples)[None])[0].numpy()

