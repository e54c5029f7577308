"""Voice folders: what is written is what is read, and what does not fit is refused in words."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from speechvae import Voice, list_voices
from speechvae.checkpoint import CheckpointStore, load_weights, save_weights
from speechvae.config import AlignerConfig, Config
from speechvae.errors import SpeechVAEError
from speechvae.export import trained_aligner
from speechvae.models.aligner import Aligner
from speechvae.models.vocoder import Vocoder
from speechvae.voice_files import ACOUSTIC, ALIGNER, VOCODER, load_aligner, read_settings, save_voice


@pytest.fixture
def folder(voice: Any, tmp_path: Path) -> Path:
    path = tmp_path / "mine"
    path.mkdir()
    (path / "README.md").write_text("the card")
    return save_voice(path, voice.settings, voice.model, voice.vocoder)


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "voice.yaml"
    data = yaml.safe_load(path.read_text())
    data.update(changes)
    path.write_text(yaml.safe_dump(data, allow_unicode=True))


def test_a_saved_voice_speaks_alike(voice: Any, folder: Path) -> None:
    loaded = Voice.load(folder)
    assert loaded.speakers == voice.speakers and loaded.symbols == voice.symbols
    a, b = (v.say("Hello.", seed=1, temperature=0, style_temperature=0) for v in (voice, loaded))
    assert abs(len(a.wav) - len(b.wav)) <= 512  # half precision may move a rounding
    assert (folder / "README.md").read_text() == "the card"
    assert sorted(p.name for p in folder.iterdir()) == ["README.md", ACOUSTIC, VOCODER, "voice.yaml"]
    assert [v.name for v in list_voices(folder.parent)] == ["test"]


def test_griffin_lim_needs_no_weights(voice: Any, folder: Path) -> None:
    settings = voice.settings.model_copy(update={"vocoder_kind": "griffinlim"})
    save_voice(folder, settings, voice.model, None)
    assert not (folder / VOCODER).exists()
    loaded = Voice.load(folder)
    assert loaded.vocoder is None and np.isfinite(loaded.say("Hello.", seed=1).wav).all()


def test_unknown_voice(tmp_path: Path) -> None:
    with pytest.raises(SpeechVAEError, match="no voice 'nobody'.*kathleen"):
        Voice.load("nobody")
    with pytest.raises(SpeechVAEError, match="is not a voice"):
        Voice.load(tmp_path)


def test_missing_and_damaged_weights(folder: Path) -> None:
    whole = (folder / ACOUSTIC).read_bytes()
    (folder / ACOUSTIC).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SpeechVAEError, match="damaged"):
        Voice.load(folder)
    (folder / ACOUSTIC).write_bytes(b"")
    with pytest.raises(SpeechVAEError, match="damaged"):
        Voice.load(folder)
    (folder / ACOUSTIC).unlink()
    with pytest.raises(SpeechVAEError, match="no file at"):
        Voice.load(folder)


def test_wrong_settings(folder: Path) -> None:
    backup = folder.parent / "backup"
    shutil.copytree(folder, backup)
    for changes, message in (
        ({"audio": {"hop": 300}}, "other mel features"),
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"default_speaker": "nobody"}, "not among the speakers"),
        ({"speakers": ["one", "two", "three"]}, "does not fit the model.*speaker"),
        ({"vae": {"hidden": 32, "text_heads": 2}}, "does not fit the model"),
    ):
        shutil.copytree(backup, folder, dirs_exist_ok=True)
        edit(folder, **changes)
        with pytest.raises(SpeechVAEError, match=message):
            Voice.load(folder)
    (folder / "voice.yaml").write_text("{")
    with pytest.raises(SpeechVAEError, match="not valid YAML"):
        Voice.load(folder)


def test_non_finite_weights_are_refused(folder: Path) -> None:
    tensors = load_weights(folder / VOCODER, "vocoder")
    name = next(iter(tensors))
    tensors[name] = torch.full_like(tensors[name], float("nan"))
    save_weights(folder / VOCODER, tensors)
    with pytest.raises(SpeechVAEError, match="non-finite weights"):
        Voice.load(folder)


def test_checkpoints_replace_each_other_whole(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "c")
    assert not store.exists()
    for step in (1, 2):
        store.save({"model": {"w": torch.full((2,), float(step))}}, {"step": step})
    assert store.exists() and store.state()["step"] == 2
    assert store.load("model")["w"].tolist() == [2.0, 2.0]
    previous = load_weights(tmp_path / "c" / "previous" / "model.safetensors", "x")
    assert previous["w"].tolist() == [1.0, 1.0]
    (store.last / "state.json").write_text("{broken")
    with pytest.raises(SpeechVAEError, match="previous"):
        store.state()


def random_aligner(voice: Any) -> Aligner:
    return Aligner(voice.settings.audio.n_mels, len(voice.settings.symbols), AlignerConfig(dim=16, layers=1))


def test_the_aligner_travels_with_the_voice(voice: Any, folder: Path) -> None:
    with pytest.raises(SpeechVAEError, match="no aligner.*train --stage aligner"):
        load_aligner(folder, read_settings(folder))
    aligner = random_aligner(voice).eval()
    save_voice(folder, voice.settings, voice.model, voice.vocoder, aligner)
    loaded = Voice.load(folder)
    assert loaded.folder == folder and loaded.settings.aligner is not None and loaded.settings.aligner.dim == 16
    mel, mask = torch.randn(1, 100, 40), torch.ones(1, 1, 40, dtype=torch.bool)
    with torch.inference_mode():
        a, b = (m(mel, mask)[0] for m in (aligner, load_aligner(folder, loaded.settings)))
    assert torch.allclose(a, b, atol=0.02)  # half precision
    assert loaded.vocoder is None or isinstance(loaded.vocoder, Vocoder)
    save_voice(folder, loaded.settings, loaded.model, loaded.vocoder)  # other things changed
    assert load_aligner(folder, read_settings(folder)) is not None
    (folder / ALIGNER).write_bytes((folder / ALIGNER).read_bytes()[:100])
    with pytest.raises(SpeechVAEError, match="damaged"):
        load_aligner(folder, read_settings(folder))
    save_voice(folder, voice.settings, voice.model, voice.vocoder)  # trained without one
    assert not (folder / ALIGNER).exists() and read_settings(folder).aligner is None


def test_the_shipped_voice_can_listen() -> None:
    shipped = Voice.load("kathleen")
    assert shipped.folder is not None
    aligner = load_aligner(shipped.folder, shipped.settings)
    assert sum(p.numel() for p in aligner.parameters()) < 1e6


def test_export_finds_the_aligner(voice: Any, tmp_path: Path) -> None:
    config, symbols = Config(aligner=AlignerConfig(dim=16, layers=1)), len(voice.settings.symbols)
    assert trained_aligner(tmp_path, config, symbols) is None
    state = {"config": config.model_dump(mode="json")}
    CheckpointStore(tmp_path / "checkpoints" / "aligner").save({"ema": random_aligner(voice).state_dict()}, state)
    found = trained_aligner(tmp_path, config, symbols)
    assert found is not None and found.cfg.dim == 16
    with pytest.raises(SpeechVAEError, match="does not fit the model"):
        trained_aligner(tmp_path, config, symbols + 1)
