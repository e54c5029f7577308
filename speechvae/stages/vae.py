"""Training of the conditional VAE: neg_elbo with the rate of each level held at its capacity."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from speechvae.audio import frame_energy
from speechvae.config import TrainConfig
from speechvae.dataset import UtteranceBatches, read_features, read_manifest, read_names
from speechvae.errors import SpeechVAEError
from speechvae.losses import adversarial_loss, critic_loss, feature_matching_loss, masked_mean
from speechvae.models.critics import MelCritic
from speechvae.models.decoder import Prosody
from speechvae.models.speech_vae import Latents, SpeechVAE
from speechvae.nn import gaussian
from speechvae.nn.batch import Batch
from speechvae.nn.layers import sequence_mask
from speechvae.sentence_encoder import SENTENCES, SentenceEncoder
from speechvae.stages.base import Stage, mean_figures
from speechvae.voice_files import ACOUSTIC, read_settings

COLLAPSED, COLLAPSE_FROM = 0.1, 0.1  # share of a level's capacity; share of the steps before which none is expected
CRITIC_FRAMES = 96  # about a second of each clip
ACTIVE_VARIANCE = 0.01  # of posterior means, in variances of the (learned) prior: more makes a unit active


class RateControl(nn.Module):
    """Lagrange multipliers that hold each level's KL at its capacity (Capacitron: Battenberg et al. 2019, 1906.03402).

    They live in the model's state, so a resumed run goes on with them; they start small, so that the latents come to be
    used before their price rises.
    """

    log_beta: Tensor

    def __init__(self, speed: float = 0.01) -> None:
        super().__init__()
        self.speed = speed
        self.register_buffer("log_beta", torch.full((2,), math.log(0.02)))

    def penalty(self, kl: Tensor, capacity: Tensor, learn: bool) -> Tensor:
        """kl and capacity [2] in the same unit → weighted sum; the multipliers follow the excess."""
        if learn:
            excess = ((kl.detach() - capacity) / capacity.clamp_min(1e-3)).clamp(-1, 1)
            self.log_beta.add_(self.speed * excess).clamp_(-8.0, 4.0)
        return (self.log_beta.exp() * kl).sum()


class TrainableVAE(SpeechVAE):
    """The VAE and its rate control: what the trainer checkpoints. Voices ship without the latter."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.rate = RateControl()


