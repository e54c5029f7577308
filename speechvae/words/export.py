"""From a trained text VAE to a writer's folder."""

from __future__ import annotations

from pathlib import Path

import torch
from tqdm import tqdm

from speechvae import checkpoint
from speechvae.config import Config
from speechvae.errors import SpeechVAEError
from speechvae.models.text_vae import TextVAE
from speechvae.stages.text_vae import TextVAEStage
from speechvae.words.corpus import TextTable
from speechvae.words.writer import BOUND_SAMPLES, fit_usual
from speechvae.words.writer_files import Usual, WriterSettings, save_writer

SENTENCES = 600  # of the dev split, on which the usual cost is measured


def export_writer(work: str | Path, folder: str | Path, progress: bool = True) -> Path:
    """Make a writer from a work folder: the EMA weights of the last checkpoint, in half precision.

    What sentences of each length usually cost is measured on the dev split. A model card in the folder is kept.
    Raises SpeechVAEError where the stage was not trained.
    """
    work = Path(work)
    store = checkpoint.CheckpointStore(work / "checkpoints" / TextVAEStage.name)
    if not store.exists():
        raise SpeechVAEError(f"no checkpoint of stage text_vae in {work}: run `speechvae train --stage text_vae`")
    state = store.state()
    config = Config.parse(state["config"], "the text_vae checkpoint")
    stage = TextVAEStage(config, work)
    stage.load_trained()
    usual = [_usual(stage.model, stage.table, with_context, progress) for with_context in (False, True)]
    settings = WriterSettings(
        name=config.name, language=config.language, description=config.description, characters=stage.table.characters,
        usual=usual[0], usual_reply=usual[1], text_vae=config.text_vae,
        stats={k: round(v, 4) for k, v in state.get("figures", {}).items()},
    )  # fmt: skip
    return save_writer(Path(folder), settings, stage.model, stage.table.tokenizer)


@torch.inference_mode()
def _usual(model: TextVAE, table: TextTable, with_context: bool, progress: bool) -> Usual:
    cfg = model.cfg
    rows = table.rows("dev", cfg, with_context)[:SENTENCES]
    if len(rows) < 3:
        return Usual()
    torch.manual_seed(0)
    costs: list[float] = []
    name = "usual cost of replies" if with_context else "usual cost of sentences"
    for i in tqdm(range(0, len(rows), 16), desc=name, disable=not progress, unit="batch"):
        batch = table.batch(rows[i : i + 16], cfg, with_context)
        assert batch.x is not None
        costs += model.bound(batch.x, batch.context, BOUND_SAMPLES).tolist()
    return fit_usual(costs, [len(table.ids(r)) for r in rows])
