"""What the trainer asks of a stage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from speechvae import checkpoint
from speechvae.config import Config, TrainConfig
from speechvae.dataset import SegmentBatches, UtteranceBatches
from speechvae.errors import SpeechVAEError
from speechvae.nn.batch import Batch
from speechvae.voice_files import read_settings


class Stage(ABC):
    """One model, its data and its losses. `weights`: loss name → weight; a name without a weight is only logged."""

    name: ClassVar[str]
    default_weights: ClassVar[dict[str, float]]
    model: nn.Module
    critics: nn.Module | None = None
    voice_part: ClassVar[str | None] = None  # the weights file of a voice that this stage makes

    def __init__(self, config: Config, work: Path) -> None:
        self.config, self.work = config, work
        self.weights = {**self.default_weights, **self.train.loss_weights}

    @property
    @abstractmethod
    def train(self) -> TrainConfig: ...

    @abstractmethod
    def build(self) -> None:
        """Make `model` (and `critics`)."""

    @abstractmethod
    def batches(self, split: str) -> UtteranceBatches | SegmentBatches:
        """Item `step` is the batch of that step."""

    @abstractmethod
    def forward(self, model: nn.Module, batch: Batch, step: int) -> Any:
        """The model's outputs for a batch."""

    @abstractmethod
    def losses(self, critics: nn.Module | None, batch: Batch, outputs: Any, step: int) -> dict[str, Tensor]: ...

    def critics_active(self, step: int) -> bool:
        return False

    def critic_losses(self, critics: nn.Module, batch: Batch, outputs: Any) -> dict[str, Tensor]:
        raise NotImplementedError

    @abstractmethod
    def evaluate(self, model: nn.Module, batches: list[Batch]) -> dict[str, float]: ...

    def alarms(self, figures: dict[str, float], step: int) -> list[str]:
        """What is wrong with a training, in plain words, judged by an evaluation's figures."""
        return []

    def show(self, model: nn.Module, batch: Batch, writer: Any, step: int) -> None:  # noqa: B027 (a stage may have none)
        """Sounds and pictures for TensorBoard."""

    def finish(self, model: nn.Module) -> None:  # noqa: B027 (most stages need none)
        """Called once all steps are done."""

    def start_from(self, voice: Path) -> None:
        """Take the weights of a voice folder; what the voice does not hold stays as it was made."""
        if self.voice_part is None:
            raise SpeechVAEError(f"a voice holds no {self.name}: train it without --init")
        self.config.audio.check(read_settings(voice).audio, f"the voice {voice}")
        tensors = checkpoint.load_weights(voice / self.voice_part, "voice")
        checkpoint.fill(self.model, {**self.model.state_dict(), **tensors}, f"{voice / self.voice_part}")

    def load_trained(self) -> None:
        """Make `model` with the EMA weights of the last checkpoint."""
        store = checkpoint.CheckpointStore(self.work / "checkpoints" / self.name)
        self.build()
        self.fill(self.model, store.load("ema"))
        self.model.eval()

    def fill(self, module: nn.Module, tensors: dict[str, Tensor]) -> None:
        checkpoint.fill(module, tensors, f"the {self.name} checkpoint")


def mean_figures(rows: list[dict[str, Tensor]]) -> dict[str, float]:
    """Mean over batches of scalar figures."""
    return {k: float(torch.stack([r[k].float() for r in rows]).mean()) for k in rows[0]}


StageMaker = Callable[[Config, Path], Stage]
