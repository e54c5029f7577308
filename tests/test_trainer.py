"""Training on a generated corpus: exact resume, slices, clear failures, and a voice at the end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from speechvae import Voice
from speechvae.checkpoint import load_weights
from speechvae.config import AudioConfig, Config, VocoderConfig
from speechvae.dataset import BatchOrder, SegmentBatches, feature_path, read_durations, read_features, read_manifest
from speechvae.errors import SpeechVAEError
from speechvae.export import export_voice
from speechvae.models.vocoder import Vocoder
from speechvae.prepare import prepare
from speechvae.reconstruct import reconstruct
from speechvae.stages import STAGES
from speechvae.stages.aligner import insane
from speechvae.trainer import Trainer, mixed_precision, train
from speechvae.vocoders import save_vocoder
from speechvae.voice_files import ACOUSTIC, VOCODER

TINY = {
    "name": "tiny",
    "aligner": {"dim": 32, "layers": 2, "frames_from": 2, "viterbi_from": 4, "train": {"steps": 6, "batch_size": 4}},
    "vae": {
        "hidden": 16, "text_layers": 1, "text_heads": 2, "speaker_dim": 4, "z_u_dim": 4, "z_p_dim": 2,
        "posterior_dim": 16, "posterior_layers": 1, "prior_layers": 1, "head_layers": 1, "decoder_dim": 16,
        "decoder_layers": 1, "adversarial_from": 3, "critic_channels": 2, "flow_dim": 8,
        "train": {"steps": 6, "batch_size": 4, "critic_lr": 2e-3},
    },
    "vocoder": {
        "dim": 16, "layers": 1, "adversarial_from": 3, "critic_channels": 2,
        "train": {"steps": 6, "batch_size": 2, "segment_frames": 16},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(toy_recipe: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared work folder of generated clips."""
    folder = tmp_path_factory.mktemp("corpus")
    toy_recipe.generate(folder, count=40)
    work = tmp_path_factory.mktemp("prepared")
    prepare([folder], work, progress=False)
    return work


@pytest.fixture
def work(corpus: Path, tmp_path: Path) -> Path:
    """The prepared folder, with room of its own for what training writes."""
    folder = tmp_path / "work"
    folder.mkdir()
    for item in corpus.iterdir():
        (folder / item.name).symlink_to(item)
    return folder


def true_durations(work: Path) -> None:
    """Even durations in place of an aligner's, enough to run the stage that needs them."""
    from speechvae.dataset import write_durations

    out = {}
    for row in read_manifest(work):
        frames, n = read_features(work, row["id"], AudioConfig())["mel"].shape[1], len(row["symbols"])
        ends = torch.linspace(0, frames, n + 1).round().long()
        out[row["id"]] = ends.diff()
    write_durations(work, out)


def last(work: Path, stage: str, name: str = "model") -> dict[str, torch.Tensor]:
    return load_weights(work / "checkpoints" / stage / "last" / f"{name}.safetensors", "checkpoint")


@pytest.mark.parametrize("stage", ["aligner", "vae", "vocoder"])
def test_resumed_equals_uninterrupted(corpus: Path, tmp_path: Path, stage: str) -> None:
    config = Config.parse(TINY, "here")
    folders = []
    for name, slices in (("whole", [6]), ("sliced", [2, 4, 6])):
        folder = tmp_path / name
        folder.mkdir()
        for item in corpus.iterdir():
            (folder / item.name).symlink_to(item)
        if stage == "vae":
            true_durations(folder)
        try:
            for end in slices:
                train(config, stage, folder, steps=end, device="cpu", progress=False)
        except SpeechVAEError as e:  # six steps do not make an aligner; its weights are what is compared
            assert stage == "aligner" and "sane for no utterance" in str(e)
        folders.append(folder)
    for name in ("model", "ema", "optimizer"):
        a, b = (last(folder, stage, name) for folder in folders)
        assert a.keys() == b.keys()
        different = [k for k in a if not torch.equal(a[k], b[k])]
        assert different == [], name


def test_minutes_end_a_slice(work: Path) -> None:
    train(Config.parse(TINY, "here"), "vocoder", work, minutes=0.0, device="cpu", progress=False)
    state = json.loads((work / "checkpoints" / "vocoder" / "last" / "state.json").read_text())
    assert state["step"] == 1 and state["seconds"] > 0


