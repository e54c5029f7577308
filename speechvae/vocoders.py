"""Vocoders by name or path: one that stands alone, a voice's, a training's, or a public one in the format of Vocos."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from speechvae import checkpoint
from speechvae.audio import mel_filters
from speechvae.config import AudioConfig, Settings, VocoderConfig, read_yaml
from speechvae.errors import SpeechVAEError
from speechvae.files import replacing
from speechvae.models.vocoder import FourierVocoder, Vocoder, VocosVocoder
from speechvae.voice_files import SHIPPED, VOCODER, fill_checked, find_voice, read_settings

GRIFFIN_LIM = "griffinlim"
DESCRIPTION = "vocoder.yaml"  # of one that stands alone
VOCOS_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
# Buffers of the published files that hold nothing learnt: checked, then left out.
_FILTERS, _WINDOWS = "feature_extractor.mel_spec.mel_scale.fb", (
    "feature_extractor.mel_spec.spectrogram.window", "head.istft.window",
)  # fmt: skip


def load_vocoder(source: str | Path, audio: AudioConfig | None = None) -> FourierVocoder | None:
    """A vocoder ready to run on the CPU; None = Griffin-Lim, which has no weights.

    Args:
        source: "griffinlim"; the name or folder of a voice; the folder of a vocoder that stands alone; a work folder or
            one of its vocoder checkpoints; a folder (or weights file in one) with the `config.yaml` and weights of a
            public Vocos mel vocoder.
        audio: the mel features it must take; None: whatever it was made for.

    Raises SpeechVAEError where there is no such vocoder, or it is damaged or made for other mel features.
    """
    if str(source) == GRIFFIN_LIM:
        return None
    path = Path(source)
    # Weights themselves may be named, too, where what describes them lies beside.
    weights = path if path.is_file() and path.suffix in (".bin", ".safetensors") else None
    folder = path.parent if weights is not None else path
    state = _checkpoint(folder)
    vocoder: FourierVocoder | None
    if (folder / DESCRIPTION).is_file():
        vocoder = _standing_alone(folder)
    elif (folder / "voice.yaml").is_file() or (not path.exists() and (SHIPPED / str(source) / "voice.yaml").is_file()):
        vocoder = _of_voice(find_voice(folder))
    elif state is not None:
        vocoder = _of_checkpoint(state)
    elif (folder / "config.yaml").is_file():
        vocoder = load_vocos(folder, weights, audio)
    elif path.exists():
        raise SpeechVAEError(
            f"no vocoder in {path}: wanted is the folder of a vocoder ({DESCRIPTION}), of a voice (voice.yaml), of a "
            f"training (checkpoints/vocoder) or of a public Vocos model (config.yaml and {' or '.join(VOCOS_WEIGHTS)})"
        )
    else:
        known = ", ".join([GRIFFIN_LIM, *sorted(p.parent.name for p in SHIPPED.glob("*/voice.yaml"))])
        raise SpeechVAEError(f"no vocoder {str(source)!r}: known are {known}; or give the path of a folder")
    if audio is not None and vocoder is not None:
        audio.check(vocoder.audio, f"the vocoder {source}")
    return None if vocoder is None else vocoder.eval()


def describe(vocoder: FourierVocoder | None) -> str:
    """What it is and how much of the mel a sample depends on, as `speechvae info` shows it."""
    if vocoder is None:
        return "griffinlim (a sample depends on the whole clip)"
    kind = "vocos" if isinstance(vocoder, VocosVocoder) else "network"
    field = f"{vocoder.receptive_field} frames, {1000 * vocoder.receptive_seconds:.0f} ms"
    return f"{kind} (receptive field {field})"


class VocoderSettings(Settings):
    """`vocoder.yaml`."""

    format: int = 1
    name: str
    description: str = ""
    audio: AudioConfig = AudioConfig()
    vocoder: VocoderConfig = VocoderConfig()


def _standing_alone(folder: Path) -> Vocoder:
    settings = VocoderSettings.load(folder / DESCRIPTION)
    vocoder = Vocoder(settings.audio, settings.vocoder)
    fill_checked(vocoder, folder / VOCODER, settings.audio)
    return vocoder


def export_vocoder(work: str | Path, folder: str | Path) -> Path:
    """Make a vocoder that stands alone of a work folder: EMA weights in half precision. A card in `folder` is kept.

    Raises SpeechVAEError where the stage was not trained.
    """
    found = _checkpoint(Path(work))
    if found is None:
        raise SpeechVAEError(f"no checkpoint of stage vocoder in {work}: run `speechvae train --stage vocoder`")
    config = json.loads((found / "state.json").read_text(encoding="utf-8"))["config"]
    return save_vocoder(_of_checkpoint(found), config["name"], folder, config["description"])


def save_vocoder(vocoder: Vocoder, name: str, folder: str | Path, description: str = "") -> Path:
    """Write the folder of a vocoder that stands alone: weights in half precision. A card in it is kept."""
    import yaml

    folder = Path(folder)
    checkpoint.save_weights(folder / VOCODER, vocoder.state_dict(), half=True, mark=vocoder.audio.fingerprint())
    settings = VocoderSettings(name=name, description=description, audio=vocoder.audio, vocoder=vocoder.cfg)
    data = settings.model_dump(mode="json")
    data["vocoder"].pop("train")  # how it was trained stands in the recipe
    with replacing(folder / DESCRIPTION) as part:
        part.write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return folder


def _of_voice(folder: Path) -> Vocoder | None:
    settings = read_settings(folder)
    if settings.vocoder_kind == GRIFFIN_LIM:
        return None
    vocoder = Vocoder(settings.audio, settings.vocoder)
    fill_checked(vocoder, folder / VOCODER, settings.audio)
    return vocoder


def _checkpoint(folder: Path) -> Path | None:
    """The checkpoint in a work folder, in its `checkpoints/vocoder` or in that one's `last`."""
    for place in (folder / "checkpoints" / "vocoder" / "last", folder / "last", folder):
        if (place / "state.json").is_file():
            return place
    return None


