"""Voices on disk: a folder with `voice.yaml`, `acoustic.safetensors` and, unless Griffin-Lim, `vocoder.safetensors`.

What starts from a recording (transfer, repair, audit) needs `aligner.safetensors` too, which is read when it is used.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from speechvae import checkpoint
from speechvae.config import AlignerConfig, AudioConfig, Settings, VAEConfig, VocoderConfig
from speechvae.errors import SpeechVAEError
from speechvae.models.aligner import Aligner
from speechvae.models.speech_vae import SpeechVAE
from speechvae.models.vocoder import Vocoder

SHIPPED = Path(__file__).parent / "voices"
ACOUSTIC, VOCODER, ALIGNER = "acoustic.safetensors", "vocoder.safetensors", "aligner.safetensors"


class Axis(Settings):
    """A direction in the latents that moves one property of a reading by one standard deviation of the training set.

    z_u [Du] is added to the utterance latent, z_p [Dp] to every phoneme's; `sd` is that standard deviation, in `unit`.
    """

    z_u: list[float]
    z_p: list[float]
    sd: float
    unit: str


class VoiceSettings(Settings):
    """`voice.yaml`."""

    format: int = 1
    name: str
    language: str
    description: str = ""
    speakers: list[str] = Field(min_length=1)
    default_speaker: str
    symbols: list[str] = Field(min_length=4)
    temperature: float = 1.0
    style_temperature: float = 1.0
    expansion: float = Field(
        1.0, ge=0.5, le=2.0, description="of drawn readings' f0 movement: their contours are flatter than a speaker's"
    )
    vocoder_kind: str = Field("network", pattern="^(network|griffinlim)$")
    audio: AudioConfig = AudioConfig()
    vae: VAEConfig = VAEConfig()
    vocoder: VocoderConfig = VocoderConfig()
    aligner: AlignerConfig | None = Field(None, description="None: the voice cannot listen to recordings")
    axes: dict[str, Axis] = Field(default_factory=dict, description="directions of pitch, range, rate, energy")
    stats: dict[str, float] = Field(default_factory=dict, description="figures of the last evaluation on the dev split")


@dataclass(frozen=True)
class VoiceInfo:
    name: str
    language: str
    speakers: list[str]
    path: Path
    description: str


def list_voices(folder: Path | None = None) -> list[VoiceInfo]:
    """The shipped voices, or those in another folder."""
    out = []
    for path in sorted((SHIPPED if folder is None else folder).glob("*/voice.yaml")):
        s = read_settings(path.parent)
        out.append(VoiceInfo(s.name, s.language, s.speakers, path.parent, s.description))
    return out


def find_voice(name_or_path: str | Path) -> Path:
    """The folder of a voice given by name or path."""
    for folder in (Path(name_or_path), SHIPPED / str(name_or_path)):
        if (folder / "voice.yaml").is_file():
            return folder
    if Path(name_or_path).exists():
        raise SpeechVAEError(f"{name_or_path} is not a voice: it has no voice.yaml (`speechvae export` writes one)")
    known = ", ".join(v.name for v in list_voices()) or "none is installed"
    raise SpeechVAEError(f"no voice {str(name_or_path)!r}: known voices: {known}; or give the path of a voice folder")


def read_settings(folder: Path) -> VoiceSettings:
    """Read and validate `voice.yaml`."""
    path = folder / "voice.yaml"
    settings = VoiceSettings.load(path)
    if settings.default_speaker not in settings.speakers:
        raise SpeechVAEError(f"{path}: default_speaker {settings.default_speaker!r} is not among the speakers")
    return settings


def load_models(folder: Path) -> tuple[VoiceSettings, SpeechVAE, Vocoder | None]:
    """The settings and models of a voice folder, checked against each other."""
    # oneDNN keeps a prepared kernel for every new sentence length, 1,024 of them by itself: 200 MB over a book. A
    # quarter is as fast. It reads this once, at its first use; a user's own setting stays.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
    settings = read_settings(folder)
    model = SpeechVAE(settings.audio, settings.vae, len(settings.symbols), len(settings.speakers))
    fill_checked(model, folder / ACOUSTIC, settings.audio)
    if settings.vocoder_kind == "griffinlim":
        return settings, model, None
    vocoder = Vocoder(settings.audio, settings.vocoder)
    fill_checked(vocoder, folder / VOCODER, settings.audio)
    return settings, model, vocoder


def load_aligner(folder: Path, settings: VoiceSettings) -> Aligner:
    """The aligner of a voice folder; SpeechVAEError where it has none."""
    if settings.aligner is None:
        raise SpeechVAEError(
            f"the voice {settings.name} has no aligner, without which no recording can be followed: train the stage "
            "(`speechvae train --stage aligner`) and `speechvae export` again"
        )
    aligner = Aligner(settings.audio.n_mels, len(settings.symbols), settings.aligner)
    fill_checked(aligner, folder / ALIGNER, settings.audio)
    return aligner.eval()


def fill_checked(module: torch.nn.Module, path: Path, audio: AudioConfig) -> None:
    """Fill a module from a weights file of a voice. Raises SpeechVAEError where it was trained on other features."""
    tensors = checkpoint.load_weights(path, "voice")
    found = checkpoint.fingerprint(path)
    if found is not None and found != audio.fingerprint():
        raise SpeechVAEError(
            f"{path} was trained on other mel features (fingerprint {found}) than voice.yaml says "
            f"({audio.fingerprint()}): restore the audio settings, or use weights made with these"
        )
    checkpoint.fill(module, tensors, str(path))


def save_voice(
    folder: Path, settings: VoiceSettings, model: SpeechVAE, vocoder: Vocoder | None, aligner: Aligner | None = None
) -> Path:
    """Write a voice folder, weights in half precision. Anything else in the folder (its card) is kept.

    Without `aligner` the one in the folder stays if the settings describe it, and goes if not.
    """
    mark = settings.audio.fingerprint()
    own = SpeechVAE(settings.audio, settings.vae, len(settings.symbols), len(settings.speakers)).state_dict()
    weights = {k: v for k, v in model.state_dict().items() if k in own}
    checkpoint.save_weights(folder / ACOUSTIC, weights, half=True, mark=mark)
    if vocoder is not None:
        checkpoint.save_weights(folder / VOCODER, vocoder.state_dict(), half=True, mark=mark)
    else:
        (folder / VOCODER).unlink(missing_ok=True)
    if aligner is not None:
        settings = settings.model_copy(update={"aligner": aligner.cfg})
        checkpoint.save_weights(folder / ALIGNER, aligner.state_dict(), half=True, mark=mark)
    elif settings.aligner is None or not (folder / ALIGNER).is_file():
        settings = settings.model_copy(update={"aligner": None})
        (folder / ALIGNER).unlink(missing_ok=True)
    data = settings.model_dump(mode="json")
    for part in ("vae", "vocoder") if settings.aligner is None else ("vae", "vocoder", "aligner"):
        data[part].pop("train")  # how it was trained stands in the recipe
    write_settings(folder, data)
    return folder


def write_settings(folder: Path, data: dict[str, Any]) -> Path:
    """Write `voice.yaml`; it appears whole or not at all."""
    import yaml

    path = folder / "voice.yaml"
    tmp = folder / f".voice.yaml.{os.getpid()}.part"
    tmp.write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), encoding="utf-8")
    os.replace(tmp, path)
    return path


def tiny_voice(seed: int) -> tuple[VoiceSettings, SpeechVAE, Vocoder]:
    """Tiny models with random weights over the English symbols."""
    vae = VAEConfig(
        hidden=16, text_layers=1, text_heads=2, speaker_dim=4, z_u_dim=4, z_p_dim=2, posterior_dim=16,
        posterior_layers=1, prior_layers=1, head_layers=1, decoder_dim=16, decoder_layers=1,
    )  # fmt: skip
    vowels = ["aɪ", "aʊ", "eɪ", "oʊ", "ɔɪ", *"iuæɑɔəɚɛɪʊʌ"]
    consonants = ["d͡ʒ", "t͡ʃ", *"bdfhjklmnpstvwzðŋɡɹʃʒθ"]
    stressed = [mark + v for mark in ("", "ˈ", "ˌ") for v in vowels]
    symbols = ["_", "^", "$", " ", *",.?!;:…—", *sorted(consonants + stressed)]
    settings = VoiceSettings(
        name="test", language="en-us", description="random weights, for tests", speakers=["one", "two"],
        default_speaker="one", symbols=symbols, vae=vae, vocoder=VocoderConfig(dim=16, layers=1),
    )  # fmt: skip
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    try:
        model = SpeechVAE(settings.audio, vae, len(symbols), 2)
        vocoder = Vocoder(settings.audio, settings.vocoder)
    finally:
        torch.random.set_rng_state(state)
    return settings, model.eval(), vocoder.eval()