class VAEStage(Stage):
    name = "vae"
    voice_part = ACOUSTIC
    default_weights = {
        "mel": 1.0, "logw": 0.6, "f0": 0.6, "vuv": 0.3, "energy": 0.4, "rate": 1.0, "scales": 0.01,
        "adversarial": 0.1, "features": 0.3, "critic": 1.0,
    }  # fmt: skip
    model: TrainableVAE

    @property
    def train(self) -> TrainConfig:
        return self.config.vae.train

    @cached_property
    def speakers(self) -> list[str]:
        return read_names(self.work, "speakers")

    @cached_property
    def symbols(self) -> list[str]:
        return read_names(self.work, "symbols")

    def build(self) -> None:
        c = self.config
        if c.vae.sentence_encoder is not None:
            c.vae.sentence_dim = self.sentences.size
        self.model = TrainableVAE(c.audio, c.vae, len(self.symbols), len(self.speakers))
        self.critics = None if c.vae.adversarial_from is None else MelCritic(c.vae.critic_channels)
        self._set_speaker_means()

    def start_from(self, voice: Path) -> None:
        settings = read_settings(voice)
        for what, theirs, mine in (
            ("symbols", settings.symbols, self.symbols), ("speakers", settings.speakers, self.speakers),
        ):  # fmt: skip
            if theirs != mine:
                raise SpeechVAEError(f"{voice} was trained with other {what} than {self.work}/{what}.json lists")
        super().start_from(voice)

    def _set_speaker_means(self) -> None:
        """Mean log f0 of voiced frames and mean energy, a speaker, over at most 200 clips each."""
        rows = read_manifest(self.work, "train")
        for i, speaker in enumerate(self.speakers):
            own = [r for r in rows if r["speaker"] == speaker][:200]
            features = [read_features(self.work, r["id"], self.config.audio) for r in own]
            f0 = torch.cat([f["f0"] for f in features]) if features else torch.zeros(1)
            if (f0 > 0).any():
                self.model.f0_mean[i] = f0[f0 > 0].log().mean()
            if features:
                energy = torch.cat([frame_energy(f["mel"].float()[None])[0] for f in features])
                self.model.energy_mean[i] = energy.mean()

    @cached_property
    def sentences(self) -> SentenceEncoder:
        assert self.config.vae.sentence_encoder is not None
        return SentenceEncoder(self.config.vae.sentence_encoder)

    def _meanings(self) -> dict[str, Tensor] | None:
        """Embeddings of all texts; a table in WORK, so that each is made once."""
        if self.config.vae.sentence_encoder is None:
            return None
        return self.sentences.table({r["text"] for r in read_manifest(self.work)}, self.work / SENTENCES)

    @cached_property
    def _data(self) -> dict[str, UtteranceBatches]:
        index = {s: i for i, s in enumerate(self.symbols)}
        meanings = self._meanings()
        return {
            split: UtteranceBatches(
                self.work, read_manifest(self.work, split), self.config.audio, self.train, index, self.speakers, True,
                meanings,
            )
            for split in ("train", "dev")
        }

    def batches(self, split: str) -> UtteranceBatches:
        return self._data[split]

    def forward(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Any]:
        o = model(batch)
        if self.critics_active(step):
            o["window"] = draw_window(batch)
        return o

    def critics_active(self, step: int) -> bool:
        start = self.config.vae.adversarial_from
        return start is not None and step >= start

    def critic_losses(self, critics: nn.Module, batch: Batch, outputs: Any) -> dict[str, Tensor]:
        assert batch.y is not None
        window = outputs["window"]
        return {"critic": critic_loss([critics(cut(batch.y, window))], [critics(cut(outputs["mel"].detach(), window))])}

    def _adversarial(self, critics: nn.Module, batch: Batch, o: dict[str, Any]) -> dict[str, Tensor]:
        assert batch.y is not None
        critics.requires_grad_(False)
        fake = [critics(cut(o["mel"], o["window"]))]
        with torch.no_grad():
            real = [critics(cut(batch.y, o["window"]))]
        critics.requires_grad_(True)
        return {"adversarial": adversarial_loss(fake), "features": feature_matching_loss(real, fake)}

    def losses(self, critics: nn.Module | None, batch: Batch, outputs: Any, step: int) -> dict[str, Tensor]:
        o = outputs
        true, guess, x_mask = o["true"], o["guess"], o["x_mask"]
        error = (o["mel"] - batch.y).abs()
        # f0 counts where there is a voice; the bridged contour elsewhere only helps the decoder.
        voiced = x_mask & (true.vuv >= 0.3)
        errors = {
            "logw": ((guess.logw - true.logw).abs(), x_mask),
            "f0": ((guess.f0 - true.f0).abs(), voiced),
            "energy": ((guess.energy - true.energy).abs(), x_mask),
        }
        vuv = nn.functional.binary_cross_entropy_with_logits(guess.vuv, true.vuv, reduction="none")
        kl_u, kl_p = rates(o)
        n = x_mask.sum((1, 2)).float()
        kl = torch.stack([kl_u.mean(), (kl_p / n).mean()])
        c = self.config.vae
        capacity = kl.new_tensor([c.capacity_u, c.capacity_p])
        # z_u's nats are shared by all phonemes of an utterance, so both prices are a phoneme.
        per_phoneme = kl.new_tensor([1 / float(n.mean()), 1.0])
        learn = self.model.training and torch.is_grad_enabled()
        rate = self.model.rate.penalty(kl * per_phoneme, capacity * per_phoneme, learn)
        losses = {
            "mel": masked_mean(error, o["y_mask"]),
            **{k: masked_mean(e, m) for k, (e, m) in errors.items()},
            "vuv": masked_mean(vuv, x_mask),
            "rate": rate,
            "kl_u": kl[0].detach(),
            "kl_p": kl[1].detach(),
        }
        nats = self._neg_log_likelihood(o, error, errors, vuv)
        losses["scales"] = nats.mean() / (n.mean() * 100)
        if critics is not None and self.critics_active(step):
            losses |= self._adversarial(critics, batch, o)
        losses["neg_elbo"] = (nats + kl_u + kl_p).mean().detach()
        return losses

    def _neg_log_likelihood(
        self, o: dict[str, Any], error: Tensor, errors: dict[str, tuple[Tensor, Tensor]], vuv: Tensor
    ) -> Tensor:
        """-log p(y, w, f0, energy, voicing | z) in nats, a clip [B]. Errors are detached: only the scales learn."""
        m = self.model
        log_b = m.log_b_mel[None, :, None]
        total = ((error.detach() * (-log_b).exp() + log_b + math.log(2)) * o["y_mask"]).sum((1, 2))
        for (e, mask), b in zip(errors.values(), m.log_b_prosody, strict=True):
            total = total + ((e.detach() * (-b).exp() + b + math.log(2)) * mask).sum((1, 2))
        return total + (vuv.detach() * o["x_mask"]).sum((1, 2))

    # -- evaluation ----------------------------------------------------------------------------------------------

    def evaluate(self, model: nn.Module, batches: list[Batch]) -> dict[str, float]:
        """Dev figures: losses from the posterior mean, active units, and the same errors from the prior mean."""
        assert isinstance(model, SpeechVAE)
        rows, m_u, m_p = [], [], []
        for b in batches:
            o = model(b, teacher=0.0, temperature=0.0)
            # Errors are those of the posterior mean; the rates need a draw around it.
            o["z"] = Latents(o["z"].z_u, gaussian.sample(o["q"].m_p, o["q"].logs_p) * o["x_mask"])
            losses = self.losses(None, b, o, 0)
            (mean, logs), q = o["p_u"], o["q"]
            m_u.append((q.m_u - mean) * (-logs).exp())
            m_p.append(o["p_p"].noise(q.m_p).transpose(1, 2)[o["x_mask"][:, 0]])
            gap = self._prior_mean_errors(model, b, o)
            kept = ("mel", "logw", "f0", "kl_u", "kl_p", "neg_elbo")
            rows.append({**{k: losses[k] for k in kept}, **gap})
        figures = mean_figures(rows)
        figures["active_u"] = float((torch.cat(m_u).var(0) > ACTIVE_VARIANCE).sum())
        figures["active_p"] = float((torch.cat(m_p).var(0) > ACTIVE_VARIANCE).sum())
        figures["beta_u"], figures["beta_p"] = self.model.rate.log_beta.exp().tolist()
        return figures

    def alarms(self, figures: dict[str, float], step: int) -> list[str]:
        """A level that carries under a tenth of its capacity or has no active unit, after a tenth of the steps."""
        if not figures or step < COLLAPSE_FROM * self.train.steps:
            return []
        c = self.config.vae
        out = []
        for level, capacity, unit in (("u", c.capacity_u, "an utterance"), ("p", c.capacity_p, "a phoneme")):
            nats, active = figures[f"kl_{level}"], int(figures[f"active_{level}"])
            if capacity > 0 and (nats < COLLAPSED * capacity or active == 0):
                out.append(
                    f"z_{level} has collapsed: {nats:.2f} of {capacity:g} nats {unit}, {active} active units. "
                    "Readings will hardly differ by it. Start again with a lower learning rate or a larger "
                    f"capacity_{level}, or look whether the recordings of a text differ at all."
                )
        return out

    @staticmethod
    def _prior_mean_errors(model: SpeechVAE, batch: Batch, o: dict[str, Any]) -> dict[str, Tensor]:
        assert batch.x is not None and batch.w is not None and batch.y is not None
        h, g = model.encode(batch.x, o["x_mask"], batch.speaker, batch.sentence)
        z = model.sample(h, o["x_mask"], g, 0.0, 0.0)
        guess = model.prosody(h, o["x_mask"], z, g)
        mel = model.decode(h, z, g, guess, batch.w)
        voiced = o["x_mask"] & (o["true"].vuv >= 0.3)
        return {
            "prior_mel": masked_mean((mel - batch.y).abs(), o["y_mask"]),
            "prior_logw": masked_mean((guess.logw - o["true"].logw).abs(), o["x_mask"]),
            "prior_f0": masked_mean((guess.f0 - o["true"].f0).abs(), voiced),
        }

    def show(self, model: nn.Module, batch: Batch, writer: Any, step: int) -> None:
        from speechvae.audio import griffin_lim
        from speechvae.plots import mel_figure

        assert isinstance(model, SpeechVAE)
        assert batch.y is not None and batch.x is not None and batch.x_lengths is not None
        o = model(batch, teacher=0.0, temperature=0.0)
        n = int(o["y_mask"][0].sum())
        x_mask = sequence_mask(batch.x_lengths[:1], batch.x.shape[1])
        meaning = None if batch.sentence is None else batch.sentence[:1]
        h, g = model.encode(batch.x[:1], x_mask, batch.speaker[:1], meaning)
        z = Latents(o["z"].z_u[:1], o["z"].z_p[:1])
        prior = model.sample(h, o["x_mask"][:1], g, 0.6, 1.0)
        pictures = {"recording": batch.y[0, :, :n], "posterior": o["mel"][0, :, :n]}
        for name, latents in (("posterior_prosody", z), ("prior_sample", prior)):
            p: Prosody = model.prosody(h, o["x_mask"][:1], latents, g)
            w = (p.logw.exp()[:, 0].round().clamp_min(1) * o["x_mask"][:1, 0]).long()
            pictures[name] = model.decode(h, latents, g, p, w)[0]
        rate = self.config.audio.sample_rate
        for name, mel in pictures.items():
            writer.add_figure(f"vae/{name}", mel_figure(mel.cpu().numpy(), self.config.audio, title=batch.ids[0]), step)
            writer.add_audio(f"vae/{name}", griffin_lim(mel[None].cpu(), self.config.audio)[0].clamp(-1, 1), step, rate)


def draw_window(batch: Batch) -> Tensor:
    """Frame numbers [B, F] of a random second of each clip (less where a clip is shorter)."""
    assert batch.y_lengths is not None
    frames = min(CRITIC_FRAMES, int(batch.y_lengths.min()))
    room = batch.y_lengths - frames + 1
    start = (torch.rand(len(room), device=room.device) * room).long()
    return start[:, None] + torch.arange(frames, device=room.device)


def cut(mel: Tensor, window: Tensor) -> Tensor:
    """The frames [B, F] of log-mels [B, M, T] → [B, M, F]."""
    return mel.gather(2, window[:, None].expand(-1, mel.shape[1], -1))


def rates(outputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """KL of z_u and of z_p in nats an utterance, each [B]; that of z_p by its one draw: a flow has no closed form."""
    q, (m_u, logs_u), prior = outputs["q"], outputs["p_u"], outputs["p_p"]
    kl_u = gaussian.kl(q.m_u, q.logs_u, m_u, logs_u).sum(1)
    negative_entropy = (-gaussian.entropy(q.logs_p) * outputs["x_mask"]).sum((1, 2))
    return kl_u, negative_entropy - prior.log_prob(outputs["z"].z_p).sum(1)