def test_a_level_that_collapses_is_named_loudly(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Config.parse(TINY, "here")
    stage = STAGES["vae"](config, work)
    good = {"kl_u": 11.0, "active_u": 4.0, "kl_p": 1.4, "active_p": 2.0}
    assert stage.alarms(good, 6) == []
    assert stage.alarms({**good, "kl_p": 0.01}, 0) == []  # too early to tell
    (alarm,) = stage.alarms({**good, "kl_p": 0.01}, 6)
    assert alarm.startswith("z_p has collapsed: 0.01 of 1.5 nats a phoneme, 2 active units")
    assert len(stage.alarms({**good, "active_u": 0.0, "active_p": 0.0}, 6)) == 2

    true_durations(work)
    config.vae.capacity_u = 1e6  # nothing reaches that
    train(config, "vae", work, device="cpu", progress=False)
    out = capsys.readouterr()
    assert "WARNING: z_u has collapsed" in out.out + out.err


def test_a_non_finite_loss_stops_and_names_the_clips(work: Path) -> None:
    config = Config.parse(TINY, "here")
    config.vocoder.train.loss_weights = {"mel": float("inf")}
    # inf * loss is a non-finite gradient: the next step's loss is not a number.
    with pytest.raises(SpeechVAEError, match=r"step \d+: .* not finite for utterances \w+"):
        train(config, "vocoder", work, device="cpu", progress=False)
    assert not (work / "checkpoints" / "vocoder" / "last").exists()


def test_from_durations_to_a_voice(work: Path, tmp_path: Path) -> None:
    config = Config.parse(TINY, "here")
    true_durations(work)
    with pytest.raises(SpeechVAEError, match="no checkpoint of stage vae"):
        export_voice(work, tmp_path / "voice")
    figures = train(config, "vae", work, device="cpu", progress=False)
    assert {"mel", "prior_mel", "kl_u", "kl_p", "active_u", "neg_elbo"} <= figures.keys()
    train(config, "vocoder", work, steps=2, device="cpu", progress=False)
    folder = reconstruct(work, progress=False)
    row = read_manifest(work, "train")[0]
    mel = load_weights(folder / f"{row['id']}.safetensors", "mel")["mel"]
    assert mel.shape == read_features(work, row["id"], config.audio)["mel"].shape
    config.vocoder.mel_source = "vae"
    train(config, "vocoder", work, steps=4, device="cpu", progress=False)
    voice = Voice.load(export_voice(work, tmp_path / "voice"))
    check_other_vocoders(work, tmp_path)
    check_start_from_a_voice(work, tmp_path)
    assert voice.name == "tiny" and voice.stats["kl_u"] >= 0
    assert voice.settings.temperature == 0.65 and voice.stats["repeated_prompts"] == 0  # no sentence was read twice
    symbols = " ".join(s for s in voice.settings.symbols if s not in "_^$ ,.?!;:…—")
    audio = voice.say(f"[[{symbols}]]", seed=1)
    assert np.isfinite(audio.wav).all() and audio.duration > 0.1


def check_other_vocoders(work: Path, tmp_path: Path) -> None:
    """A voice may be made with a finished vocoder instead of the one trained in its folder."""
    torch.manual_seed(3)
    other = Vocoder(AudioConfig(), VocoderConfig(dim=24, layers=1, refinements=2)).eval()
    folder = save_vocoder(other, "other", tmp_path / "other")
    voice = Voice.load(export_voice(work, tmp_path / "with_other", str(folder), progress=False))
    assert isinstance(voice.vocoder, Vocoder) and voice.vocoder.cfg == other.cfg
    mel = torch.randn(1, 100, 40) - 5
    with torch.inference_mode():
        torch.testing.assert_close(voice.vocoder.spectrum(mel), other.spectrum(mel), atol=1e-2, rtol=1e-2)
    assert Voice.load(export_voice(work, tmp_path / "plain", "griffinlim", progress=False)).vocoder is None
    with pytest.raises(SpeechVAEError, match="no vocoder 'hifi'"):
        export_voice(work, tmp_path / "none", "hifi", progress=False)
    assert not (tmp_path / "none").exists()


def check_start_from_a_voice(work: Path, tmp_path: Path) -> None:
    """Trainings that start from an exported voice: its weights, in half precision, are what they begin with."""
    config = Config.parse(TINY, "here")
    for stage, part in (("vae", ACOUSTIC), ("vocoder", VOCODER)):
        shutil.rmtree(work / "checkpoints" / stage)
        trainer = Trainer(STAGES[stage](config, work), "cpu", progress=False, init=tmp_path / "voice")
        weights = load_weights(tmp_path / "voice" / part, "voice")
        begun = trainer.shadow.state_dict()
        assert weights and all(torch.equal(begun[k], v) for k, v in weights.items())
    with pytest.raises(SpeechVAEError, match="a voice holds no aligner"):
        Trainer(STAGES["aligner"](config, work), "cpu", progress=False, init=tmp_path / "voice")
    (work / "speakers.json").unlink()
    (work / "speakers.json").write_text('["somebody"]')
    with pytest.raises(SpeechVAEError, match="other speakers"):
        Trainer(STAGES["vae"](config, work), "cpu", progress=False, init=tmp_path / "voice")


def test_a_checkpoint_of_other_features_is_refused(work: Path) -> None:
    train(Config.parse(TINY, "here"), "vocoder", work, steps=1, device="cpu", progress=False)
    with pytest.raises(SpeechVAEError, match="hop: 256 instead of 128"):
        train(Config.parse({**TINY, "audio": {"hop": 128}}, "here"), "vocoder", work, device="cpu", progress=False)


def test_a_damaged_checkpoint_is_named(work: Path) -> None:
    config = Config.parse(TINY, "here")
    train(config, "vocoder", work, steps=1, device="cpu", progress=False)
    path = work / "checkpoints" / "vocoder" / "last" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(SpeechVAEError, match="model.safetensors is damaged"):
        train(config, "vocoder", work, device="cpu", progress=False)


def test_alignments_that_cannot_be_true() -> None:
    symbols = ["^", "a", "b", ",", "c", "$"]
    assert insane(symbols, [90, 8, 6, 70, 9, 80], 93.75) is None  # pauses may be long
    assert insane(symbols, [9, 8, 60, 7, 9, 8], 93.75) == "phoneme b lasts 0.64 s"
    assert insane(symbols, [9, 1, 1, 7, 9, 8], 93.75) == "2 of 3 phonemes last a single frame"


def test_clear_errors_before_training(work: Path, tmp_path: Path) -> None:
    with pytest.raises(SpeechVAEError, match="no stage 'singer': choose one of aligner, vae, vocoder"):
        train(Config(), "singer", work)
    with pytest.raises(SpeechVAEError, match="train the aligner first"):
        read_durations(work)
    with pytest.raises(SpeechVAEError, match="speechvae prepare"):
        train(Config.parse(TINY, "here"), "aligner", tmp_path / "nowhere", device="cpu", progress=False)
    with pytest.raises(SpeechVAEError, match="train.batchsize: Extra inputs"):
        Config.parse({"vae": {"train": {"batchsize": 3}}}, "here")


def test_order_depends_on_seed_and_step_alone() -> None:
    lengths = list(range(10, 60))
    one, two = BatchOrder(lengths, 4, seed=3), BatchOrder(lengths, 4, seed=3)
    expected = [one(s).tolist() for s in range(30)]
    assert [two(s).tolist() for s in reversed(range(30))] == expected[::-1]
    assert expected != [BatchOrder(lengths, 4, seed=4)(s).tolist() for s in range(30)]
    epoch = [i for s in range(one.per_epoch) for i in expected[s]]
    assert len(set(epoch)) == len(epoch)


def test_segments_agree_with_their_audio(work: Path) -> None:
    from speechvae.audio import LogMel

    config = Config.parse(TINY, "here")
    rows = read_manifest(work, "train")
    batch = SegmentBatches(work, rows, config.audio, config.vocoder.train)[0]
    assert batch.y is not None and batch.wav is not None
    assert batch.y.shape == (2, 100, 17) and batch.wav.shape == (2, 16 * 256)
    # Levels were changed for mel and wav alike: away from the cut's edges both tell the same.
    mel = LogMel(config.audio)(batch.wav)[..., 4:12]
    loud = mel > -6
    assert (mel - batch.y[..., 4:12])[loud].abs().mean() < 0.05


def test_varied_segments_agree_with_their_audio(work: Path) -> None:
    from speechvae.audio import LogMel

    config = Config.parse(TINY, "here")
    rows = read_manifest(work, "train")
    plain, varied, dev = (
        SegmentBatches(work, rows, config.audio, config.vocoder.train, augment=a, vary=v)[3]
        for a, v in ((True, 0.0), (True, 1.0), (False, 1.0))
    )
    assert plain.y is not None and varied.y is not None and varied.wav is not None and dev.wav is not None
    assert varied.y.shape == plain.y.shape and varied.wav.abs().max() <= 1.0
    mel = LogMel(config.audio)(varied.wav)[..., 4:12]
    loud = mel > -6
    assert loud.any() and (mel - varied.y[..., 4:12])[loud].abs().mean() < 0.05
    assert not torch.allclose(varied.y, plain.y)
    # Whoever measures hears the clips as they are.
    again = SegmentBatches(work, rows, config.audio, config.vocoder.train, augment=False)[3]
    assert again.wav is not None and torch.equal(dev.wav, again.wav)


def test_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    able = {"_is_avx512_bf16_supported": True, "_is_amx_tile_supported": False}
    for name, value in able.items():
        monkeypatch.setattr(torch.cpu, name, lambda value=value: value)
    assert [mixed_precision(p, cpu=True) for p in ("auto", "fp32", "bf16")] == ["no", "no", "bf16"]
    assert [mixed_precision(p, cpu=False) for p in ("auto", "fp32", "bf16")] == ["bf16", "no", "bf16"]
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert mixed_precision("bf16", cpu=True) == "no"


def test_stale_features_are_refused(work: Path) -> None:
    row = read_manifest(work, "train")[0]
    assert feature_path(work, row["id"]).is_file()
    with pytest.raises(SpeechVAEError, match="other audio settings"):
        read_features(work, row["id"], AudioConfig(hop=128))
    with pytest.raises(SpeechVAEError, match="speechvae prepare"):
        read_features(work, "unknown", AudioConfig())
