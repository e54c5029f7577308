"""A pretrained text encoder beside the phonemes: loaded from a folder, cached, trained with, spoken with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from speechvae.config import Config
from speechvae.dataset import read_features, read_manifest, write_durations
from speechvae.errors import SpeechVAEError
from speechvae.prepare import prepare
from speechvae.sentence_encoder import SentenceEncoder
from speechvae.synthesis import Voice
from speechvae.trainer import train

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "hello", "there", "good", "night"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with random weights and a tokenizer of a few words, as `save_pretrained` writes them."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("encoder")
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]", model_max_length=16
    ).save_pretrained(path)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=16,
    )  # fmt: skip
    BertModel(config).save_pretrained(path)
    return path


def test_embeddings_have_length_one_and_do_not_depend_on_their_neighbours(folder: Path) -> None:
    encoder = SentenceEncoder(str(folder))
    both = encoder.embed(["hello there", "good night good night good"])
    assert both.shape == (2, encoder.size) == (2, 12)
    torch.testing.assert_close(both.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(both[:1], encoder.embed(["hello there"]), atol=1e-5, rtol=0)
    assert not torch.allclose(both[0], both[1], atol=1e-2)
    assert torch.isfinite(encoder.embed(["good night " * 200])).all()


def test_the_table_is_kept_and_completed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, path = SentenceEncoder(str(folder)), tmp_path / "sentences.safetensors"
    first = encoder.table(["hello there"], path)
    asked: list[str] = []
    embed = encoder.embed

    def counted(texts: Sequence[str]) -> torch.Tensor:
        asked.extend(texts)
        return embed(texts)

    monkeypatch.setattr(encoder, "embed", counted)
    again = encoder.table(["hello there", "good night"], path)
    assert asked == ["good night"]
    assert torch.equal(first["hello there"], again["hello there"])


def test_an_encoder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpeechVAEError, match="nowhere.*cannot be loaded"):
        SentenceEncoder(str(tmp_path / "nowhere")).embed(["hello"])


def test_a_voice_trained_with_it_speaks_with_it(
    folder: Path, toy_recipe: ModuleType, tmp_path: Path
) -> None:
    corpus, work = tmp_path / "corpus", tmp_path / "work"
    toy_recipe.generate(corpus, count=24)
    prepare([corpus], work, progress=False)
    tiny: dict[str, Any] = {
        "vae": {
            "hidden": 16, "text_layers": 1, "text_heads": 2, "speaker_dim": 4, "z_u_dim": 3, "z_p_dim": 2,
            "posterior_dim": 16, "posterior_layers": 1, "prior_layers": 1, "head_layers": 1, "decoder_dim": 16,
            "decoder_layers": 1, "flow_dim": 8, "sentence_encoder": str(folder),
            "train": {"steps": 3, "batch_size": 4, "lr": 1e-2},
        },
    }  # fmt: skip
    config = Config.parse(tiny, "here")
    durations = {}
    for row in read_manifest(work):
        frames = read_features(work, row["id"], config.audio)["mel"].shape[1]
        durations[row["id"]] = torch.linspace(0, frames, len(row["symbols"]) + 1).round().long().diff()
    write_durations(work, durations)
    train(config, "vae", work, device="cpu", progress=False)

    from speechvae.export import export_voice

    voice = Voice.load(export_voice(work, tmp_path / "voice", "griffinlim", progress=False))
    assert voice.settings.vae.sentence_dim == 12
    symbols = "[[" + " ".join(read_manifest(work)[0]["symbols"][1:4]) + "]]"
    sentence = voice.frontend(f"hello{symbols}.")[0]
    plain = voice.encode(sentence).h
    assert voice.model.sentence is not None
    voice.model.sentence.weight.data.mul_(2)
    assert not torch.allclose(plain, voice.encode(sentence).h)
    assert np.isfinite(voice.say(f"hello{symbols}.", seed=1).wav).all()
    with pytest.raises(SpeechVAEError, match="needs an embedding"):
        voice.model.encode(torch.ones(1, 2, dtype=torch.long), torch.ones(1, 1, 2, dtype=torch.bool), torch.tensor([0]))
