"""Doubly stochastic mixing: how fast the differences between streams die, against closed forms."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from mhc_diag.maths.lyapunov import rates, spectrum
from mhc_diag.maths.metrics import effective_rank, spectral_norm, uniformity
from mhc_diag.maths.products import composites
from mhc_diag.maths.projections import sinkhorn
from mhc_diag.maths.theory import (
    diagonal_bias_eigenvalue,
    diagonal_bias_half_life,
    two_streams_exponent,
    two_streams_share,
)

CONSTANTS = json.loads(Path(__file__).with_name("constants.json").read_text())
OF_TWO = {float(s): x for s, x in CONSTANTS["second_exponent_of_2"].items()}
OF_FOUR = {float(s): x for s, x in CONSTANTS["exponents_of_4_mc"].items()}
BIAS = {float(b): x for b, x in CONSTANTS["diagonal_bias_of_4"].items()}
STANDARD_ERRORS = 4
SWEEPS = {2: 2000, 4: 300}
MEAN = np.full((4, 4), 0.25)


def limits(scale, depth, stacks, streams, seed):
    """Sinkhorn limits of independent logits, swept until the rest no longer matters."""
    logits = np.random.default_rng(seed).standard_normal((depth, stacks, streams, streams))
    return sinkhorn.project(scale * logits, iterations=SWEEPS[streams])


def from_the_average(matrices):
    """Rates (T, n) of a stack that starts, by a rotation that costs nothing, with the direction of the mean.

    From the coordinate axes the first sites would turn towards it, and spoil all rates by 1 / depth.
    """
    depth, stacks, streams, _ = matrices.shape
    turn = np.linalg.qr(np.column_stack([np.ones(streams), np.eye(streams)[:, 1:]]))[0]
    start = np.broadcast_to(turn, (1, stacks, streams, streams))
    return rates(np.concatenate([start, matrices])) * (depth + 1) / depth


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_two_streams_have_a_closed_form(scale):
    logits = scale * np.random.default_rng(0).standard_normal((200, 2, 2))
    found = sinkhorn.project(logits, iterations=5000)
    for m, ((a, b), (c, d)) in zip(found, logits, strict=True):
        p = two_streams_share(a, b, c, d)
        assert p == pytest.approx(1 / (1 + math.exp(-(a + d - b - c) / 2)), rel=1e-14)
        np.testing.assert_allclose(m, [[p, 1 - p], [1 - p, p]], rtol=1e-12)
        second = math.tanh((a + d - b - c) / 4)
        np.testing.assert_allclose(np.linalg.eigvals(m).prod(), second, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(np.linalg.svd(m)[1], [1, abs(second)], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("scale", OF_TWO)
def test_the_second_exponent_of_two_streams(scale):
    assert two_streams_exponent(scale) == pytest.approx(OF_TWO[scale], abs=1e-12)
    mean, error = spectrum(from_the_average(limits(scale, 32, 1000, 2, seed=1)))
    assert mean[0] == pytest.approx(0, abs=1e-12)
    assert abs(mean[1] - OF_TWO[scale]) < STANDARD_ERRORS * error[1]
    assert error[1] < 0.01 * abs(OF_TWO[scale])


def growth_of_one_difference(matrices):
    """Mean growth of one mean-free vector per stack, set to length 1 after every site."""
    x, total = np.tile([[3.0], [-1.0], [-1.0], [-1.0]], (matrices.shape[1], 1, 1)), 0.0
    for site in matrices:
        after = site @ (x - x.mean(axis=1, keepdims=True))
        length = np.linalg.norm(after, axis=1, keepdims=True)
        x, total = after / length, total + np.log(length / np.linalg.norm(x, axis=1, keepdims=True)).mean()
    return total / len(matrices)


@pytest.mark.parametrize("scale", OF_FOUR)
def test_the_exponents_of_four_streams_and_what_does_not_predict_them(scale):
    matrices = limits(scale, 128, 400, 4, seed=2)
    mean, error = spectrum(from_the_average(matrices))
    assert mean[0] == pytest.approx(0, abs=1e-12)
    assert (np.abs(mean[1:] - OF_FOUR[scale]) < STANDARD_ERRORS * error[1:] + 1e-3).all()
    assert (error[1:] < 0.01 * np.abs(mean[1:])).all()
    assert mean[1] == pytest.approx(growth_of_one_difference(matrices), abs=5e-3)
    second = np.sort(np.abs(np.linalg.eigvals(matrices[:16])), axis=-1)[..., -2]
    assert abs(np.log(second).mean() - mean[1]) > 0.05


def test_spectral_norm_one_and_products_that_tend_to_the_mean():
    matrices = limits(1.0, 40, 50, 4, seed=3)
    found = np.empty((40, 50))
    for block, product in composites(matrices, "prefix"):
        whole = np.ldexp(product.mantissa, product.exponent[..., None, None].astype(int))
        np.testing.assert_allclose(spectral_norm.measure(whole), 1, rtol=1e-12)
        found[block] = np.linalg.norm(whole - MEAN, axis=(-2, -1))
    assert found[-1].max() < 1e-10 and (np.diff(found, axis=0) < 1e-15).all()


@pytest.mark.parametrize("bias", BIAS)
def test_a_bias_on_the_diagonal(bias):
    assert diagonal_bias_eigenvalue(4, bias) == pytest.approx(BIAS[bias], abs=1e-12)
    m = sinkhorn.project(bias * np.eye(4), iterations=1)
    power = math.exp(bias)
    np.testing.assert_allclose(np.diag(m), power / (power + 3), rtol=1e-14)
    np.testing.assert_allclose(np.linalg.eigvalsh(m), [BIAS[bias]] * 3 + [1], rtol=0, atol=1e-10)
    np.testing.assert_allclose(sinkhorn.project(bias * np.eye(4), iterations=20), m, rtol=1e-14)
    found = rates(np.broadcast_to(m, (200, 1, 4, 4)))[0]
    assert found[1:].mean() == pytest.approx(math.log(BIAS[bias]), rel=0.02, abs=1e-2)
    assert found.sum() == pytest.approx(3 * math.log(BIAS[bias]), rel=1e-8)


def test_what_a_bias_on_the_diagonal_leaves_after_60_sites():
    for bias, left in CONSTANTS["diagonal_bias_of_4_to_the_60"].items():
        m = sinkhorn.project(float(bias) * np.eye(4), iterations=1)
        *_, (_, product) = composites(np.broadcast_to(m, (60, 1, 4, 4)), "prefix")
        whole = np.ldexp(product.mantissa[-1, 0], int(product.exponent[-1, 0]))
        assert uniformity.measure(whole) == pytest.approx(left, rel=1e-7)
        assert diagonal_bias_eigenvalue(4, float(bias)) ** 60 == pytest.approx(left, rel=1e-7)
    for bias, sites in CONSTANTS["diagonal_bias_half_life_of_4"].items():
        assert diagonal_bias_half_life(4, float(bias)) == pytest.approx(sites, abs=0.05)


@pytest.mark.parametrize("streams", [2, 4, 8])
def test_the_identity_is_sqrt_of_n_less_one_from_full_averaging(streams):
    apart = np.eye(streams) - 1 / streams
    assert np.linalg.norm(apart) == pytest.approx(math.sqrt(streams - 1), rel=1e-14)
    assert uniformity.measure(np.eye(streams)) == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize(("share", "expected"), CONSTANTS["effective_rank_of_4"].items())
def test_effective_rank_on_the_way_to_full_averaging(share, expected):
    """Singular values 1 and three times rho."""
    rho = float(share)
    p = np.array([1, rho, rho, rho]) / (1 + 3 * rho)
    found = float(effective_rank.measure(MEAN + rho * (np.eye(4) - MEAN)))
    assert found == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-12)
    assert found == pytest.approx(expected, abs=5.1e-5)
