"""What is trained, in order: aligner, vae, vocoder. Each stage is a model, its data and its losses."""

from speechvae.stages.aligner import AlignerStage
from speechvae.stages.base import Stage, StageMaker
from speechvae.stages.vae import VAEStage
from speechvae.stages.vocoder import VocoderStage

STAGES: dict[str, StageMaker] = {
    "aligner": AlignerStage,
    "vae": VAEStage,
    "vocoder": VocoderStage,
}

__all__ = ["STAGES", "Stage"]
