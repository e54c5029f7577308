"""Layers, Gaussians and alignments: shapes, masks and known values."""

from __future__ import annotations

import pytest
import torch

from speechvae.errors import SpeechVAEError
from speechvae.models.decoder import Prosody, frame_features, interpolate
from speechvae.models.speech_vae import bridge
from speechvae.nn import gaussian
from speechvae.nn.align import durations_to_path, expand, pool, viterbi_durations
from speechvae.nn.layers import ConvNeXt, masked_average, sequence_mask


def test_mask() -> None:
    assert sequence_mask(torch.tensor([1, 3])).tolist() == [[[True, False, False]], [[True, True, True]]]


def test_padding_does_not_change_a_masked_network() -> None:
    torch.manual_seed(0)
    net = ConvNeXt(3, 8, 5, layers=2).eval()
    x = torch.randn(1, 3, 11)
    alone = net(x, sequence_mask(torch.tensor([11])))
    padded = net(torch.cat([x, torch.randn(1, 3, 6)], 2), sequence_mask(torch.tensor([11]), 17))
    torch.testing.assert_close(padded[..., :11], alone)
    assert not padded[..., 11:].any()


def test_receptive_field_is_what_it_says() -> None:
    torch.manual_seed(0)
    net = ConvNeXt(2, 8, 1, layers=3, kernel=5).eval()
    x = torch.zeros(1, 2, 101, requires_grad=True)
    net(x)[0, 0, 50].backward()
    assert x.grad is not None
    touched = x.grad.abs().sum((0, 1)).nonzero()[:, 0]
    assert int(touched.max() - touched.min()) + 1 == net.receptive_field


def test_kl_agrees_with_torch_and_is_zero_between_equals() -> None:
    torch.manual_seed(0)
    m_q, logs_q, m_p, logs_p = torch.randn(4, 2, 5)
    q = torch.distributions.Normal(m_q, logs_q.exp())
    p = torch.distributions.Normal(m_p, logs_p.exp())
    torch.testing.assert_close(gaussian.kl(m_q, logs_q, m_p, logs_p), torch.distributions.kl_divergence(q, p))
    assert gaussian.kl(m_q, logs_q, m_q, logs_q).abs().max() < 1e-6
    z = torch.randn(2, 5)
    torch.testing.assert_close(gaussian.log_prob(z, m_q, logs_q), q.log_prob(z))


def test_temperature_scales_the_spread() -> None:
    m, logs = torch.ones(20000), torch.zeros(20000)
    assert torch.equal(gaussian.sample(m, logs, 0), m)
    draw = gaussian.sample(m, logs, 0.5, torch.Generator().manual_seed(1))
    assert draw.std().item() == pytest.approx(0.5, rel=0.03)
    assert torch.equal(draw, gaussian.sample(m, logs, 0.5, torch.Generator().manual_seed(1)))


def test_viterbi_finds_a_known_segmentation() -> None:
    labels = torch.tensor([3] * 4 + [1] * 2 + [2] * 5)
    scores = torch.full((11, 4), -5.0)
    scores[torch.arange(11), labels] = 0.0
    w, mean = viterbi_durations(scores.log_softmax(-1), torch.tensor([3, 1, 2]))
    assert w.tolist() == [4, 2, 5] and mean < 0


def test_viterbi_shares_blanks_between_neighbours() -> None:
    labels = torch.tensor([0, 1, 0, 0, 0, 0, 2, 0])
    scores = torch.full((8, 3), -9.0)
    scores[torch.arange(8), labels] = 0.0
    w, _ = viterbi_durations(scores.log_softmax(-1), torch.tensor([1, 2]))
    assert w.tolist() == [4, 4]


def test_viterbi_of_doubled_symbols_and_of_too_few_frames() -> None:
    torch.manual_seed(0)
    w, _ = viterbi_durations(torch.randn(9, 4).log_softmax(-1), torch.tensor([2, 2, 1]))
    assert int(w.sum()) == 9 and int(w.min()) >= 1
    with pytest.raises(SpeechVAEError, match="3 frames are too few for 3 symbols"):
        viterbi_durations(torch.randn(3, 4), torch.tensor([2, 2, 1]))


def test_expand_then_pool_is_identity() -> None:
    w = torch.tensor([[2, 1, 3], [1, 1, 0]])
    path = durations_to_path(w, 6)
    assert path.sum(1).tolist() == [[1.0] * 6, [1.0, 1.0, 0, 0, 0, 0]]
    h = torch.arange(6.0).view(2, 1, 3)
    expanded = expand(h, path)
    assert expanded[0, 0].tolist() == [0, 0, 1, 2, 2, 2]
    back = pool(expanded, path)
    torch.testing.assert_close(back[0], h[0])
    torch.testing.assert_close(back[1, 0, :2], h[1, 0, :2])


def test_bridge_fills_gaps_on_straight_lines() -> None:
    values = torch.tensor([[[9.0, 1.0, 9.0, 9.0, 4.0, 9.0]]])
    known = torch.tensor([[[False, True, False, False, True, False]]])
    assert bridge(values, known)[0, 0].tolist() == [1, 1, 2, 3, 4, 4]
    assert not bridge(values, torch.zeros_like(known)).any()


def test_contours_run_through_the_centres_of_the_phonemes() -> None:
    values, time = torch.tensor([[[0.0, 10.0, 99.0]]]), torch.tensor([0.5, 1.0, 3.5, 6.0, 9.0])
    line = interpolate(values, torch.tensor([[1.0, 6.0, 10.0]]), time, torch.tensor([2]))
    assert line[0, 0].tolist() == [0, 0, 5, 10, 10]
    single = interpolate(values[..., 1:2], torch.tensor([[3.0]]), time, torch.tensor([1]))
    assert single[0, 0].tolist() == [10.0] * 5


def test_frame_features_have_a_place_within_the_phoneme() -> None:
    w = torch.tensor([[3, 2]])
    zero = torch.zeros(1, 1, 2)
    features = frame_features(Prosody(w[:, None].float().log(), zero, zero, zero), w, durations_to_path(w, 5))
    assert features.shape == (1, 6, 5)
    torch.testing.assert_close(features[0, 4] * 8, torch.tensor([0.5, 1.5, 2.5, 0.5, 1.5]))
    torch.testing.assert_close(features[0, 5] * 8, torch.tensor([2.5, 1.5, 0.5, 1.5, 0.5]))


def test_masked_average_ignores_padding() -> None:
    h = torch.tensor([[[1.0, 3.0, 100.0]]])
    assert masked_average(h, torch.tensor([[[True, True, False]]])).item() == 2.0