def _of_checkpoint(folder: Path) -> Vocoder:
    """The average weights of a training's checkpoint. Of its configuration only what a vocoder needs is read."""
    path = folder / "state.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))["config"]
        audio = AudioConfig.model_validate(config["audio"])
        cfg = VocoderConfig.model_validate(config["vocoder"])
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise SpeechVAEError(f"{path} cannot be read as a vocoder's checkpoint: {e}") from e
    vocoder = Vocoder(audio, cfg)
    checkpoint.fill(vocoder, checkpoint.load_weights(folder / "ema.safetensors", "vocoder"), str(folder))
    return vocoder


def load_vocos(folder: Path, weights: Path | None = None, wanted: AudioConfig | None = None) -> VocosVocoder:
    """A public mel vocoder in the layout of Vocos: `config.yaml` and `model.safetensors` or `pytorch_model.bin`.

    `weights`: a file of another name; `wanted`: the mel features it must take. Raises SpeechVAEError for other kinds
    of Vocos (EnCodec features, conditions, MDCT heads), features that ours cannot stand for, and damaged files.
    """
    where = folder / "config.yaml"
    config = read_yaml(where)
    features = _arguments(config, "feature_extractor", "MelSpectrogramFeatures", where)
    body = _arguments(config, "backbone", "VocosBackbone", where)
    head = _arguments(config, "head", "ISTFTHead", where)
    audio = _features(features, where)
    if wanted is not None:
        wanted.check(audio, f"the vocoder {folder}")
    try:
        sizes = [int(body[k]) for k in ("dim", "intermediate_dim", "num_layers")]
        wrong = {
            "backbone.input_channels": (int(body["input_channels"]), audio.n_mels),
            "head.dim": (int(head["dim"]), sizes[0]), "head.n_fft": (int(head["n_fft"]), audio.n_fft),
            "head.hop_length": (int(head["hop_length"]), audio.hop),
            # Frames centred elsewhere than the head puts them would come out half a hop away.
            "head.padding": (head.get("padding", "same"), features.get("padding", "center")),
        }  # fmt: skip
    except (KeyError, TypeError, ValueError) as e:
        raise SpeechVAEError(f"{where}: a size is missing or not a number ({e})") from e
    if body.get("adanorm_num_embeddings") is not None:
        raise SpeechVAEError(f"{where}: conditioned models (adanorm_num_embeddings) cannot be used, only mel vocoders")
    for key, (found, wanted) in wrong.items():
        if found != wanted:
            raise SpeechVAEError(f"{where}: {key} is {found}, which does not go with {wanted} elsewhere in the file")
    if min(sizes) < 1:
        raise SpeechVAEError(f"{where}: the backbone's sizes must be positive")
    vocoder = VocosVocoder(audio, *sizes)
    path = _weights_in(folder) if weights is None else weights
    checkpoint.fill(vocoder, _learnt(_read(path), audio, path), str(path))
    return vocoder


