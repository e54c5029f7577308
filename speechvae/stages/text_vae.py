"""Training of the text VAE, and of the two models it is measured against: a language model and an autoencoder.

Steps alternate: an even one has sentences without, an odd one with what was said before, where the texts have
dialogues. Against a latent that is ignored: free bits (Kingma et al. 2016, arXiv 1606.04934), and a KL phased in.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from speechvae.config import Config, TrainConfig
from speechvae.models.text_vae import TextVAE
from speechvae.nn.batch import Batch
from speechvae.stages.base import Stage, mean_figures
from speechvae.words.corpus import TextBatches, TextTable

FEW_UNITS = 0.5  # of the units of z: with fewer active ones an alarm is given


class TextVAEStage(Stage):
    name = "text_vae"
    default_weights = {"rec": 1.0, "kl": 1.0, "prior": 1.0, "bag": 0.1}
    has_latent: ClassVar[bool] = True
    noisy: ClassVar[bool] = True
    model: TextVAE

    def __init__(self, config: Config, work: Path) -> None:
        super().__init__(config, work)
        self.table = TextTable.load(work)

    @property
    def train(self) -> TrainConfig:
        return self.config.text_vae.train

    def build(self) -> None:
        self.model = TextVAE(self.config.text_vae, self.table.vocab, None if self.has_latent else 0)

    @cached_property
    def _data(self) -> dict[str, TextBatches]:
        return {s: TextBatches(self.table, s, self.config.text_vae) for s in ("train", "dev")}

    def batches(self, split: str) -> TextBatches:  # type: ignore[override]
        return self._data[split]

    def forward(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        return model(batch.x, batch.context, self.noisy)

    def kl_weight(self, step: int) -> float:
        """0 → 1 over `kl_warmup` steps, then 1 for as many, `kl_cycles` times; 1 after that (Fu et al. 2019)."""
        c = self.config.text_vae
        if step >= 2 * c.kl_warmup * c.kl_cycles:
            return 1.0
        return min(1.0, (step % (2 * c.kl_warmup) + 1) / c.kl_warmup)

    def losses(self, critics: nn.Module | None, batch: Batch, outputs: Any, step: int) -> dict[str, Tensor]:
        losses = {"rec": outputs["rec"].mean()}
        if not self.has_latent or not self.noisy:
            return losses
        free = self.config.text_vae.free_nats * self.config.text_vae.z_dim
        kl = outputs["kl"].mean(0)
        losses["kl"] = self.kl_weight(step) * kl.clamp_min(free / len(kl)).sum()
        # The prior always learns where the posterior is, also while its rate costs nothing.
        if "prior" in outputs:
            losses["prior"] = outputs["prior"].mean()
        return {**losses, "bag": outputs["bag"].mean()}

    def evaluate(self, model: nn.Module, batches: list[Batch]) -> dict[str, float]:
        rows: dict[bool, list[dict[str, Tensor]]] = {False: [], True: []}
        means = []
        for b in batches:
            out = self.forward(model, b, 0)
            assert b.x is not None
            row = {"nll": out["rec"].mean(), "tokens": (b.x > 0).sum(1).float().mean() - 1}
            if self.has_latent and self.noisy:
                row["kl"] = out["kl"].sum(1).mean()
                row["nll"] = row["nll"] + row["kl"]
                means += [out["m_q"]] if b.context is None else []
            rows[b.context is not None].append(row)
        figures: dict[str, float] = {}
        for with_context, own in rows.items():
            if own:
                name = "_context" if with_context else ""
                found = mean_figures(own)
                figures |= {f"{k}{name}": v for k, v in found.items() if k != "tokens"}
                figures[f"nats_a_token{name}"] = found["nll"] / found["tokens"]
        if means:
            figures["active_units"] = float((torch.cat(means).var(0) > 0.01).sum())
        return figures

    def alarms(self, figures: dict[str, float], step: int) -> list[str]:
        z = self.config.text_vae.z_dim
        if step > 2 * self.config.text_vae.kl_warmup and figures.get("active_units", z) < FEW_UNITS * z:
            return [f"only {figures['active_units']:.0f} of {z} units of z are in use: raise free_nats or word_dropout"]
        return []

    def show(self, model: nn.Module, batch: Batch, writer: Any, step: int) -> None:
        from speechvae.words.decoding import sample

        assert isinstance(model, TextVAE)
        z = torch.randn(8, model.z_dim)
        tokens = sample(model, z.to(model.no_context.device), model.encode_context(None, 8))
        writer.add_text("samples", "  \n".join(self.table.tokenizer.decode(t) for t in tokens), step)


class TextLMStage(TextVAEStage):
    """The same decoder without a latent."""

    name = "text_lm"
    has_latent = False


class TextAutoencoderStage(TextVAEStage):
    """The same network without noise and KL: what the latent could hold at most."""

    name = "text_autoencoder"
    noisy = False
