"""What is trained. Of a voice, in order: aligner, vae, vocoder. Of a writer: text_vae, and what it is measured against.

Each stage is a model, its data and its losses.
"""

from speechvae.stages.aligner import AlignerStage
from speechvae.stages.base import Stage, StageMaker
from speechvae.stages.text_vae import TextAutoencoderStage, TextLMStage, TextVAEStage
from speechvae.stages.vae import VAEStage
from speechvae.stages.vocoder import VocoderStage

STAGES: dict[str, StageMaker] = {
    "aligner": AlignerStage,
    "vae": VAEStage,
    "vocoder": VocoderStage,
    "text_vae": TextVAEStage,
    "text_lm": TextLMStage,
    "text_autoencoder": TextAutoencoderStage,
}

__all__ = ["STAGES", "Stage"]
