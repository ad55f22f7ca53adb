"""What the structure of the matrices alone proves of every composite, whatever the depth."""

import math

import numpy as np
import pytest

from mhc_diag.maths.metrics import amax_backward, amax_forward, inf_norm, one_norm, spectral_norm
from mhc_diag.maths.products import composites
from mhc_diag.maths.projections import cayley, sinkhorn, softmax_rows

DEPTH, STACKS = 80, 60


def normal(streams, seed=0):
    return np.random.default_rng(seed).standard_normal((DEPTH, STACKS, streams, streams))


def gains(matrices, scope, *metrics):
    """The metrics (L, T) of all composites; all of these fit float64."""
    found = [np.empty(matrices.shape[:2]) for _ in metrics]
    for block, product in composites(matrices, scope):
        whole = np.ldexp(product.mantissa, product.exponent[..., None, None].astype(int))
        for values, metric in zip(found, metrics, strict=True):
            values[block] = metric.measure(whole)
    return found


@pytest.mark.parametrize("streams", [2, 4, 8])
@pytest.mark.parametrize("scope", ["site", "prefix", "suffix"])
@pytest.mark.parametrize("iterations", [1, 2, 20])
@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_rows_that_sum_to_one_bound_everything(streams, scope, iterations, scale):
    matrices = sinkhorn.project(scale * normal(streams), iterations=iterations)
    forward, backward, norm = gains(matrices, scope, amax_forward, amax_backward, spectral_norm)
    np.testing.assert_allclose(forward, 1, rtol=1e-13)
    assert backward.max() <= streams * (1 + 1e-13) and backward.min() >= 1 - 1e-13
    assert norm.max() <= math.sqrt(streams) * (1 + 1e-13) and norm.min() >= 1 - 1e-13


@pytest.mark.parametrize("scope", ["prefix", "suffix"])
def test_columns_that_sum_to_one_are_the_mirror(scope):
    matrices = sinkhorn.project(4 * normal(4), iterations=2, last="columns")
    forward, backward, norm = gains(matrices, scope, amax_forward, amax_backward, spectral_norm)
    np.testing.assert_allclose(backward, 1, rtol=1e-13)
    assert 1.1 < forward.max() <= 4 and norm.max() <= 2


def test_the_bounds_of_rows_are_reached():
    """All streams read the same one: the backward gain is n and the spectral norm sqrt n."""
    one = softmax_rows.project(np.tile([60.0, 0, 0, 0], (DEPTH, 1, 4, 1)))
    forward, backward, norm = gains(one, "prefix", amax_forward, amax_backward, spectral_norm)
    np.testing.assert_allclose(forward, 1, rtol=1e-12)
    np.testing.assert_allclose(backward, 4, rtol=1e-12)
    np.testing.assert_allclose(norm, 2, rtol=1e-12)


@pytest.mark.parametrize("scope", ["prefix", "suffix"])
def test_doubly_stochastic_mixing_has_every_gain_one(scope):
    matrices = sinkhorn.project(normal(4), iterations=300)
    for found in gains(matrices, scope, amax_forward, amax_backward, inf_norm, one_norm, spectral_norm):
        np.testing.assert_allclose(found, 1, rtol=1e-12)


@pytest.mark.parametrize("streams", [2, 4, 8])
def test_orthogonal_mixing_has_norm_one_and_row_sums_up_to_sqrt_n(streams):
    matrices = cayley.project(normal(streams))
    norm, forward, backward, most = gains(
        matrices, "prefix", spectral_norm, amax_forward, amax_backward, inf_norm
    )
    np.testing.assert_allclose(norm, 1, rtol=1e-12)
    bound = math.sqrt(streams) * (1 + 1e-12)
    for found in (forward, backward, most):
        assert 1.2 < found.max() <= bound
    # reached by a reflection that takes the mean to one stream: its first row is ones / sqrt n
    mirror = np.eye(streams)[0] - np.full(streams, 1 / math.sqrt(streams))
    whole = np.eye(streams) - 2 * np.outer(mirror, mirror) / (mirror @ mirror)
    assert amax_forward.measure(whole) == pytest.approx(math.sqrt(streams), rel=1e-12)
    assert spectral_norm.measure(whole) == pytest.approx(1, rel=1e-12)
