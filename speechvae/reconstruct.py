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
from speechvae.stages.vae import VAEStage


def reconstruct(work: str | Path, progress: bool = True) -> Path:
    """Write WORK/reconstructions/ID.safetensors (mel [M, T], half) from posterior means, by the last VAE checkpoint.

    f0, energy and voicing are the heads' own, as in synthesis. Files of an earlier checkpoint are replaced.
    """
    work = Path(work)
    store = checkpoint.CheckpointStore(work / "checkpoints" / "vae")
    config = Config.parse(store.state()["config"], "the vae checkpoint")
    stage = VAEStage(config, work)
    stage.load_trained()
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
