"""From trained stages to a voice folder."""

from __future__ import annotations

from pathlib import Path

import torch

from speechvae import checkpoint
from speechvae.calibrate import calibrate
from speechvae.config import Config
from speechvae.dataset import read_names
from speechvae.errors import SpeechVAEError
from speechvae.models.aligner import Aligner
from speechvae.models.vocoder import Vocoder
from speechvae.stages.vae import VAEStage
from speechvae.vocoders import GRIFFIN_LIM, load_vocoder
from speechvae.voice_files import VoiceSettings, save_voice

TRAINED = "network"
# The default for z_p where no prompt was read several times: its prior then holds all that it does not know about a
# text beside what a reader varies. kathleen's prompts say how much less the latter is (0.63 and 0.72 of two units).
UNREPEATED_TEMPERATURE = 0.65


def export_voice(work: str | Path, folder: str | Path, vocoder: str = TRAINED, progress: bool = True) -> Path:
    """Make a voice from a work folder: the EMA weights of the last checkpoints, in half precision.

    The priors are calibrated on the way (`speechvae.calibrate`), and the dev figures are those afterwards. Where too
    few prompts were read several times to know how far readings differ, the voice's temperature is 0.65, not 1.
    The aligner comes along where WORK has one: with it the voice can follow recordings (transfer, repair, audit).
    `vocoder`: "network" (the one trained in WORK), "griffinlim" (no weights), or another of our networks, as
    `speechvae.vocoders.load_vocoder` takes it. A model card in the folder is kept. Raises SpeechVAEError where a stage
    has not been trained or was trained on other mel features, and for a vocoder that no voice can hold.
    """
    work = Path(work)
    stores = {s: checkpoint.CheckpointStore(work / "checkpoints" / s) for s in ("vae", "vocoder")}
    for needed in ("vae", "vocoder") if vocoder == TRAINED else ("vae",):
        if not stores[needed].exists():
            raise SpeechVAEError(f"no checkpoint of stage {needed} in {work}: run `speechvae train --stage {needed}`")
    state = stores["vae"].state()
    config = Config.parse(state["config"], "the vae checkpoint")
    symbols, speakers = read_names(work, "symbols"), read_names(work, "speakers")
    network = load_vocoder(stores["vocoder"].folder if vocoder == TRAINED else vocoder, config.audio)
    if network is not None and not isinstance(network, Vocoder):
        raise SpeechVAEError(f"a voice holds our own vocoders only; {vocoder} can be used with `say --vocoder`")
    if network is not None:
        config.vocoder = network.cfg
    stage = VAEStage(config, work)
    stage.load_trained()
    figures = {**state.get("figures", {}), **calibrate(stage, stage.model, progress), **_figures(stage)}
    aligner = trained_aligner(work, config, len(symbols))
    settings = VoiceSettings(
        name=config.name, language=config.language, description=config.description, speakers=speakers,
        default_speaker=speakers[0] if config.default_speaker is None else config.default_speaker,
        symbols=symbols, vocoder_kind=GRIFFIN_LIM if network is None else TRAINED, audio=config.audio, vae=config.vae,
        vocoder=config.vocoder, stats={k: round(v, 4) for k, v in figures.items()},
        temperature=1.0 if figures["repeated_prompts"] else UNREPEATED_TEMPERATURE, expansion=figures["expansion"],
    )  # fmt: skip
    return save_voice(Path(folder), settings, stage.model, network, aligner)


def trained_aligner(work: Path, config: Config, symbols: int) -> Aligner | None:
    """The aligner of a work folder (EMA weights), None where none was trained."""
    store = checkpoint.CheckpointStore(work / "checkpoints" / "aligner")
    if not store.exists():
        return None
    saved = Config.parse(store.state()["config"], "the aligner checkpoint")
    config.audio.check(saved.audio, "the aligner checkpoint")
    aligner = Aligner(config.audio.n_mels, symbols, saved.aligner)
    checkpoint.fill(aligner, store.load("ema"), "the aligner checkpoint")
    return aligner


@torch.no_grad()
def _figures(stage: VAEStage) -> dict[str, float]:
    """The stage's evaluation on the whole dev split."""
    data = stage.batches("dev")
    return stage.evaluate(stage.model, [data[i] for i in range(len(data))])
