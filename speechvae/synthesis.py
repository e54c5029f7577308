"""From text to speech: voices, readings, streaming. Nothing of training is imported here."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechvae.audio import LogMel, griffin_lim, resample
from speechvae.errors import SpeechVAEError
from speechvae.models.decoder import Prosody
from speechvae.models.speech_vae import F0_SCALE, Latents, SpeechVAE
from speechvae.models.vocoder import Vocoder
from speechvae.nn import gaussian
from speechvae.sound import Audio, AudioChunk, PhonemeTime, WordTime
from speechvae.takes import Reading, Take, text_fingerprint
from speechvae.text import Sentence, SymbolTable, get_frontend
from speechvae.voice_files import VoiceInfo, VoiceSettings, find_voice, list_voices, load_models

__all__ = ["Audio", "AudioChunk", "Take", "Voice", "VoiceInfo", "list_voices"]

SILENCE = 0.2  # s, what a text without words sounds like
SENTENCE_PAUSE = 0.15  # s, between the sentences of one text, beside the silence each sentence carries
EDGE = 0.2  # s, the longest silence before the first and after the last phoneme
FADE = 0.005  # s, at the ends of each chunk
CEILING = 0.97  # of full scale; a louder chunk is turned down as a whole
LARGEST_SEED = 2**63 - 1


class Voice:
    """A loaded voice. `say` and `stream` read text; `perform` replays a take.

    Not thread safe: give each thread its own, or a lock.
    """

    def __init__(self, settings: VoiceSettings, model: SpeechVAE, vocoder: Vocoder | None) -> None:
        self.settings, self.model, self.vocoder = settings, model.eval(), vocoder
        if vocoder is not None:
            vocoder.eval()
        self.symbols = SymbolTable(settings.symbols)
        self._frontend: Any = None

    @classmethod
    def load(cls, name_or_path: str | Path = "kathleen", lexicon: Any = None) -> Voice:
        """A shipped voice by name, or any folder with a `voice.yaml`.

        Raises SpeechVAEError where the voice is unknown, unreadable, damaged or made with other mel features.
        """
        settings, model, vocoder = load_models(find_voice(name_or_path))
        voice = cls(settings, model, vocoder)
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
            "vocoder": s.vocoder_kind, "parameters": count, "audio_fingerprint": s.audio.fingerprint(),
            "temperature": s.temperature, "style_temperature": s.style_temperature, "stats": self.stats,
        }  # fmt: skip

    # -- speaking ------------------------------------------------------------------------------------------------

    def say(
        self, text: str, *, seed: int | None = None, speaker: str | None = None, temperature: float | None = None,
        style_temperature: float | None = None, length_scale: float = 1.0, ssml: bool = False,
    ) -> Audio:  # fmt: skip
        """Read a text. Same arguments and seed = same samples; no seed = a new reading, whose seed is reported.

        Args:
            speaker: one of `speakers`.
            temperature: variation of phonemes, times the prior's standard deviation; 0 = the most expected.
            style_temperature: the same for the utterance as a whole.
            length_scale: > 1 is slower.
            ssml: `text` is SSML.
        """
        started = time.perf_counter()
        take = self._new_take(text, seed, speaker, temperature, style_temperature, length_scale, ssml)
        return Audio.join(list(self._chunks(take)), take, time.perf_counter() - started)

    def stream(
        self, text: str, *, seed: int | None = None, speaker: str | None = None, temperature: float | None = None,
        style_temperature: float | None = None, length_scale: float = 1.0, ssml: bool = False,
    ) -> Iterator[AudioChunk]:  # fmt: skip
        """The same reading as `say`, sentence by sentence; memory does not grow with the text."""
        take = self._new_take(text, seed, speaker, temperature, style_temperature, length_scale, ssml)
        return self._chunks(take)

    def perform(self, take: Take) -> Audio:
        """Replay a take. Its latents must belong to this voice and to its text."""
        started = time.perf_counter()
        if take.voice != self.name:
            raise SpeechVAEError(f"this take was made with the voice {take.voice!r}, not {self.name!r}: load that one")
        self._check_speaker(take.speaker)
        return Audio.join(list(self._chunks(take, take.readings)), take, time.perf_counter() - started)

    def _new_take(
        self, text: str, seed: int | None, speaker: str | None, temperature: float | None,
        style_temperature: float | None, length_scale: float, ssml: bool,
    ) -> Take:  # fmt: skip
        if not isinstance(text, str):
            raise SpeechVAEError(f"text must be a string, not {type(text).__name__}")
        seed = secrets.randbelow(2**31) if seed is None else seed
        if not isinstance(seed, int) or not 0 <= seed <= LARGEST_SEED:
            raise SpeechVAEError(f"seed must be a whole number from 0 to {LARGEST_SEED}, not {seed!r}")
        speaker = self.default_speaker if speaker is None else self._check_speaker(speaker)
        temperature = self.settings.temperature if temperature is None else temperature
        style = self.settings.style_temperature if style_temperature is None else style_temperature
        for name, value, low, high in (
            ("temperature", temperature, 0.0, 3.0), ("style_temperature", style, 0.0, 3.0),
            ("length_scale", length_scale, 0.25, 4.0),
        ):  # fmt: skip
            if not (math.isfinite(value) and low <= value <= high):
                raise SpeechVAEError(f"{name} must lie between {low} and {high}, not {value}")
        return Take(text, self.name, speaker, seed, temperature, style, length_scale, ssml)

    def _check_speaker(self, speaker: str) -> str:
        if speaker not in self.settings.speakers:
            raise SpeechVAEError(f"{self.name} has no speaker {speaker!r}; it has {', '.join(self.settings.speakers)}")
        return speaker

    def _chunks(self, take: Take, readings: list[Reading] | None = None) -> Iterator[AudioChunk]:
        """One chunk a sentence. Each chunk's `take` holds the latents of its own sentence."""
        if self._frontend is None:
            self._frontend = get_frontend(self.language)
        at, index = 0, 0
        for index, sentence in enumerate(self._frontend.stream(take.text, ssml=take.ssml), start=1):
            reading = None
            if readings is not None:
                if index > len(readings):
                    raise SpeechVAEError("the take has fewer sentences than its text: the file was changed by hand")
                reading = readings[index - 1]
            chunk = self._speak(sentence, take, index - 1, reading)
            chunk.start = at / self.sample_rate
            at += len(chunk.wav)
            yield chunk
        if index == 0:
            yield AudioChunk.silence(SILENCE, self.settings.audio, take)

    @torch.inference_mode()
    def _speak(self, sentence: Sentence, take: Take, index: int, reading: Reading | None) -> AudioChunk:
        symbols, owners = sentence.symbols()
        x = torch.tensor([self.symbols.encode(symbols, nearest=True)])
        speaker = torch.tensor([self.settings.speakers.index(take.speaker)])
        x_mask = torch.ones(1, 1, x.shape[1], dtype=torch.bool)
        h, g = self.model.encode(x, x_mask, speaker)
        mark = text_fingerprint(symbols)
        if reading is None:
            z = self._draw(h, x_mask, g, take, index)
        elif reading.fingerprint != mark or reading.z_p.shape[1] != len(symbols):
            raise SpeechVAEError(f"the take's latents do not belong to {sentence.text!r}: its text was changed")
        else:
            z = Latents(torch.from_numpy(reading.z_u)[None], torch.from_numpy(reading.z_p)[None])
        prosody = self.model.prosody(h, x_mask, z, g)
        w = self._durations(prosody, sentence, owners, take.length_scale, first=index == 0)
        apply_marks(prosody, sentence, owners)
        mel = self.model.decode(h, z, g, prosody, w)
        audio = self.settings.audio
        pause = round(SENTENCE_PAUSE * audio.frame_rate) if index > 0 else 0
        wav = np.pad(self._finish(self._vocode(mel)[0].numpy()), (pause * audio.hop, 0))
        latents = Reading(sentence.text, mark, z.z_u[0].numpy().copy(), z.z_p[0].numpy().copy())
        hz = self.model.f0_hz(prosody.f0, speaker)[0, 0] * (prosody.vuv[0, 0] >= 0.5)
        words, phonemes = self._times(sentence, symbols, owners, w[0], hz, prosody.energy[0, 0], pause)
        f0 = np.pad(np.repeat(hz.numpy(), w[0].numpy()).astype(np.float32), (pause, 0))
        picture = np.pad(mel[0].numpy(), ((0, 0), (pause, 0)), constant_values=math.log(audio.floor))
        return AudioChunk(
            wav=wav, sample_rate=self.sample_rate, words=words, text=sentence.text, index=index, start=0.0,
            take=Take(**{**take.__dict__, "readings": [latents]}), mel=picture, phonemes=phonemes, f0=f0,
        )  # fmt: skip

    def _draw(self, h: Tensor, x_mask: Tensor, g: Tensor, take: Take, index: int) -> Latents:
        """A reading from the prior. All sentences of a text share the noise of z_u: one mood, not a shuffle."""
        style = torch.Generator().manual_seed(take.seed)
        _, z_u = self.model.prior(h, x_mask, g, None, take.style_temperature, style)
        p, _ = self.model.prior(h, x_mask, g, z_u)
        fine = torch.Generator().manual_seed((take.seed * 1_000_003 + index + 1) % LARGEST_SEED)
        return Latents(z_u, gaussian.sample(p.m_p, p.logs_p, take.temperature, fine))

    def _durations(
        self, prosody: Prosody, sentence: Sentence, owners: list[int], length_scale: float, first: bool
    ) -> Tensor:
        """Whole frames [1, N]: each at least 1, their running sum rounded, so that no length is lost or gained."""
        w = prosody.logw[0, 0].exp().clamp(0.5, 400.0) * length_scale
        rate = self.settings.audio.frame_rate
        for i, owner in enumerate(owners):
            if owner >= 0:
                w[i] = w[i] / sentence.words[owner].rate
        after = [i + 1 for i in range(len(owners) - 1) if owners[i] >= 0 and owners[i + 1] != owners[i]]
        for place, seconds in zip(after, sentence.break_after, strict=True):
            if seconds is not None:
                w[place] = max(float(w[place]), seconds * rate)
        w[0] = w[0].clamp_max(EDGE * rate) + sentence.break_before * rate
        w[-1] = w[-1].clamp_max(EDGE * rate)
        ends = w.cumsum(0).round().long()
        whole = ends.diff(prepend=ends.new_zeros(1))
        return whole.clamp_min(1)[None]

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
        self, sentence: Sentence, symbols: list[str], owners: list[int], w: Tensor, hz: Tensor, energy: Tensor,
        pause: int,
    ) -> tuple[list[WordTime], list[PhonemeTime]]:  # fmt: skip
        """Seconds from the start of a chunk that begins with `pause` frames of silence."""
        ends = ((w.cumsum(0) + pause) / self.settings.audio.frame_rate).tolist()
        starts = [pause / self.settings.audio.frame_rate, *ends[:-1]]
        phonemes = [
            PhonemeTime(s, a, b, f, e)
            for s, a, b, f, e in zip(symbols, starts, ends, hz.tolist(), energy.tolist(), strict=True)
        ]
        words = []
        for i, word in enumerate(sentence.words):
            own = [j for j, owner in enumerate(owners) if owner == i]
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


def apply_marks(prosody: Prosody, sentence: Sentence, owners: list[int]) -> None:
    """Put SSML's pitch and emphasis into predicted prosody, in place. Emphasis 1: two semitones and 3 dB up."""
    for i, owner in enumerate(owners):
        word = sentence.words[owner] if owner >= 0 else None
        if word is not None and (word.pitch or word.emphasis):
            prosody.f0[0, 0, i] += (word.pitch + 2 * word.emphasis) * math.log(2) / 12 / F0_SCALE
            prosody.energy[0, 0, i] += 0.35 * word.emphasis
