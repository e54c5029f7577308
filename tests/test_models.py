"""The models: shapes, interfaces, gradients, and what must not change by accident."""

from __future__ import annotations

import pytest
import torch

from speechvae.config import AlignerConfig, AudioConfig, VAEConfig, VocoderConfig
from speechvae.losses import (
    MultiResolutionSTFT,
    adversarial_loss,
    critic_loss,
    feature_matching_loss,
    masked_mean,
)  # fmt: skip
from speechvae.models.aligner import Aligner
from speechvae.models.critics import Critics, MelCritic
from speechvae.models.speech_vae import SpeechVAE
from speechvae.models.vocoder import Vocoder
from speechvae.nn.batch import Batch
from speechvae.nn.layers import sequence_mask

AUDIO = AudioConfig()
TINY = VAEConfig(
    hidden=16, text_layers=1, text_heads=2, speaker_dim=4, z_u_dim=4, z_p_dim=2, posterior_dim=16,
    posterior_layers=1, prior_layers=1, head_layers=1, decoder_dim=16, decoder_layers=1, dropout=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def vae() -> SpeechVAE:
    torch.manual_seed(0)
    return SpeechVAE(AUDIO, TINY, symbols=20, speakers=2).eval()


@pytest.fixture(scope="module")
def batch() -> Batch:
    torch.manual_seed(1)
    w = torch.tensor([[3, 5, 2, 4], [6, 4, 0, 0]])
    frames = 14
    y = torch.randn(2, 100, frames) - 5
    f0 = torch.where(torch.rand(2, frames) > 0.3, 180.0, 0.0)
    return Batch(
        ids=["a", "b"], speaker=torch.tensor([0, 1]), x=torch.tensor([[1, 5, 6, 2], [1, 2, 0, 0]]),
        x_lengths=torch.tensor([4, 2]), y=y, y_lengths=torch.tensor([14, 10]), w=w, f0=f0,
    )  # fmt: skip


def test_forward_shapes(vae: SpeechVAE, batch: Batch) -> None:
    out = vae(batch)
    assert out["mel"].shape == (2, 100, 14)
    assert out["z"].z_u.shape == (2, 4) and out["z"].z_p.shape == (2, 2, 4)
    assert out["q"].m_p.shape == out["p_p"].logs.shape == (2, 2, 4)
    assert not out["mel"][1, :, 10:].any()


def test_a_reading_is_deterministic_given_its_latents(vae: SpeechVAE, batch: Batch) -> None:
    assert batch.x is not None and batch.x_lengths is not None and batch.w is not None
    mask = sequence_mask(batch.x_lengths)
    h, g = vae.encode(batch.x, mask, batch.speaker)
    z = vae.sample(h, mask, g, generator=torch.Generator().manual_seed(3))
    again = vae.sample(h, mask, g, generator=torch.Generator().manual_seed(3))
    assert torch.equal(z.z_p, again.z_p) and torch.equal(z.z_u, again.z_u)
    prosody = vae.prosody(h, mask, z, g)
    assert prosody.vuv.min() >= 0 and prosody.vuv.max() <= 1
    mel = vae.decode(h, z, g, prosody, batch.w)
    assert mel.shape == (2, 100, 14)
    assert torch.equal(mel, vae.decode(h, z, g, prosody, batch.w))
    expected = vae.sample(h, mask, g, 0.0, 0.0)
    assert torch.equal(expected.z_p, vae.sample(h, mask, g, 0.0, 0.0).z_p)


def test_other_clips_of_a_batch_do_not_matter(vae: SpeechVAE, batch: Batch) -> None:
    both = vae(batch, teacher=1.0, temperature=0.0)
    alone = Batch(
        ids=["b"], speaker=batch.speaker[1:], x=batch.x[1:, :2], x_lengths=batch.x_lengths[1:],  # type: ignore[index]
        y=batch.y[1:, :, :10], y_lengths=batch.y_lengths[1:], w=batch.w[1:, :2], f0=batch.f0[1:, :10],  # type: ignore[index]
    )  # fmt: skip
    single = vae(alone, teacher=1.0, temperature=0.0)
    torch.testing.assert_close(both["mel"][1:, :, :10], single["mel"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(both["q"].m_u[1:], single["q"].m_u, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(both["p_p"].m[1:, :, :2], single["p_p"].m, atol=1e-4, rtol=1e-4)


def test_measured_prosody(vae: SpeechVAE, batch: Batch) -> None:
    from speechvae.nn.align import durations_to_path

    assert batch.w is not None
    true = vae.measure(batch, durations_to_path(batch.w, 14))
    torch.testing.assert_close(true.logw[0, 0].exp(), batch.w[0].float())
    hz = vae.f0_hz(true.f0, batch.speaker)
    voiced = true.vuv >= 0.3
    torch.testing.assert_close(hz[voiced], torch.full_like(hz[voiced], 180.0), atol=0.1, rtol=0)


def test_every_part_of_the_vae_learns(batch: Batch) -> None:
    from speechvae.stages.vae import rates

    torch.manual_seed(0)
    model = SpeechVAE(AUDIO, TINY, symbols=20, speakers=2)
    # What starts at exactly zero (the flow's last layers) passes no gradient on at the first step.
    for name, w in model.named_parameters():
        if "flow" in name and "proj_out" in name:
            torch.nn.init.normal_(w, std=0.1)
    out = model(batch)
    loss = out["mel"].abs().mean() + out["guess"].stack().abs().mean()
    loss = loss + sum(r.mean() for r in rates(out))
    loss.backward()
    still = [n for n, w in model.named_parameters() if w.grad is None or not w.grad.any()]
    # The likelihoods' scales learn from the stage's losses; padding and unseen symbols have no gradient by design.
    assert [n for n in still if not n.startswith("log_b")] == []


def test_mel_critic_scores_patches_and_windows_stay_inside(batch: Batch) -> None:
    from speechvae.stages.vae import cut, draw_window

    assert batch.y is not None and batch.y_lengths is not None
    window = draw_window(batch)
    assert window.shape == (2, 10)
    assert (window.max(1).values < batch.y_lengths).all() and (window >= 0).all()
    patch = cut(batch.y, window)
    torch.testing.assert_close(patch[1], batch.y[1][:, window[1]])
    score, features = MelCritic(4)(patch)
    assert score.shape[:2] == (2, 1) and len(features) == 4


def test_an_octave_away_is_bridged_not_believed(vae: SpeechVAE, batch: Batch) -> None:
    from dataclasses import replace

    from speechvae.nn.align import durations_to_path

    assert batch.w is not None and batch.f0 is not None
    f0 = torch.full_like(batch.f0, 180.0)
    f0[0, 3:8] = 80.0  # the second phoneme, creaky
    true = vae.measure(replace(batch, f0=f0), durations_to_path(batch.w, 14))
    hz = vae.f0_hz(true.f0, batch.speaker)
    assert hz[0, 0, 1].item() == pytest.approx(180.0, abs=0.5)
    assert true.vuv[0, 0, 1] == 0 and true.vuv[0, 0, 0] == 1


def test_vocoder_length_and_independence_of_distant_frames() -> None:
    torch.manual_seed(0)
    vocoder = Vocoder(AUDIO, VocoderConfig(dim=16, layers=2)).eval()
    mel = torch.randn(1, 100, 120) - 4
    with torch.no_grad():
        wav = vocoder(mel)
        changed = mel.clone()
        changed[..., 100:] += 1
        other = vocoder(changed)
    assert wav.shape == (1, 120 * 256) and torch.isfinite(wav).all()
    reach = (vocoder.receptive_field // 2 + 2) * 256
    torch.testing.assert_close(wav[:, : 100 * 256 - reach], other[:, : 100 * 256 - reach])
    assert not torch.allclose(wav, other)


@pytest.mark.parametrize("level", [-16.2, 0.0, 30.0])
def test_vocoder_stays_finite_on_unheard_of_mels(level: float) -> None:
    torch.manual_seed(0)
    vocoder = Vocoder(AUDIO, VocoderConfig(dim=16, layers=1)).eval()
    with torch.no_grad():
        assert torch.isfinite(vocoder(torch.full((1, 100, 20), level))).all()


def test_aligner_shapes_and_sums() -> None:
    torch.manual_seed(0)
    aligner = Aligner(100, 9, AlignerConfig(dim=16, layers=1)).eval()
    y = torch.randn(1, 100, 30)
    ctc, frames = aligner(y, torch.ones(1, 1, 30, dtype=torch.bool))
    assert ctc.shape == frames.shape == (1, 30, 9)
    w, _ = aligner.align(y[0], torch.tensor([1, 4, 5, 2]))
    assert int(w.sum()) == 30 and int(w.min()) >= 1


def test_spectral_loss_is_zero_for_equal_and_grows_with_noise() -> None:
    torch.manual_seed(0)
    loss = MultiResolutionSTFT()
    wav = torch.randn(2, 8192) * 0.1
    assert loss(wav, wav).item() == pytest.approx(0.0, abs=1e-5)
    noise = torch.randn_like(wav)
    assert loss(wav + 0.02 * noise, wav) < loss(wav + 0.1 * noise, wav)


def test_critic_losses() -> None:
    torch.manual_seed(0)
    critics = Critics(4)
    a, b = torch.randn(2, 4096) * 0.1, torch.randn(2, 4096) * 0.1
    real, fake = critics(a), critics(b)
    assert len(real) == 8
    assert 0 < critic_loss(real, fake).item() < 4
    assert adversarial_loss(fake).item() > 0
    assert feature_matching_loss(real, real).item() == 0
    assert feature_matching_loss(real, fake).item() > 0


def test_masked_mean() -> None:
    x = torch.tensor([[[1.0, 5.0], [3.0, 9.0]]])
    assert masked_mean(x, torch.tensor([[[True, False]]])).item() == 2.0
