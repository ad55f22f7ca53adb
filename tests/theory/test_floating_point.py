"""Where number formats end, and what they and an eps take away, against what their definitions say."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from mhc_diag.maths.lyapunov import rates
from mhc_diag.maths.metrics import amax_backward, amax_forward
from mhc_diag.maths.products import composites
from mhc_diag.maths.projections import sinkhorn
from mhc_diag.maths.theory import eps_attenuation, gaussian_exponent

CONSTANTS = json.loads(Path(__file__).with_name("constants.json").read_text())
LIMITS = CONSTANTS["floating_point"]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_where_exp_leaves_single_precision():
    """ln of the largest number, and of half the smallest, below which rounding takes it to zero."""
    largest, smallest = np.finfo(np.float32).max, np.finfo(np.float32).smallest_subnormal
    over, under = math.log(largest), math.log(float(smallest) / 2)
    assert over == pytest.approx(LIMITS["exp_overflows_above"], abs=1e-4)
    assert math.log(smallest) == pytest.approx(LIMITS["exp_loses_bits_below"], abs=1e-2)
    assert under == pytest.approx(LIMITS["exp_is_zero_below"], abs=1e-2)
    at = torch.tensor([over - 1e-4, over + 1e-4, under + 1e-2, under - 1e-2], dtype=torch.float32)
    with np.errstate(over="ignore", under="ignore"):
        for found in (np.exp(at.numpy()), torch.exp(at).numpy()):
            assert np.isfinite(found).tolist() == [True, False, True, True]
            assert (found > 0).tolist() == [True, True, True, False]


@pytest.mark.parametrize("size", [89.0, 104.0, 1e4])
def test_the_projection_does_not_end_where_exp_does(size):
    logits = (size * np.sign(normal(50, 4, 4))).astype(np.float32)
    found = sinkhorn.project(logits)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-6)


def test_marginals_in_bfloat16():
    """Numbers have 8 bits: an entry of 1/2 to 1 is off by up to 2^-9, a sum of 1 by up to 2^-8."""
    worst = 0.0
    for scale in (1.0, 2.0, 4.0):
        exact = sinkhorn.project(scale * normal(30_000, 4, 4), iterations=100)
        coarse = torch.from_numpy(exact).to(torch.bfloat16).to(torch.float64).numpy()
        found = max(np.abs(coarse.sum(axis=axis) - exact.sum(axis=axis)).max() for axis in (-1, -2))
        assert found < 2.0**-8
        worst = max(worst, float(found))
    assert worst == pytest.approx(LIMITS["bfloat16_marginal_off_by"], abs=3e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_plain_products_end_where_their_growth_says(dtype):
    """n = 4: ln of the largest number, less the head start of the largest entry, over lambda_1."""
    stacks, generator = 60, np.random.default_rng(1)
    product = np.broadcast_to(np.eye(4, dtype=dtype), (stacks, 4, 4))
    ends = np.zeros(stacks)
    kept = []
    with np.errstate(over="ignore", invalid="ignore"):
        while not ends.all():
            kept.append(generator.standard_normal((stacks, 4, 4)).astype(dtype))
            product = kept[-1] @ product
            gone = ~np.isfinite(product).all(axis=(-2, -1))
            ends[(ends == 0) & gone] = len(kept)
    expected = math.log(np.finfo(dtype).max) / gaussian_exponent(4, 1.0)
    spread = math.sqrt(expected * 0.161233516712057) / gaussian_exponent(4, 1.0)
    assert np.median(ends) == pytest.approx(expected, abs=4 * 1.2533 * spread / math.sqrt(stacks))
    assert np.median(ends) == pytest.approx(LIMITS["plain_products_end_near"][np.dtype(dtype).name], rel=0.02)
    *_, (_, last) = composites(np.stack(kept), "prefix")
    assert np.isfinite(last.mantissa).all() and np.isfinite(rates(np.stack(kept))).all()


@pytest.mark.parametrize("last", ["rows", "columns"])
@pytest.mark.parametrize("start", ["exp", "softmax"])
@pytest.mark.parametrize(("eps", "sites", "left"), LIMITS["eps_sites_left"])
def test_what_an_eps_in_every_denominator_takes_away(last, start, eps, sites, left):
    """Settled, every sum is 1 - eps; after 20 iterations those of the axis normalised last nearly are."""
    assert eps_attenuation(eps, sites) == pytest.approx(left, abs=5.1e-6)
    logits = normal(sites, 5, 4, 4)
    gain = amax_forward if last == "rows" else amax_backward
    for iterations, tolerance in ((20, 1e-4), (300, 1e-11)):
        matrices = sinkhorn.project(logits, iterations=iterations, start=start, last=last, eps=eps)
        *_, (_, product) = composites(matrices, "prefix")
        whole = np.ldexp(product.mantissa[-1], product.exponent[-1, :, None, None].astype(int))
        np.testing.assert_allclose(gain.measure(whole), eps_attenuation(eps, sites), rtol=tolerance)
    floor = sinkhorn.project(logits, iterations=20, last=last, eps=eps, eps_as="floor")
    np.testing.assert_allclose(floor, sinkhorn.project(logits, iterations=20, last=last), rtol=1e-12)


@pytest.mark.parametrize("eps", [1e-6, 0.02])
def test_one_division_of_sums_of_one(eps):
    """Where only the last denominator has the eps, 1 / (1 + eps) is left."""
    matrix = sinkhorn.project(normal(4, 4), iterations=500)
    found = matrix / (matrix.sum(axis=-1, keepdims=True) + eps)
    np.testing.assert_allclose(found.sum(axis=-1), 1 / (1 + eps), rtol=1e-14)
    assert 1 / (1 + eps) - eps_attenuation(eps) == pytest.approx(eps**2 / (1 + eps), rel=1e-3)
