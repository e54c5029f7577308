"""Aligner training: CTC with label priors, then Viterbi training; ends with WORK/durations.safetensors."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from speechvae.config import TrainConfig
from speechvae.dataset import UtteranceBatches, read_features, read_manifest, read_names, write_durations
from speechvae.errors import SpeechVAEError
from speechvae.models.aligner import Aligner
from speechvae.nn.align import viterbi_durations
from speechvae.nn.batch import Batch
from speechvae.nn.layers import sequence_mask
from speechvae.stages.base import Stage, mean_figures

PAUSES = set("^$ ,.?!;:…—")
LONGEST_PHONEME = 0.6  # s


class AlignerStage(Stage):
    name = "aligner"
    default_weights = {"ctc": 1.0, "frames": 1.0}
    model: Aligner

    @property
    def train(self) -> TrainConfig:
        return self.config.aligner.train

    @cached_property
    def symbols(self) -> list[str]:
        return read_names(self.work, "symbols")

    def build(self) -> None:
        self.model = Aligner(self.config.audio.n_mels, len(self.symbols), self.config.aligner)

    @cached_property
    def _data(self) -> dict[str, UtteranceBatches]:
        index = {s: i for i, s in enumerate(self.symbols)}
        speakers = read_names(self.work, "speakers")

        def data(split: str) -> UtteranceBatches:
            rows = read_manifest(self.work, split)
            return UtteranceBatches(self.work, rows, self.config.audio, self.train, index, speakers, durations=False)

        return {split: data(split) for split in ("train", "dev")}

    def batches(self, split: str) -> UtteranceBatches:
        return self._data[split]

    def forward(self, model: nn.Module, batch: Batch, step: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
        assert batch.y is not None and batch.y_lengths is not None
        mask = sequence_mask(batch.y_lengths, batch.y.shape[2])
        return model(batch.y, mask), mask

    def losses(self, critics: nn.Module | None, batch: Batch, outputs: Any, step: int) -> dict[str, Tensor]:
        logits, mask = outputs
        if self.model.training:
            self.model.observe(logits, mask)
        c = self.config.aligner
        losses = {"ctc": self._ctc(batch, logits)}
        if step >= c.frames_from:
            losses["frames"] = self._frames(batch, logits, teacher=0 if step < c.viterbi_from else 1)
        return losses

    def _ctc(self, batch: Batch, logits: tuple[Tensor, Tensor]) -> Tensor:
        assert batch.x is not None and batch.x_lengths is not None and batch.y_lengths is not None
        scores = self.model.scores(logits, 0).transpose(0, 1)
        loss = nn.functional.ctc_loss(
            scores, batch.x, batch.y_lengths, batch.x_lengths, blank=0, reduction="none", zero_infinity=True
        )
        return (loss / batch.x_lengths).mean()

    def _frames(self, batch: Batch, logits: tuple[Tensor, Tensor], teacher: int) -> Tensor:
        """Cross entropy of every frame's label on the best path of the teaching head."""
        assert batch.x is not None and batch.x_lengths is not None and batch.y_lengths is not None
        scores = self.model.scores((logits[0].detach(), logits[1].detach()), teacher)
        terms = []
        for i, (n, t) in enumerate(zip(batch.x_lengths.tolist(), batch.y_lengths.tolist(), strict=True)):
            x = batch.x[i, :n]
            w, _ = viterbi_durations(scores[i, :t], x)
            terms.append(nn.functional.cross_entropy(logits[1][i, :t], x.repeat_interleave(w.to(x.device))))
        return torch.stack(terms).mean()

    def evaluate(self, model: nn.Module, batches: list[Batch]) -> dict[str, float]:
        assert isinstance(model, Aligner)
        out = []
        for b in batches:
            logits, _ = self.forward(model, b, 0)
            out.append({"ctc": self._ctc(b, logits), "frames": self._frames(b, logits, teacher=1)})
        return mean_figures(out)

    def show(self, model: nn.Module, batch: Batch, writer: Any, step: int) -> None:
        from speechvae.plots import alignment_figure

        assert isinstance(model, Aligner) and batch.x is not None and batch.y is not None
        assert batch.x_lengths is not None and batch.y_lengths is not None
        x, y = batch.x[0, : batch.x_lengths[0]], batch.y[0, :, : batch.y_lengths[0]]
        w, _ = model.align(y, x)
        figure = alignment_figure(y.cpu().numpy(), [self.symbols[i] for i in x], w.tolist(), self.config.audio)
        writer.add_figure("aligner/alignment", figure, step)

    def finish(self, model: nn.Module) -> None:
        assert isinstance(model, Aligner)
        align_corpus(self, model)


def align_corpus(stage: AlignerStage, model: Aligner) -> dict[str, Any]:
    """Align every utterance; write the accepted durations and WORK/alignment.json, a report with reasons."""
    index = {s: i for i, s in enumerate(stage.symbols)}
    rate = stage.config.audio.frame_rate
    accepted: dict[str, Tensor] = {}
    refused: dict[str, str] = {}
    scores: dict[str, float] = {}
    edges = []
    model = model.eval()
    device = next(model.parameters()).device
    rows = read_manifest(stage.work)
    for row in tqdm(rows, desc="aligning"):
        mel = read_features(stage.work, row["id"], stage.config.audio)["mel"].float().to(device)
        try:
            w, scores[row["id"]] = model.align(mel, torch.tensor([index[s] for s in row["symbols"]]))
        except SpeechVAEError as e:
            refused[row["id"]] = str(e)
            continue
        reason = insane(row["symbols"], w.tolist(), rate)
        if reason:
            refused[row["id"]] = reason
        else:
            accepted[row["id"]] = w
            edges.append((int(w[0]) / rate, int(w[-1]) / rate))
    if not accepted:
        raise SpeechVAEError("the aligner's durations are sane for no utterance: train it for more steps")
    write_durations(stage.work, accepted)
    lead, trail = (sorted(e)[len(edges) // 2] for e in zip(*edges, strict=True))
    report = {
        "accepted": len(accepted), "share": len(accepted) / len(rows), "refused": refused,
        "median_leading_silence": lead, "median_trailing_silence": trail, "scores": scores,
    }  # fmt: skip
    (stage.work / "alignment.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(f"aligned {len(accepted)} of {len(rows)} utterances; median silence {lead:.2f} s before, {trail:.2f} s after")
    return report


def insane(symbols: list[str], w: list[int], rate: float) -> str | None:
    """Why an alignment cannot be true: None, or the reason."""
    for s, n in zip(symbols, w, strict=True):
        if s not in PAUSES and n / rate > LONGEST_PHONEME:
            return f"phoneme {s} lasts {n / rate:.2f} s"
    short = sum(n == 1 for s, n in zip(symbols, w, strict=True) if s not in PAUSES)
    phonemes = sum(s not in PAUSES for s in symbols)
    if phonemes and short / phonemes > 0.35:
        return f"{short} of {phonemes} phonemes last a single frame"
    return None
