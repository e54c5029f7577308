"""The training loop, the same for every stage: exact resume, slices by minutes, EMA weights, curves, clear failures."""

from __future__ import annotations

import copy
import math
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from speechvae.checkpoint import CheckpointStore, flatten_optimizer, unflatten_optimizer
from speechvae.config import Config
from speechvae.errors import SpeechVAEError
from speechvae.nn.batch import Batch
from speechvae.stages import STAGES, Stage
from speechvae.voice_files import find_voice


def train(
    config: Config | str | Path, stage: str, work: str | Path, minutes: float | None = None,
    steps: int | None = None, device: str | None = None, progress: bool = True, workers: int = 0,
    init: str | Path | None = None,
) -> dict[str, float]:  # fmt: skip
    """Train (or go on training) one stage on a prepared work folder.

    Stops after `minutes`, after step number `steps`, or when the stage's own number of steps is done, whichever comes
    first; call again to go on. `init`: a voice whose weights a new training starts from; a training that has a
    checkpoint goes on from that. Returns the figures of the last evaluation. Writes WORK/checkpoints/STAGE and
    WORK/logs/STAGE (TensorBoard).
    """
    cfg = config if isinstance(config, Config) else Config.load(config)
    if stage not in STAGES:
        raise SpeechVAEError(f"no stage {stage!r}: choose one of {', '.join(STAGES)}")
    return Trainer(STAGES[stage](cfg, Path(work)), device, progress, workers, init).run(minutes, steps)


def mixed_precision(wanted: str, cpu: bool) -> str:
    """What `precision` of a config comes to on this machine: "no" or "bf16"; processors without it would emulate."""
    able = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() if cpu else True
    return "bf16" if able and (wanted == "bf16" or (wanted == "auto" and not cpu)) else "no"


