"""Vocoders by name and path; the public format; chunks that make up the whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchaudio
import yaml
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from speechvae import Voice
from speechvae.audio import mel_filters
from speechvae.checkpoint import CheckpointStore
from speechvae.config import AudioConfig, Config, VocoderConfig
from speechvae.errors import SpeechVAEError
from speechvae.models.vocoder import FourierVocoder, Vocoder, VocosVocoder, vocode_stream
from speechvae.vocoders import export_vocoder, load_vocoder, save_vocoder
from speechvae.voice_files import save_voice

AUDIO = AudioConfig()
DIM, INNER, LAYERS = 24, 40, 3


def vocos_config(padding: str = "center", **features: Any) -> dict[str, Any]:
    """As the public 24 kHz mel model describes itself, but small."""
    return {
        "feature_extractor": {
            "class_path": "vocos.feature_extractors.MelSpectrogramFeatures",
            "init_args": {
                "sample_rate": 24000, "n_fft": 1024, "hop_length": 256, "n_mels": 100, "padding": padding, **features,
            },
        },
        "backbone": {
            "class_path": "vocos.models.VocosBackbone",
            "init_args": {"input_channels": 100, "dim": DIM, "intermediate_dim": INNER, "num_layers": LAYERS},
        },
        "head": {
            "class_path": "vocos.heads.ISTFTHead",
            "init_args": {"dim": DIM, "n_fft": 1024, "hop_length": 256, "padding": padding},
        },
    }  # fmt: skip


def vocos_state(seed: int = 0) -> dict[str, Tensor]:
    """Random weights under every name of the public file; large enough that each of them matters."""
    g = torch.Generator().manual_seed(seed)

    def r(*shape: int, scale: float = 0.3, middle: float = 0.0) -> Tensor:
        return middle + scale * torch.randn(*shape, generator=g)

    transform = torchaudio.transforms.MelSpectrogram(24000, 1024, hop_length=256, n_mels=100, center=True, power=1)
    state = {f"feature_extractor.mel_spec.{k}": v for k, v in transform.state_dict().items()}
    state |= {"backbone.embed.weight": r(DIM, 100, 7, scale=0.05), "backbone.embed.bias": r(DIM)}
    for name in ("norm", "final_layer_norm"):
        state |= {f"backbone.{name}.weight": r(DIM, middle=1), f"backbone.{name}.bias": r(DIM)}
    for i in range(LAYERS):
        p = f"backbone.convnext.{i}"
        state |= {
            f"{p}.gamma": r(DIM, middle=0.3), f"{p}.dwconv.weight": r(DIM, 1, 7), f"{p}.dwconv.bias": r(DIM),
            f"{p}.norm.weight": r(DIM, middle=1), f"{p}.norm.bias": r(DIM),
            f"{p}.pwconv1.weight": r(INNER, DIM), f"{p}.pwconv1.bias": r(INNER),
            f"{p}.pwconv2.weight": r(DIM, INNER), f"{p}.pwconv2.bias": r(DIM),
        }  # fmt: skip
    # Some magnitudes lie beyond the ceiling of 100, some phases beyond pi.
    return state | {
        "head.out.weight": r(1026, DIM, scale=0.5), "head.out.bias": r(1026, scale=2.0),
        "head.istft.window": torch.hann_window(1024),
    }  # fmt: skip


def reference(state: dict[str, Tensor], mel: Tensor) -> Tensor:
    """The complex spectrum [B, 513, T], written down from the published description without the module."""
    s = {k.removeprefix("backbone."): v for k, v in state.items()}

    def norm(x: Tensor, name: str) -> Tensor:  # over channels, [B, C, T]
        x = (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-6).sqrt()
        return x * s[f"{name}.weight"][:, None] + s[f"{name}.bias"][:, None]

    x = norm(F.conv1d(mel, s["embed.weight"], s["embed.bias"], padding=3), "norm")
    for i in range(LAYERS):
        p = f"convnext.{i}"
        y = norm(F.conv1d(x, s[f"{p}.dwconv.weight"], s[f"{p}.dwconv.bias"], padding=3, groups=DIM), f"{p}.norm")
        y = torch.einsum("oc,bct->bot", s[f"{p}.pwconv1.weight"], y) + s[f"{p}.pwconv1.bias"][:, None]
        y = y * 0.5 * (1 + torch.erf(y / 2**0.5))
        y = torch.einsum("oc,bct->bot", s[f"{p}.pwconv2.weight"], y) + s[f"{p}.pwconv2.bias"][:, None]
        x = x + s[f"{p}.gamma"][:, None] * y
    x = norm(x, "final_layer_norm")
    out = torch.einsum("oc,bct->bot", s["head.out.weight"], x) + s["head.out.bias"][:, None]
    magnitude, phase = out[:, :513].exp().clip(max=1e2), out[:, 513:]
    return magnitude * (torch.cos(phase) + 1j * torch.sin(phase))


def overlap_add(spectrum: Tensor, pad: int) -> Tensor:
    """Inverse STFT frame by frame, `pad` samples cut off at both ends: 384 for "same", 512 for "center"."""
    window = torch.hann_window(1024)
    frames = torch.fft.irfft(spectrum, 1024, dim=1) * window[:, None]
    out = torch.zeros(len(frames), (frames.shape[-1] - 1) * 256 + 1024)
    weight = torch.zeros(out.shape[-1])
    for t in range(frames.shape[-1]):
        out[:, t * 256 : t * 256 + 1024] += frames[..., t]
        weight[t * 256 : t * 256 + 1024] += window.square()
    return (out / weight.clamp_min(1e-11))[:, pad:-pad]


def write_vocos(folder: Path, config: dict[str, Any], state: dict[str, Tensor], kind: str = "bin") -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    if kind == "bin":
        torch.save(state, folder / "pytorch_model.bin")
    else:
        save_file({k: v.contiguous() for k, v in state.items()}, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def mel() -> Tensor:
    torch.manual_seed(3)
    return torch.randn(2, 100, 60).cumsum(-1) * 0.3 - 4


@pytest.mark.parametrize(("kind", "padding"), [("bin", "center"), ("safetensors", "center"), ("bin", "same")])
def test_public_vocos_files_load_and_compute_what_is_published(
    tmp_path: Path, mel: Tensor, kind: str, padding: str
) -> None:
    state = vocos_state()
    vocoder = load_vocoder(write_vocos(tmp_path / "vocos", vocos_config(padding), state, kind), AUDIO)
    assert isinstance(vocoder, VocosVocoder) and not vocoder.training
    with torch.inference_mode():
        wav = vocoder(mel)
    framed = F.pad(mel, (0, 1), mode="replicate")
    spectrum = reference(state, framed)
    assert (spectrum.abs() > 99.9).any() and (spectrum.abs() < 90).any()
    assert wav.shape == (2, 60 * 256)
    # The published inverse for "same" puts frame t in the middle of hop t; our frame t lies at its beginning.
    expected = overlap_add(spectrum, 512) if padding == "center" else overlap_add(spectrum, 384)[:, 128:-128]
    assert expected.shape == wav.shape and wav.abs().max() > 0.1
    torch.testing.assert_close(wav, expected, atol=1e-4 * float(wav.abs().max()), rtol=0)


def test_published_sizes(tmp_path: Path) -> None:
    vocoder = VocosVocoder(AUDIO, 512, 1536, 8)
    assert sum(p.numel() for p in vocoder.parameters()) == 13_531_650
    assert (vocoder.receptive_field, vocoder.reach) == (58, 29)
    assert vocoder.receptive_seconds == pytest.approx(0.6187, abs=1e-4)


def test_a_weights_file_may_be_named_itself(tmp_path: Path) -> None:
    folder = write_vocos(tmp_path / "vocos", vocos_config(), vocos_state())
    other = shutil.move(folder / "pytorch_model.bin", folder / "step_1000.bin")
    assert isinstance(load_vocoder(other), VocosVocoder)
    with pytest.raises(SpeechVAEError, match="no weights: model.safetensors or pytorch_model.bin"):
        load_vocoder(folder)


def changed(**parts: dict[str, Any]) -> dict[str, Any]:
    config = vocos_config()
    for part, arguments in parts.items():
        config[part]["init_args"] |= arguments
    return config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (vocos_config(sample_rate=22050), "sample_rate: 22050 instead of 24000"),
        (changed(feature_extractor={"hop_length": 300}), "hop: 300 instead of 256"),
        (changed(head={"hop_length": 300}), "hop_length is 300, which does not go with 256"),
        (vocos_config(mel_scale="slaney", norm="slaney"), "scale slaney"),
        (vocos_config(f_max=8000), "f_max: 8000.0 instead of None"),
        (vocos_config(loudness=1), "loudness"),
        (changed(feature_extractor={"padding": "same"}), "head.padding is center"),
        (changed(backbone={"input_channels": 80}), "input_channels is 80"),
        (changed(backbone={"adanorm_num_embeddings": 4}), "conditioned"),
        (changed(backbone={"num_layers": 2}), "unknown: backbone.convnext.2"),
        (changed(backbone={"num_layers": None}), "not a number"),
        ({**vocos_config(), "head": {"class_path": "vocos.heads.IMDCTCosHead"}}, "IMDCTCosHead"),
        ({**vocos_config(), "feature_extractor": {"class_path": "vocos.x.EncodecFeatures"}}, "EncodecFeatures"),
        ({"name": "voice"}, "does not describe a Vocos model"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    folder = write_vocos(tmp_path / "vocos", config, vocos_state())
    with pytest.raises(SpeechVAEError, match=message):
        load_vocoder(folder, AUDIO)


def test_weights_of_another_mel_than_their_configuration_says(tmp_path: Path) -> None:
    folder = write_vocos(tmp_path / "vocos", vocos_config(f_max=8000), vocos_state())
    with pytest.raises(SpeechVAEError, match="mel_scale.fb differs"):
        load_vocoder(folder)


class Evil:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("ran"),)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state: dict[str, Any] = {**vocos_state(), "evil": Evil()}
    folder = write_vocos(tmp_path / "vocos", vocos_config(), state)
    with pytest.raises(SpeechVAEError, match="more than tensors"):
        load_vocoder(folder)
    assert not Path("ran").exists()
    (folder / "pytorch_model.bin").write_bytes(b"not weights")
    with pytest.raises(SpeechVAEError, match="damaged"):
        load_vocoder(folder)


def test_vocoders_of_voices_and_checkpoints(voice: Any, tmp_path: Path, mel: Tensor) -> None:
    folder = tmp_path / "mine"
    save_voice(folder, voice.settings, voice.model, voice.vocoder)
    store = CheckpointStore(tmp_path / "work" / "checkpoints" / "vocoder")
    config = Config(vocoder=voice.vocoder.cfg).model_dump(mode="json") | {"from_a_later_version": 1}
    store.save({"ema": voice.vocoder.state_dict()}, {"config": config})
    places = [folder, folder / "vocoder.safetensors", tmp_path / "work", store.folder, store.last,
              store.last / "ema.safetensors"]  # fmt: skip
    with torch.inference_mode():
        wanted = voice.vocoder(mel)
        for place in places:
            found = load_vocoder(place, AUDIO)
            assert isinstance(found, Vocoder)
            torch.testing.assert_close(found(mel), wanted, atol=1e-2 * float(wanted.abs().max()), rtol=0)
    assert load_vocoder("griffinlim") is None
    with pytest.raises(SpeechVAEError, match="n_mels: 100 instead of 80"):
        load_vocoder(folder, AudioConfig(n_mels=80))
    (store.last / "state.json").write_text(json.dumps({"step": 3}))
    with pytest.raises(SpeechVAEError, match="checkpoint"):
        load_vocoder(tmp_path / "work")


def test_a_vocoder_that_stands_alone(tmp_path: Path, mel: Tensor) -> None:
    config = Config(name="mine", vocoder=VocoderConfig(dim=16, layers=1, refinements=3))
    torch.manual_seed(0)
    wanted = Vocoder(AUDIO, config.vocoder)
    with pytest.raises(SpeechVAEError, match="no checkpoint of stage vocoder"):
        export_vocoder(tmp_path, tmp_path / "mine")
    CheckpointStore(tmp_path / "work" / "checkpoints" / "vocoder").save(
        {"ema": wanted.state_dict()}, {"step": 1, "config": config.model_dump()}
    )
    folder = export_vocoder(tmp_path / "work", tmp_path / "mine")
    found = load_vocoder(folder, AUDIO)
    assert isinstance(found, Vocoder) and found.refinements == 3
    with torch.inference_mode():
        torch.testing.assert_close(found.spectrum(mel), wanted.spectrum(mel), atol=1e-2, rtol=1e-2)
    with pytest.raises(SpeechVAEError, match="n_mels: 100 instead of 80"):
        load_vocoder(folder, AudioConfig(n_mels=80))
    text = (folder / "vocoder.yaml").read_text()
    (folder / "vocoder.yaml").write_text(text + "loudness: 3\n")
    with pytest.raises(SpeechVAEError, match="loudness"):
        load_vocoder(folder)


def test_unknown_vocoders(tmp_path: Path) -> None:
    with pytest.raises(SpeechVAEError, match="no vocoder 'hifi': known are griffinlim, kathleen; or"):
        load_vocoder("hifi")
    with pytest.raises(SpeechVAEError, match="no vocoder in .*config.yaml"):
        load_vocoder(tmp_path)


def test_a_voice_speaks_through_another_vocoder(voice: Any, tmp_path: Path) -> None:
    folder = save_voice(tmp_path / "mine", voice.settings, voice.model, voice.vocoder)
    public = write_vocos(tmp_path / "vocos", vocos_config(), vocos_state())
    mine, other, plain = (Voice.load(folder, vocoder=v) for v in (None, public, "griffinlim"))
    assert isinstance(other.vocoder, VocosVocoder) and plain.vocoder is None
    assert other.info()["vocoder"].startswith("vocos") and plain.info()["vocoder"].startswith("griffinlim")
    assert "receptive field 16 frames, 171 ms" in mine.info()["vocoder"]
    a, b = (v.say("Hello.", seed=1) for v in (mine, other))
    assert (a.mel == b.mel).all() and a.wav.shape == b.wav.shape and abs(a.wav - b.wav).max() > 0.01


def made(kind: str) -> FourierVocoder:
    torch.manual_seed(0)
    if kind in ("ours", "refined"):
        vocoder = Vocoder(AUDIO, VocoderConfig(dim=16, layers=2, refinements=0 if kind == "ours" else 2))
        torch.nn.init.normal_(vocoder.net.proj_out.weight, std=0.3)
        return vocoder.eval()
    if kind == "wide windows":  # n_fft is no multiple of 2 hop
        return Vocoder(AudioConfig(hop=200, n_fft=1024), VocoderConfig(dim=16, layers=1)).eval()
    if kind == "vocos":
        return VocosVocoder(AUDIO, 16, 32, 2).eval()
    shipped = load_vocoder("kathleen")
    assert shipped is not None
    return shipped


@pytest.mark.parametrize("kind", ["ours", "refined", "wide windows", "vocos", "shipped"])
def test_chunks_make_up_the_whole(kind: str) -> None:
    vocoder = made(kind)
    torch.manual_seed(1)
    mel = torch.randn(1, 100, 301).cumsum(-1) * 0.2 - 5
    with torch.inference_mode():
        whole = vocoder(mel)
    for chunk, piece in ((1, 300), (7, 1), (64, 13), (200, 301), (1000, 64)):
        if kind == "shipped" and chunk < 64:
            continue  # minutes
        out = list(vocode_stream(vocoder, mel.split(piece, -1), chunk))
        assert all(o.shape[-1] == chunk * vocoder.audio.hop for o in out[:-1])
        joined = torch.cat(out, -1)
        assert joined.shape == whole.shape
        assert (joined - whole).abs().max() < 1e-4 * max(1.0, float(whole.abs().max())), (chunk, piece)


def test_a_stream_waits_no_longer_than_it_must() -> None:
    vocoder = made("ours")
    taken = 0

    def feed() -> Iterator[Tensor]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield torch.zeros(1, 100, 1)

    stream = vocode_stream(vocoder, feed(), chunk=10)
    next(stream)
    assert taken == 10 + vocoder.reach
    assert list(vocode_stream(vocoder, [])) == []
    with pytest.raises(SpeechVAEError, match="at least 1 frame"):
        list(vocode_stream(vocoder, [torch.zeros(1, 100, 3)], 0))


@pytest.mark.parametrize("kind", ["ours", "refined", "vocos"])
def test_the_receptive_field_is_the_stated_one(kind: str) -> None:
    vocoder = made(kind)
    mel = torch.full((1, 100, 80), -4.0, requires_grad=True)
    wav = vocoder(mel)[0]
    touched = torch.zeros(80, dtype=torch.bool)
    for sample in range(40 * 256, 41 * 256, 51):
        (grad,) = torch.autograd.grad(wav[sample], mel, retain_graph=True)
        touched |= grad[0].abs().sum(0) > 0
    frames = touched.nonzero()
    assert int(frames.max() - frames.min()) + 1 == vocoder.receptive_field
    assert 40 - int(frames.min()) <= vocoder.reach and int(frames.max()) - 40 < vocoder.reach + 1


def test_refinement_makes_a_spectrogram_that_a_signal_can_have() -> None:
    vocoder = made("refined")
    torch.manual_seed(1)
    mel = torch.randn(1, 100, 60).cumsum(-1) * 0.2 - 5

    def disagreement(steps: int) -> float:
        """How far the signal's magnitudes are from the predicted ones, as a share of them."""
        vocoder.refinements = steps
        with torch.inference_mode():
            wanted = vocoder.spectrum(torch.nn.functional.pad(mel, (0, 1), mode="replicate")).abs()
            window = torch.hann_window(1024)
            found = torch.stft(vocoder(mel), 1024, 256, window=window, return_complex=True).abs()
        return float((found - wanted).norm() / wanted.norm())

    # Griffin and Lim (1984) prove that no step makes it worse.
    errors = [disagreement(n) for n in (0, 1, 2, 8)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.9 * errors[0]
    short = vocoder(torch.full((1, 100, 1), -5.0))  # too short to be reflected
    assert short.shape == (1, 256) and torch.isfinite(short).all()


def test_our_mel_filters_are_those_of_the_public_file() -> None:
    torch.testing.assert_close(vocos_state()["feature_extractor.mel_spec.mel_scale.fb"], mel_filters(AUDIO))


def test_the_average_of_two_vocoders(tmp_path: Path, recipe_script: Callable[[str], Any]) -> None:
    script, made_of = recipe_script("english/average_vocoders.py"), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        made_of.append(Vocoder(AUDIO, VocoderConfig(dim=16, layers=1)))
        save_vocoder(made_of[-1], str(seed), tmp_path / str(seed))
    parts = [f"{tmp_path / '1'}:0.25", f"{tmp_path / '2'}:0.75"]
    script.main([*parts, "--refinements", "4", "--name", "mean", "-o", str(tmp_path / "mean")])
    found = load_vocoder(tmp_path / "mean")
    assert isinstance(found, Vocoder) and found.refinements == 4
    a, b = (v.state_dict() for v in made_of)
    for k, v in found.state_dict().items():
        torch.testing.assert_close(v, 0.25 * a[k] + 0.75 * b[k], atol=1e-3, rtol=1e-3)
    with pytest.raises(SpeechVAEError, match="add up to 0.5"):
        script.average({str(tmp_path / "1"): 0.25, str(tmp_path / "2"): 0.25})
    save_vocoder(Vocoder(AUDIO, VocoderConfig(dim=24, layers=1)), "3", tmp_path / "3")
    with pytest.raises(SpeechVAEError, match="another size"):
        script.average({str(tmp_path / "1"): 0.5, str(tmp_path / "3"): 0.5})
    with pytest.raises(SpeechVAEError, match="own networks"):
        script.average({"griffinlim": 1.0})
    with pytest.raises(SpeechVAEError, match="'kathleen' is not VOCODER:SHARE"):
        script.main(["kathleen", "--name", "x", "-o", str(tmp_path / "x")])
