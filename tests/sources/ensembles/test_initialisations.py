"""Published initialisations: against the published code where it can be run, else against its formula."""

import math

import numpy as np
import pytest
import torch

from mhc_diag.maths.projections import sinkhorn
from mhc_diag.sources.draws import Draw
from mhc_diag.sources.ensembles import (
    deepseek_init,
    hc_init,
    lucidrains_init,
    megatron_init,
    tokenbender_init,
)


def drawn(ensemble, *, scale=None, streams=4, depth=4, stacks=500):
    size = ensemble.SCALE if scale is None else scale
    if size is None:
        size = ensemble.default_scale(streams)
    return ensemble.logits(Draw(0, range(stacks), depth, streams, scale=size))


def streams_of(generator, count, width):
    """Random streams side by side, of unequal sizes, divided by their root mean square."""
    x = generator.standard_normal((count, width)) * generator.uniform(0, 5, width)
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True))


def test_deepseek_logits_have_the_spread_of_the_formula():
    """Fresh weights of N(0, 0.02^2) on normalised streams, multiplied out."""
    generator = np.random.default_rng(0)
    x = streams_of(generator, 60, 4 * 4096)
    computed = np.stack([0.02 * generator.standard_normal((16, 4 * 4096)) @ token for token in x])
    found = drawn(deepseek_init)
    assert abs(computed.std() - 2.56) < 4 * 2.56 / math.sqrt(2 * computed.size)
    assert abs(found.std() - 2.56) < 4 * 2.56 / math.sqrt(2 * found.size)
    np.testing.assert_allclose(
        np.quantile(found, [0.05, 0.5, 0.95]), np.quantile(computed, [0.05, 0.5, 0.95]), atol=0.2
    )


def test_megatron_logits_have_the_spread_of_the_formula():
    """Xavier's uniform weights on normalised streams, times alpha, multiplied out; then about 1/n."""
    generator = np.random.default_rng(0)
    width, outputs, logits = 4 * 512, 4 * 4 + 2 * 4, []
    bound = math.sqrt(6 / (width + outputs))
    for token in streams_of(generator, 200, width):
        logits.append(0.01 * generator.uniform(-bound, bound, (16, width)) @ token)
    found = drawn(megatron_init)
    assert np.std(logits) == pytest.approx(found.std(), rel=0.05)
    assert np.abs(sinkhorn.project(found) - 0.25).max() < 0.02


def test_lucidrains_static_part_is_what_the_package_starts_with():
    hyper = pytest.importorskip("hyper_connections")
    module = hyper.ManifoldConstrainedHyperConnections(4, dim=8, layer_index=0)
    assert not module.dynamic_alpha_fn.any() and module.residual_scale.item() == pytest.approx(0.01)
    static = drawn(lucidrains_init, scale=0.0)
    np.testing.assert_array_equal(static[0, 0], module.static_alpha[:, 1:].detach().numpy())
    mixing = sinkhorn.project(static)[0, 0]
    np.testing.assert_allclose(np.diag(mixing), math.e / (math.e + 3), rtol=1e-14)
    assert mixing[0, 0].round(4) == 0.4754 and mixing[0, 1].round(4) == 0.1749


def test_hc_stays_within_its_gate_of_the_identity():
    hyper = pytest.importorskip("hyper_connections.hyper_connections")
    module = hyper.HyperConnections(4, dim=8, layer_index=0)
    assert not module.dynamic_alpha_fn.any()
    assert module.dynamic_alpha_scale.item() == pytest.approx(hc_init.SCALE)
    fresh = module.static_alpha[:, 1:].detach().numpy()
    np.testing.assert_array_equal(drawn(hc_init, scale=0.0)[0, 0], fresh)
    moved = np.abs(drawn(hc_init) - np.eye(4))
    assert moved.max() < 0.01 and np.median(moved) == pytest.approx(0.01 * math.tanh(0.6745), rel=0.05)


@pytest.mark.parametrize("streams", [2, 4])
def test_tokenbender_starts_at_the_identity(streams):
    """Parameters over the temperature, through the published loop: rows, then columns, in logarithms."""
    parameters = torch.full((streams, streams), -8.0)
    parameters.fill_diagonal_(0.0)
    found = drawn(tokenbender_init, streams=streams)
    np.testing.assert_allclose(found[0, 0], parameters.numpy() / 0.05)
    u, v, z = torch.zeros(streams), torch.zeros(streams), torch.from_numpy(found[0, 0])
    for _ in range(10):
        u = -torch.logsumexp(z + v[None, :], dim=1)
        v = -torch.logsumexp(z + u[:, None], dim=0)
    np.testing.assert_allclose(torch.exp(z + u[:, None] + v[None, :]), np.eye(streams), atol=1e-60)
    np.testing.assert_allclose(sinkhorn.project(found)[1, 2], np.eye(streams), atol=1e-60)
