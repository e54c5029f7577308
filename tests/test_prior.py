"""The flow and the phoneme prior: exact inverses, exact densities, redrawing a part."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from speechvae.config import VAEConfig
from speechvae.models.prior import PhonemePrior, Prior
from speechvae.nn.flow import Flow

DIM, N = 4, 9


def trained(flow: Flow) -> Flow:
    """A flow that is not the identity."""
    torch.manual_seed(1)
    for name, weight in flow.named_parameters():
        if "proj_out" in name:
            torch.nn.init.normal_(weight, std=0.3)
    return flow.eval()


@pytest.fixture(scope="module")
def prior() -> PhonemePrior:
    torch.manual_seed(0)
    flow = trained(Flow(DIM, 6, 16, 3))
    mask = torch.ones(2, 1, N, dtype=torch.bool)
    mask[1, :, 6:] = False
    m, logs = torch.randn(2, DIM, N), 0.3 * torch.randn(2, DIM, N)
    return PhonemePrior(m, logs, mask, torch.randn(2, 6, N), flow)


def test_a_new_flow_changes_nothing() -> None:
    flow = Flow(DIM, 6, 16, 4).eval()
    z, mask = torch.randn(1, DIM, N), torch.ones(1, 1, N, dtype=torch.bool)
    base, logdet = flow(z, torch.randn(1, 6, N), mask)
    torch.testing.assert_close(base, z)
    assert not logdet.any()


def test_log_determinant_is_that_of_the_jacobian() -> None:
    torch.manual_seed(2)
    flow = trained(Flow(DIM, 6, 16, 3)).double()
    condition, mask = torch.randn(1, 6, 5).double(), torch.ones(1, 1, 5, dtype=torch.bool)
    z = torch.randn(1, DIM, 5).double()

    def run(flat: Tensor) -> Tensor:
        base: Tensor = flow(flat.view(1, DIM, 5), condition, mask)[0]
        return base.flatten()

    jacobian = torch.autograd.functional.jacobian(run, z.flatten())
    # The couplings work in single precision.
    torch.testing.assert_close(flow(z, condition, mask)[1].sum(), jacobian.logdet(), atol=1e-4, rtol=1e-4)


def test_noise_and_latents_are_inverse_to_each_other(prior: PhonemePrior) -> None:
    noise = torch.randn(2, DIM, N) * prior.x_mask
    torch.testing.assert_close(prior.noise(prior.latents(noise)), noise, atol=1e-4, rtol=1e-4)


def test_density_follows_from_the_noise(prior: PhonemePrior) -> None:
    """log p(z) = log N(e) - log |dz/de|, the latter measured along one line of noise."""
    torch.manual_seed(3)
    e = torch.randn(2, DIM, N) * prior.x_mask

    def latents(flat: Tensor) -> Tensor:
        return prior.latents(torch.cat([flat.view(1, DIM, N), e[1:]]))[0].flatten()

    jacobian = torch.autograd.functional.jacobian(latents, e[0].flatten())
    normal = (-0.5 * e[0].square() - 0.5 * math.log(2 * math.pi)).sum()
    expected = normal - jacobian.double().slogdet().logabsdet.float()
    torch.testing.assert_close(prior.log_prob(prior.latents(e))[0].sum(), expected, atol=1e-2, rtol=1e-3)


def test_padding_has_no_density_and_temperature_zero_no_noise(prior: PhonemePrior) -> None:
    z = prior.sample(1.0, torch.Generator().manual_seed(4))
    assert not prior.log_prob(z)[1, 6:].any() and not z[1, :, 6:].any()
    torch.testing.assert_close(prior.sample(0.0), prior.latents(torch.zeros(2, DIM, N)))


def test_redrawing_keeps_the_rest_and_follows_the_seed(prior: PhonemePrior) -> None:
    z = prior.sample(1.0, torch.Generator().manual_seed(5))
    redraw = torch.zeros(2, 1, N, dtype=torch.bool)
    redraw[:, :, 2:4] = True
    new = prior.inpaint(z, redraw, 1.0, torch.Generator().manual_seed(6))
    kept = ~redraw.expand_as(z)
    assert torch.equal(new[kept], z[kept])
    assert ((new - z).abs() > 1e-3)[redraw.expand_as(z)].float().mean() > 0.9
    assert torch.equal(new, prior.inpaint(z, redraw, 1.0, torch.Generator().manual_seed(6)))


def test_redrawn_phonemes_follow_their_neighbours() -> None:
    """Of a prior whose phonemes hang together, a redrawn one fits better than a pasted one."""
    torch.manual_seed(7)
    flow = trained(Flow(DIM, 6, 16, 3))
    n = 400
    mask = torch.ones(1, 1, n, dtype=torch.bool)
    prior = PhonemePrior(torch.zeros(1, DIM, n), torch.zeros(1, DIM, n), mask, torch.randn(1, 6, n), flow)
    z = prior.sample(1.0, torch.Generator().manual_seed(8))
    redraw = torch.zeros(1, 1, n, dtype=torch.bool)
    redraw[..., 5::10] = True
    new = prior.inpaint(z, redraw, 1.0, torch.Generator().manual_seed(9))
    pasted = torch.where(redraw, prior.sample(1.0, torch.Generator().manual_seed(9)), z)
    assert prior.log_prob(new).sum() > prior.log_prob(pasted).sum()


@pytest.mark.parametrize("layers", [0, 2])
def test_prior_with_and_without_a_flow(layers: int) -> None:
    torch.manual_seed(0)
    cfg = VAEConfig(hidden=16, text_heads=2, speaker_dim=4, z_u_dim=3, z_p_dim=2, flow_layers=layers, flow_dim=8)
    net = Prior(cfg).eval()
    h, mask, g = torch.randn(2, 16, N), torch.ones(2, 1, N, dtype=torch.bool), torch.randn(2, 4, 1)
    m, logs = net.forward_u(h, mask, g)
    assert m.shape == logs.shape == (2, 3)
    p = net.forward_p(h, mask, torch.randn(2, 3), g)
    assert (p.flow is None) == (layers == 0)
    assert p.sample().shape == (2, 2, N) and p.log_prob(p.sample()).shape == (2, N)
