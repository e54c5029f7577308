"""Validated settings, read from YAML. Unknown keys are errors, so a typing slip never trains a wrong model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from speechvae.errors import SpeechVAEError


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", validate_assignment=True, protected_namespaces=())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a YAML file; the error names each wrong key."""
        return cls.parse(read_yaml(path), str(path))

    @classmethod
    def parse(cls, data: dict[str, Any], where: str) -> Self:
        try:
            return cls.model_validate(data)
        except ValidationError as e:
            lines = [f"  {'.'.join(map(str, x['loc'])) or '(top)'}: {x['msg']}" for x in e.errors()]
            raise SpeechVAEError(f"{where} has settings that do not fit:\n" + "\n".join(lines)) from e


class AudioConfig(Settings):
    """The mel features of the published 24 kHz Vocos models (`torchaudio` MelSpectrogram, power 1, HTK, centred)."""

    sample_rate: int = Field(24000, gt=0)
    n_fft: int = Field(1024, gt=0)
    hop: int = Field(256, gt=0)
    n_mels: int = Field(100, gt=0)
    f_min: float = Field(0.0, ge=0)
    f_max: float | None = None
    floor: float = Field(1e-7, gt=0, description="magnitudes are clipped here before the logarithm")

    @property
    def frame_rate(self) -> float:
        """Mel frames per second."""
        return self.sample_rate / self.hop

    def fingerprint(self) -> str:
        """Twelve hex digits that change with any setting: stored with every cache and model."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()[:12]

    def check(self, other: AudioConfig, what: str) -> None:
        """Raise when `other`, the features of `what`, are not these features."""
        if self.fingerprint() != other.fingerprint():
            mine, theirs = self.model_dump(), other.model_dump()
            diff = ", ".join(f"{k}: {theirs[k]} instead of {mine[k]}" for k in mine if mine[k] != theirs[k])
            raise SpeechVAEError(
                f"{what} was made with other mel features ({diff}). "
                "Prepare the corpus again, or use a model with the same audio settings."
            )


class PrepareConfig(Settings):
    """How recordings are made ready."""

    level_kept: float = Field(
        1 / 3, ge=0, le=1, description="share of a clip's distance (dB) from its speaker's median level that is kept"
    )


class TrainConfig(Settings):
    """How one stage is trained. Lengths of time are optimiser steps."""

    steps: int = Field(1000, gt=0)
    batch_size: int = Field(16, gt=0)
    segment_frames: int = Field(0, ge=0, description="frames cut from each clip (vocoder); 0 = the whole clip")
    lr: float = Field(1e-3, gt=0)
    critic_lr: float | None = Field(None, gt=0, description="of the critics; None = lr")
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = Field(0.01, ge=0)
    warmup_steps: int = Field(100, ge=0)
    decay_fraction: float = Field(0.25, ge=0, le=1, description="last share of the steps: lr falls linearly to 0")
    grad_clip: float = Field(1.0, gt=0)
    ema_decay: float = Field(0.999, ge=0, lt=1)
    log_every: int = Field(50, gt=0)
    eval_every: int = Field(500, gt=0)
    checkpoint_every: int = Field(500, gt=0)
    eval_batches: int = Field(8, gt=0)
    seed: int = 1
    precision: str = Field(
        "auto", pattern="^(auto|fp32|bf16)$",
        description="bf16: half-width matrix products wherever the processor has instructions for them; auto: on GPUs",
    )  # fmt: skip
    loss_weights: dict[str, float] = Field(default_factory=dict, description="overrides of the stage's weights")


class AlignerConfig(Settings):
    dim: int = 128
    layers: int = 4
    kernel: int = 5
    prior_scale: float = Field(0.3, ge=0, description="share of the label log prior that is taken off the scores")
    frames_from: int = Field(800, ge=0, description="step at which the frame head starts to learn from CTC's path")
    viterbi_from: int = Field(1600, ge=0, description="step at which the frame head learns from its own best path")
    train: TrainConfig = TrainConfig(steps=2200, batch_size=8, lr=2e-3, ema_decay=0.99)


class VAEConfig(Settings):
    """Sizes and rates of the conditional VAE. Capacities are in nats per utterance / per phoneme."""

    hidden: int = 192
    text_layers: int = 4
    text_heads: int = 3
    speaker_dim: int = 32
    sentence_encoder: str | None = Field(None, description="a `transformers` text encoder, by name or folder: meaning")
    sentence_dim: int = Field(0, ge=0, description="size of its embeddings; filled in when training starts")
    z_u_dim: int = 16
    z_p_dim: int = 8
    posterior_dim: int = 128
    posterior_layers: int = 3
    prior_layers: int = 2
    flow_layers: int = Field(4, ge=0, description="couplings of the flow in p(z_p | h, z_u); 0 = a plain Gaussian")
    flow_dim: int = 96
    prior_dropout: float = Field(0.3, ge=0, lt=1, description="of the text as the priors see it")
    head_layers: int = 2
    decoder_dim: int = 256
    decoder_layers: int = 5
    decoder_mult: int = 2
    dropout: float = 0.1
    adversarial_from: int | None = Field(None, description="step at which the mel critic joins; None = never")
    critic_channels: int = 24
    capacity_u: float = Field(12.0, ge=0, description="nats an utterance that z_u may carry")
    capacity_p: float = Field(1.5, ge=0, description="nats a phoneme that z_p may carry")
    train: TrainConfig = TrainConfig(steps=6000, batch_size=8, lr=1e-3)


class VocoderConfig(Settings):
    dim: int = 256
    layers: int = 8
    mult: int = 3
    amplitude_prior: bool = Field(True, description="add the log pseudo-inverse-mel amplitude (FreeV, 2406.08196)")
    refinements: int = Field(0, ge=0, description="Griffin-Lim steps from the predicted phase, trained through")
    adversarial_from: int | None = Field(None, description="step at which the critics join; None = never")
    critic_channels: int = 16
    critic_clips: int | None = Field(None, gt=0, description="the critics hear the first so many of a batch; None: all")
    mel_source: str = Field("recordings", pattern="^(recordings|vae)$")
    vae_share: float = Field(0.5, ge=0, le=1, description="of a batch, its first cuts: their mels are the VAE's")
    vary: float = Field(0.0, ge=0, le=1, description="share of the cuts at another speed and through an equaliser")
    train: TrainConfig = TrainConfig(steps=20000, batch_size=8, segment_frames=64, lr=5e-4, betas=(0.8, 0.99))


class TextVAEConfig(Settings):
    """Sizes and rates of the text VAE. Lengths of texts are in tokens, rates in nats."""

    vocab: int = Field(6000, gt=300, description="tokens that the tokenizer may learn")
    hidden: int = 256
    heads: int = 4
    mult: int = Field(3, gt=0, description="width of the feed-forward layers, in hidden sizes")
    encoder_layers: int = 2
    decoder_layers: int = 4
    dropout: float = Field(0.1, ge=0, lt=1)
    z_dim: int = Field(32, gt=0, description="of the sentence latent")
    components: int = Field(8, gt=0, description="Gaussians in p(z | context)")
    spread: float = Field(
        0.75, gt=0, le=1, description="standard deviation of the posterior means over all texts, held fixed: z is used"
    )  # fmt: skip
    free_nats: float = Field(0.25, ge=0, description="nats that each unit of z may carry free of charge")
    kl_warmup: int = Field(500, ge=0, description="steps in which the weight of the KL rises to 1")
    kl_cycles: int = Field(1, ge=1, description="how often it rises; each rise is followed by as many steps at 1")
    word_dropout: float = Field(0.1, ge=0, lt=1, description="share of the decoder's input tokens that are hidden")
    sentence_tokens: int = Field(64, gt=4, description="longer sentences are not trained on, nor written")
    context_turns: int = Field(2, gt=0)
    context_tokens: int = Field(64, gt=4, description="of a context the last so many are read")
    train: TrainConfig = TrainConfig(steps=6000, batch_size=64, lr=1e-3, grad_clip=20.0)

    @model_validator(mode="after")
    def _heads_divide(self) -> TextVAEConfig:
        if self.hidden % (2 * self.heads):
            raise ValueError(f"hidden {self.hidden} must be a multiple of twice heads {self.heads}")
        return self


class Config(Settings):
    """Everything a recipe sets: `config.yaml`."""

    name: str = "voice"
    language: str = "en-us"
    description: str = ""
    default_speaker: str | None = None
    audio: AudioConfig = AudioConfig()
    prepare: PrepareConfig = PrepareConfig()
    aligner: AlignerConfig = AlignerConfig()
    vae: VAEConfig = VAEConfig()
    vocoder: VocoderConfig = VocoderConfig()
    text_vae: TextVAEConfig = TextVAEConfig()

    @model_validator(mode="after")
    def _heads_divide(self) -> Config:
        if self.vae.hidden % self.vae.text_heads:
            raise ValueError(f"vae.hidden {self.vae.hidden} must be a multiple of vae.text_heads {self.vae.text_heads}")
        return self


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A YAML file whose top level is a mapping."""
    import yaml

    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise SpeechVAEError(f"no configuration file at {path}") from e
    except (yaml.YAMLError, UnicodeDecodeError) as e:
        raise SpeechVAEError(f"{path} is not valid YAML: {e}") from e
    if not isinstance(data, dict):
        raise SpeechVAEError(f"{path} must hold `key: value` settings at its top level")
    return data
