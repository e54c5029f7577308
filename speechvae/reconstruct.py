"""A VAE's reconstructions of its corpus: what a vocoder is fine-tuned on.

They lie frame by frame beside the recordings, since they use the recordings' own durations.
"""

from __future__ import annotations

from pathlib import Path

import torch
from tqdm import tqdm

from speechvae import checkpoint
from speechvae.config import Config
from speechvae.dataset import feature_path
from speechvae.stages.aligner import AlignerStage
from speechvae.stages.vae import VAEStage
from speechvae.voice_files import find_voice, load_aligner, read_settings


def reconstruct(work: str | Path, progress: bool = True, voice: str | Path | None = None) -> Path:
    """Write WORK/reconstructions/ID.safetensors (mel [M, T], half) from posterior means.

    By the last VAE checkpoint in WORK or, with `voice`, by a finished voice, whose aligner then also finds the
    durations where WORK has none. f0, energy and voicing are the heads' own, as in synthesis. Files that are there are
    replaced.
    """
    work = Path(work)
    stage = _trained(work) if voice is None else _of_voice(find_voice(voice), work)
    config = stage.config
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = stage.model.to(device)
    for split in ("train", "dev"):
        data = stage.batches(split)
        rows = sorted(data.rows, key=lambda r: len(r["symbols"]))
        size = config.vae.train.batch_size
        steps = range(0, len(rows), size)
        for start in tqdm(steps, desc=f"reconstructing {split}", disable=not progress, unit="batch"):
            batch = data.collate(rows[start : start + size]).to(device)
            assert batch.y_lengths is not None
            with torch.inference_mode():
                mels = model(batch, teacher=0.0, temperature=0.0)["mel"].cpu()
            for i, mel, frames in zip(batch.ids, mels, batch.y_lengths.tolist(), strict=True):
                path = feature_path(work, i, "reconstructions")
                mark = config.audio.fingerprint()
                checkpoint.save_weights(path, {"mel": mel[:, :frames].contiguous()}, half=True, mark=mark)
    return work / "reconstructions"


def _trained(work: Path) -> VAEStage:
    store = checkpoint.CheckpointStore(work / "checkpoints" / "vae")
    stage = VAEStage(Config.parse(store.state()["config"], "the vae checkpoint"), work)
    stage.load_trained()
    return stage


def _of_voice(folder: Path, work: Path) -> VAEStage:
    settings = read_settings(folder)
    config = Config(audio=settings.audio, vae=settings.vae)
    if not (work / "durations.safetensors").is_file():
        aligner = load_aligner(folder, settings)
        config.aligner = aligner.cfg
        AlignerStage(config, work).finish(aligner)
    stage = VAEStage(config, work)
    stage.build()
    stage.start_from(folder)
    stage.model.eval()
    return stage