class Trainer:
    def __init__(
        self, stage: Stage, device: str | None = None, progress: bool = True, workers: int = 0,
        init: str | Path | None = None,
    ) -> None:  # fmt: skip
        self.stage, self.cfg, self.progress, self.workers = stage, stage.train, progress, workers
        cpu = device == "cpu" or not torch.cuda.is_available()
        self.accelerator = Accelerator(cpu=cpu, mixed_precision=mixed_precision(self.cfg.precision, cpu))
        self.store = CheckpointStore(stage.work / "checkpoints" / stage.name)
        torch.manual_seed(self.cfg.seed)
        stage.build()
        if init is not None and not self.store.exists():
            stage.start_from(find_voice(init))
        self.shadow = copy.deepcopy(stage.model).eval().requires_grad_(False).to(self.accelerator.device)
        self.model = self.accelerator.prepare(stage.model)
        self.optimizer = self.accelerator.prepare(self._adamw(stage.model))
        self.critics: nn.Module | None = None
        self.critic_optimizer: Any = None
        if stage.critics is not None:
            self.critics = self.accelerator.prepare(stage.critics)
            self.critic_optimizer = self.accelerator.prepare(self._adamw(stage.critics))
        self.step, self.seconds = 0, 0.0
        self.figures: dict[str, float] = {}
        self.stop_asked = False
        self.pending: list[tuple[int, list[str], dict[str, Tensor]]] = []
        if self.store.exists():
            self.resume()

    def _adamw(self, module: nn.Module) -> torch.optim.AdamW:
        c = self.cfg
        return torch.optim.AdamW(module.parameters(), lr=c.lr, betas=c.betas, weight_decay=c.weight_decay, eps=1e-9)

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, a plateau, then a linear fall to zero over the last `decay_fraction` of the steps."""
        c = self.cfg
        rise = min(1.0, (step + 1) / max(1, c.warmup_steps))
        left = (c.steps - step) / max(1.0, c.steps * c.decay_fraction)
        return c.lr * rise * min(1.0, max(left, 0.0))

    # -- state ---------------------------------------------------------------------------------------------------

    def save(self) -> None:
        self.check_finite()
        if not self.accelerator.is_main_process:
            return
        files = {
            "model": self.accelerator.unwrap_model(self.model).state_dict(),
            "ema": self.shadow.state_dict(),
            "optimizer": flatten_optimizer(self.optimizer),
        }
        if self.critics is not None:
            files["critics"] = self.accelerator.unwrap_model(self.critics).state_dict()
            files["critic_optimizer"] = flatten_optimizer(self.critic_optimizer)
        state = {"step": self.step, "seconds": self.seconds, "figures": self.figures}
        self.store.save(files, {**state, "config": self.stage.config.model_dump()})

    def resume(self) -> None:
        state = self.store.state()
        saved = Config.parse(state["config"], f"{self.store.last}/state.json")
        self.stage.config.audio.check(saved.audio, f"the checkpoint {self.store.last}")
        fill_from = {"model": self.accelerator.unwrap_model(self.model), "ema": self.shadow}
        if self.critics is not None and (self.store.last / "critics.safetensors").is_file():
            fill_from["critics"] = self.accelerator.unwrap_model(self.critics)
            unflatten_optimizer(self.critic_optimizer, self.store.load("critic_optimizer"))
        for name, module in fill_from.items():
            self.stage.fill(module, self.store.load(name))
        unflatten_optimizer(self.optimizer, self.store.load("optimizer"))
        self.step, self.seconds, self.figures = state["step"], state["seconds"], state.get("figures", {})

    def check_finite(self) -> None:
        """Raise for a non-finite loss since the last check. Deferred, so that a GPU is not made to wait each step."""
        pending, self.pending = self.pending, []
        for step, ids, losses in pending:
            bad = [k for k, v in losses.items() if not math.isfinite(float(v))]
            if bad:
                raise SpeechVAEError(
                    f"step {step}: {', '.join(bad)} not finite for utterances {', '.join(ids)}. The last good "
                    f"checkpoint is {self.store.last}; look at those clips, lower `lr`, and start again from it."
                )

    # -- loop ----------------------------------------------------------------------------------------------------

    def batches(self, end: int) -> Iterator[Batch]:
        n, rank = self.accelerator.num_processes, self.accelerator.process_index
        sampler = [s * n + rank for s in range(self.step, end)]
        data = self.stage.batches("train")
        loader = DataLoader(data, sampler=sampler, batch_size=None, num_workers=self.workers)
        for batch in loader:
            yield batch.to(self.accelerator.device)

    def run(self, minutes: float | None = None, steps: int | None = None) -> dict[str, float]:
        from torch.utils.tensorboard import SummaryWriter

        end = min(self.cfg.steps, self.cfg.steps if steps is None else steps)
        deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
        main = self.accelerator.is_main_process
        self.writer = SummaryWriter(str(self.stage.work / "logs" / self.stage.name)) if main else None
        handlers = self._catch_signals()
        quiet = not (self.progress and main)
        bar = tqdm(total=end, initial=self.step, desc=self.stage.name, disable=quiet, unit="step")
        try:
            started = time.monotonic()
            for batch in self.batches(end):
                self._step(batch)
                self.step += 1
                self.seconds += time.monotonic() - started
                started = time.monotonic()
                bar.update(1)
                if self.step % self.cfg.log_every == 0:
                    bar.set_postfix_str(self._log())
                last = self.step >= end or time.monotonic() > deadline or self.stop_asked
                if last or self.step % self.cfg.eval_every == 0:
                    self.figures = self.evaluate()
                    line = ", ".join(f"{k} {v:.4g}" for k, v in self.figures.items())
                    bar.write(f"{self.stage.name} step {self.step}: {line}")
                    for alarm in self.stage.alarms(self.figures, self.step):
                        bar.write(f"WARNING: {alarm}")
                if last or self.step % self.cfg.checkpoint_every == 0:
                    self.save()
                if last:
                    break
                started = time.monotonic()
        finally:
            bar.close()
            for number, handler in handlers.items():
                signal.signal(number, handler)
            if self.writer is not None:
                self.writer.close()
        if self.step >= self.cfg.steps and main:
            self.stage.finish(self.shadow)
        return self.figures

    def _catch_signals(self) -> dict[int, Any]:
        """The first interrupt asks for a checkpoint after this step; a second one ends at once."""

        def ask(number: int, frame: Any) -> None:
            if self.stop_asked:
                raise KeyboardInterrupt
            self.stop_asked = True

        try:
            return {n: signal.signal(n, ask) for n in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread
            return {}

    def _step(self, batch: Batch) -> None:
        # Noise depends on (seed, step) alone: a resumed run draws what an uninterrupted one would.
        torch.manual_seed((self.cfg.seed * 1_000_003 + self.step) * 64 + self.accelerator.process_index)
        rate = self.learning_rate(self.step)
        ratio = 1.0 if self.cfg.critic_lr is None else self.cfg.critic_lr / self.cfg.lr
        for optimizer, scale in ((self.optimizer, 1.0), (self.critic_optimizer, ratio)):
            for group in [] if optimizer is None else optimizer.param_groups:
                group["lr"] = rate * scale
        logged: dict[str, Tensor] = {}
        self.model.train()
        with self.accelerator.autocast():
            outputs = self.stage.forward(self.model, batch, self.step)
        if self.critics is not None and self.stage.critics_active(self.step):
            with self.accelerator.autocast():
                critic = self.stage.critic_losses(self.critics, batch, outputs)
            self._descend(critic, self.critic_optimizer, self.critics, logged)
        with self.accelerator.autocast():
            losses = self.stage.losses(self.critics, batch, outputs, self.step)
        self._descend(losses, self.optimizer, self.model, logged)
        source = self.accelerator.unwrap_model(self.model)
        decay = min(self.cfg.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.shadow.parameters()), list(source.parameters()), 1 - decay)
            for mine, theirs in zip(self.shadow.buffers(), source.buffers(), strict=True):
                mine.copy_(theirs)
        self.pending.append((self.step, batch.ids, logged))

    def _descend(self, losses: dict[str, Tensor], optimizer: Any, module: nn.Module, logged: dict[str, Tensor]) -> None:
        weights = self.stage.weights
        total = torch.stack([weights[k] * v.float() for k, v in losses.items() if weights.get(k, 0.0) != 0.0]).sum()
        optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(total)
        norm = self.accelerator.clip_grad_norm_(module.parameters(), self.cfg.grad_clip)
        optimizer.step()
        logged.update({k: v.detach() for k, v in losses.items()})
        logged["grad_norm" if optimizer is self.optimizer else "critic_grad_norm"] = norm.detach()

    def _log(self) -> str:
        recent = [losses for _, _, losses in self.pending]
        means = {k: float(torch.stack([x[k].float() for x in recent if k in x]).mean()) for k in recent[-1]}
        self.check_finite()
        if self.writer is not None:
            for k, v in {**means, "lr": self.learning_rate(self.step)}.items():
                self.writer.add_scalar(f"train/{k}", v, self.step)
        return " ".join(f"{k}={v:.3g}" for k, v in means.items())

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Figures of the EMA weights on the dev split; sounds and pictures to TensorBoard."""
        if not self.accelerator.is_main_process:
            return {}
        data = self.stage.batches("dev")
        count = min(self.cfg.eval_batches, len(data))
        rows = [data[i].to(self.accelerator.device) for i in range(count)]
        torch.manual_seed(self.cfg.seed)
        figures = self.stage.evaluate(self.shadow, rows)
        if self.writer is not None:
            for k, v in figures.items():
                self.writer.add_scalar(f"dev/{k}", v, self.step)
            self.stage.show(self.shadow, rows[0], self.writer, self.step)
        return figures
