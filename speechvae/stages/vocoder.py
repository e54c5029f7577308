"""Vocoder training: spectral losses, and from a set step on small adversarial critics."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from speechvae.audio import LogMel
from speechvae.config import TrainConfig
from speechvae.dataset import SegmentBatches, feature_path, read_manifest
from speechvae.errors import SpeechVAEError
from speechvae.losses import MultiResolutionSTFT, adversarial_loss, critic_loss, feature_matching_loss
from speechvae.models.critics import Critics
from speechvae.models.vocoder import Vocoder
from speechvae.nn.batch import Batch
from speechvae.stages.base import Stage, mean_figures
from speechvae.voice_files import VOCODER


class VocoderStage(Stage):
    name = "vocoder"
    voice_part = VOCODER
    default_weights = {"mel": 4.0, "stft": 1.0, "adversarial": 1.0, "features": 1.0, "critic": 1.0}
    model: Vocoder

    @property
    def train(self) -> TrainConfig:
        return self.config.vocoder.train

    def build(self) -> None:
        cfg = self.config.vocoder
        if self.train.segment_frames == 0:
            raise SpeechVAEError("vocoder.train.segment_frames must be set (64 is usual): whole clips are too long")
        self.model = Vocoder(self.config.audio, cfg)
        self.critics = None if cfg.adversarial_from is None else Critics(cfg.critic_channels)
        self.stft = MultiResolutionSTFT()
        self.log_mel = LogMel(self.config.audio)

    @cached_property
    def _data(self) -> dict[str, SegmentBatches]:
        cfg = self.config.vocoder
        from_vae = cfg.mel_source == "vae"
        out = {}
        for split in ("train", "dev"):
            rows = read_manifest(self.work, split)
            if from_vae:
                rows = [r for r in rows if feature_path(self.work, r["id"], "reconstructions").is_file()]
                if not rows:
                    raise SpeechVAEError(f"no reconstructions yet: run `speechvae reconstruct {self.work}`")
            share = cfg.vae_share if from_vae else 0.0
            out[split] = SegmentBatches(
                self.work, rows, self.config.audio, self.train, share, split == "train", cfg.vary
            )
        return out

    def batches(self, split: str) -> SegmentBatches:
        return self._data[split]

    def forward(self, model: nn.Module, batch: Batch, step: int) -> Tensor:
        assert batch.y is not None
        device = batch.y.device
        self.stft.to(device), self.log_mel.to(device)
        # `from_frames` through forward, so that a distributed wrapper sees the call; its last frame is the true one.
        return model(batch.y, framed=True)

    def critics_active(self, step: int) -> bool:
        start = self.config.vocoder.adversarial_from
        return start is not None and step >= start

    def critic_losses(self, critics: nn.Module, batch: Batch, outputs: Any) -> dict[str, Tensor]:
        assert batch.wav is not None
        n = self.config.vocoder.critic_clips
        return {"critic": critic_loss(critics(batch.wav[:n]), critics(outputs[:n].detach()))}

    def losses(self, critics: nn.Module | None, batch: Batch, outputs: Any, step: int) -> dict[str, Tensor]:
        wav = batch.wav
        assert wav is not None
        with torch.autocast(wav.device.type, enabled=False):  # bf16 would round the filters' sums
            mel = (self.log_mel(outputs) - self.log_mel(wav)).abs().mean()
            losses = {"mel": mel, "stft": self.stft(outputs, wav)}
        if critics is not None and self.critics_active(step):
            n = self.config.vocoder.critic_clips
            critics.requires_grad_(False)
            fake = critics(outputs[:n])
            with torch.no_grad():
                real = critics(wav[:n])
            critics.requires_grad_(True)
            losses["adversarial"] = adversarial_loss(fake)
            losses["features"] = feature_matching_loss(real, fake)
        return losses

    def evaluate(self, model: nn.Module, batches: list[Batch]) -> dict[str, float]:
        return mean_figures([self.losses(None, b, self.forward(model, b, 0), 0) for b in batches])

    def show(self, model: nn.Module, batch: Batch, writer: Any, step: int) -> None:
        wav = self.forward(model, batch, step)
        rate = self.config.audio.sample_rate
        assert batch.wav is not None
        writer.add_audio("vocoder/output", wav[0].cpu(), step, rate)
        writer.add_audio("vocoder/recording", batch.wav[0].cpu(), step, rate)