def _arguments(config: dict[str, Any], part: str, kind: str, where: Path) -> dict[str, Any]:
    """`init_args` of one part, which must be of the class `kind`."""
    entry = config.get(part)
    name = entry.get("class_path") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(name, str):
        raise SpeechVAEError(f"{where} has no {part} with a class_path: it does not describe a Vocos model")
    if name.rsplit(".", 1)[-1] != kind:
        raise SpeechVAEError(f"{where}: {part} is a {name}; only mel vocoders with a {kind} can be used")
    arguments = entry.get("init_args")
    return dict(arguments) if isinstance(arguments, dict) else {}


def _features(given: dict[str, Any], where: Path) -> AudioConfig:
    """The mel features described by `init_args` of MelSpectrogramFeatures, whose defaults are those of torchaudio."""
    given = dict(given)
    scale, norm = given.pop("mel_scale", "htk"), given.pop("norm", None)
    padding = given.pop("padding", "center")
    if scale != "htk" or norm is not None:
        raise SpeechVAEError(f"{where}: mel bands of scale {scale}, norm {norm} are not ours (scale htk, no norm)")
    if padding not in ("center", "same"):
        raise SpeechVAEError(f"{where}: padding must be center or same, not {padding!r}")
    names = {"hop_length": "hop"}
    try:
        return AudioConfig.model_validate({names.get(k, k): v for k, v in given.items()})
    except ValidationError as e:
        problems = ", ".join(f"{'.'.join(map(str, x['loc']))}: {x['msg']}" for x in e.errors())
        raise SpeechVAEError(f"{where} describes mel features that are unknown here ({problems})") from e


def _weights_in(folder: Path) -> Path:
    for name in VOCOS_WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise SpeechVAEError(f"{folder} has a config.yaml but no weights: {' or '.join(VOCOS_WEIGHTS)} belongs beside it")


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors or a torch file, as float32."""
    if path.suffix == ".safetensors":
        return checkpoint.load_weights(path, "vocoder")
    try:
        # weights_only: the pickle may build tensors and plain containers and call nothing else, so that a file from
        # the internet cannot run code.
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as e:
        raise SpeechVAEError(f"{path} is damaged, or holds more than tensors: {str(e).splitlines()[0]}") from e
    found = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise SpeechVAEError(f"{path} does not hold a state dict: names and tensors")
    return {str(k): v.float() for k, v in found.items()}


def _learnt(tensors: dict[str, Tensor], audio: AudioConfig, path: Path) -> dict[str, Tensor]:
    """What was trained; the tables in the file must be those that its configuration, and so this code, computes."""
    expected = {_FILTERS: mel_filters(audio), **dict.fromkeys(_WINDOWS, torch.hann_window(audio.n_fft))}
    for name, table in expected.items():
        found = tensors.get(name)
        if found is not None and (found.shape != table.shape or not torch.allclose(found, table, atol=1e-4)):
            raise SpeechVAEError(
                f"{path} was made with other mel features than its config.yaml says ({name} differs): it cannot be used"
            )
    return {k: v for k, v in tensors.items() if k.startswith(("backbone.", "head.out."))}
