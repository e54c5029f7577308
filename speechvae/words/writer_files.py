"""Writers on disk: a folder with `writer.yaml`, `weights.safetensors` and `tokenizer.json`."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from pydantic import Field

from speechvae import checkpoint
from speechvae.config import Settings, TextVAEConfig
from speechvae.errors import SpeechVAEError
from speechvae.files import replacing
from speechvae.models.text_vae import TextVAE
from speechvae.words.tokens import Tokenizer

SHIPPED = Path(__file__).parents[1] / "writers"
SETTINGS, WEIGHTS, TOKENIZER = "writer.yaml", "weights.safetensors", "tokenizer.json"
DEFAULT_WRITER = "topical"


class Usual(Settings):
    """What a held-out sentence of n tokens costs: `a + b n` nats, with a standard deviation of `c + d n`."""

    a: float = 0.0
    b: float = Field(5.0, gt=0)
    c: float = Field(5.0, gt=0)
    d: float = Field(0.5, ge=0)

    def oddity(self, nats: float, tokens: int) -> float:
        """Standard deviations above what a sentence of that length usually costs."""
        return (nats - self.a - self.b * tokens) / (self.c + self.d * tokens)


class WriterSettings(Settings):
    """`writer.yaml`."""

    format: int = 1
    name: str
    language: str
    description: str = ""
    characters: str = Field("", description="those of the training texts; empty: not recorded")
    usual: Usual = Usual()
    usual_reply: Usual = Usual()
    text_vae: TextVAEConfig = TextVAEConfig()
    stats: dict[str, float] = Field(default_factory=dict, description="figures of the last evaluation on the dev split")


def find_writer(name_or_path: str | Path) -> Path:
    """The folder of a writer given by name or path."""
    for folder in (Path(name_or_path), SHIPPED / str(name_or_path)):
        if (folder / SETTINGS).is_file():
            return folder
    if Path(name_or_path).exists():
        raise SpeechVAEError(f"{name_or_path} is no writer: it has no {SETTINGS} (`speechvae export-writer` makes one)")
    known = ", ".join(sorted(p.parent.name for p in SHIPPED.glob(f"*/{SETTINGS}")))
    which = f"known are {known}" if known else "none is installed"
    raise SpeechVAEError(f"no writer {str(name_or_path)!r}: {which}; or give the path of a writer's folder")


def load_writer(folder: Path) -> tuple[WriterSettings, TextVAE, Tokenizer]:
    """The settings, model and tokenizer of a writer's folder, checked against each other."""
    settings = WriterSettings.load(folder / SETTINGS)
    tokenizer = Tokenizer.load(folder / TOKENIZER)
    model = TextVAE(settings.text_vae, tokenizer.size)
    checkpoint.fill(model, checkpoint.load_weights(folder / WEIGHTS, "writer"), str(folder / WEIGHTS))
    return settings, model.eval(), tokenizer


def save_writer(folder: Path, settings: WriterSettings, model: TextVAE, tokenizer: Tokenizer) -> Path:
    """Write a writer's folder, weights in half precision. Anything else in the folder (its card) is kept."""
    import yaml

    checkpoint.save_weights(folder / WEIGHTS, model.state_dict(), half=True)
    tokenizer.save(folder / TOKENIZER)
    data = json.loads(settings.model_dump_json())
    data["text_vae"].pop("train")  # how it was trained stands in the recipe
    with replacing(folder / SETTINGS) as part:
        part.write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return folder


TINY_TEXTS = [
    "Did you see the game last night?", "Yes, I did. It was a good game.", "I like to read books about the sea.",
    "The ship was late, and nobody knew why.", "What did you do at the weekend?",
    "We went to the sea, and it was cold.",
]  # fmt: skip


def tiny_writer(seed: int) -> tuple[WriterSettings, TextVAE, Tokenizer]:
    """A tiny model with random weights, for tests."""
    tokenizer = Tokenizer.train(TINY_TEXTS, 320)
    cfg = TextVAEConfig(
        vocab=320, hidden=16, heads=2, encoder_layers=1, decoder_layers=2, z_dim=4, components=2, sentence_tokens=24,
        context_tokens=24,
    )  # fmt: skip
    characters = "".join(sorted({c for t in TINY_TEXTS for c in t}))
    settings = WriterSettings(
        name="test", language="en-us", description="random weights, for tests", characters=characters, text_vae=cfg,
        usual=Usual(b=6.0, c=50.0), usual_reply=Usual(b=6.0, c=50.0),
    )  # fmt: skip
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    try:
        model = TextVAE(cfg, tokenizer.size)
    finally:
        torch.random.set_rng_state(state)
    return settings, model.eval(), tokenizer
