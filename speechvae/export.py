"""From trained stages to a voice folder."""

from __future__ import annotations

from pathlib import Path

from speechvae import checkpoint
from speechvae.config import Config
from speechvae.dataset import read_names
from speechvae.errors import SpeechVAEError
from speechvae.models.speech_vae import SpeechVAE
from speechvae.models.vocoder import Vocoder
from speechvae.voice_files import VoiceSettings, save_voice


def export_voice(work: str | Path, folder: str | Path, vocoder_kind: str = "network") -> Path:
    """Make a voice from a work folder: the EMA weights of the last checkpoints, in half precision.

    `vocoder_kind`: "network" (the trained vocoder) or "griffinlim" (no vocoder weights). A model card in the folder is
    kept. Raises SpeechVAEError where a stage has not been trained or was trained on other mel features.
    """
    if vocoder_kind not in ("network", "griffinlim"):
        raise SpeechVAEError(f"vocoder_kind must be network or griffinlim, not {vocoder_kind!r}")
    work = Path(work)
    stores = {s: checkpoint.CheckpointStore(work / "checkpoints" / s) for s in ("vae", "vocoder")}
    for stage in ("vae", "vocoder") if vocoder_kind == "network" else ("vae",):
        if not stores[stage].exists():
            raise SpeechVAEError(f"no checkpoint of stage {stage} in {work}: run `speechvae train --stage {stage}`")
    state = stores["vae"].state()
    config = Config.parse(state["config"], "the vae checkpoint")
    symbols, speakers = read_names(work, "symbols"), read_names(work, "speakers")
    vocoder = None
    if vocoder_kind == "network":
        saved = Config.parse(stores["vocoder"].state()["config"], "the vocoder checkpoint")
        config.audio.check(saved.audio, "the vocoder checkpoint")
        config.vocoder = saved.vocoder
        vocoder = Vocoder(config.audio, config.vocoder)
        checkpoint.fill(vocoder, stores["vocoder"].load("ema"), "the vocoder checkpoint")
    model = SpeechVAE(config.audio, config.vae, len(symbols), len(speakers))
    weights = {k: v for k, v in stores["vae"].load("ema").items() if not k.startswith("rate.")}
    checkpoint.fill(model, weights, "the vae checkpoint")
    settings = VoiceSettings(
        name=config.name, language=config.language, description=config.description, speakers=speakers,
        default_speaker=speakers[0] if config.default_speaker is None else config.default_speaker,
        symbols=symbols, vocoder_kind=vocoder_kind, audio=config.audio, vae=config.vae, vocoder=config.vocoder,
        stats={k: round(v, 4) for k, v in state.get("figures", {}).items()},
    )  # fmt: skip
    return save_voice(Path(folder), settings, model, vocoder)
