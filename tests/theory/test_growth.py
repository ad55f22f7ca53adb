"""Unconstrained mixing: simulated growth against closed forms, with the error of the simulation known."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from mhc_diag.maths.lyapunov import rates, spectrum
from mhc_diag.maths.products import composites
from mhc_diag.maths.theory import (
    gaussian_critical_scale,
    gaussian_spectrum,
    gaussian_variance,
    near_identity_exponent,
    near_identity_scale,
)

CONSTANTS = json.loads(Path(__file__).with_name("constants.json").read_text())
GAUSSIAN = {int(n): row for n, row in CONSTANTS["gaussian"].items()}
NEAR_IDENTITY = [
    (int(n), float(s), x) for n, row in CONSTANTS["near_identity"].items() for s, x in row.items()
]
STANDARD_ERRORS = 4  # an estimate lies further from its true value once in 16,000


def gaussian(generator, depth, stacks, streams):
    return generator.standard_normal((depth, stacks, streams, streams))


def simulated(make, streams, sites, depth=64, seed=0):
    """Mean rates and their standard errors over stacks that have so many sites together."""
    generator = np.random.default_rng(seed)
    parts = [
        rates(make(gaussian(generator, depth, min(1000, stacks), streams)))
        for stacks in [1000] * (sites // depth // 1000) + [sites // depth % 1000]
        if stacks
    ]
    return spectrum(np.concatenate(parts))


@pytest.mark.parametrize("streams", GAUSSIAN)
def test_closed_forms_of_gaussian_products(streams):
    row = GAUSSIAN[streams]
    np.testing.assert_allclose(gaussian_spectrum(streams, 1.0), row["lyapunov"], rtol=0, atol=1e-14)
    assert gaussian_variance(streams) == pytest.approx(row["variance_per_site"], abs=1e-14)
    assert gaussian_critical_scale(streams) == pytest.approx(row["critical_scale"], abs=1e-14)


@pytest.mark.parametrize("streams", GAUSSIAN)
def test_simulated_spectrum_of_gaussian_products(streams):
    """All n at once. The smallest is 0.058 with a spread of 0.64 a site: 1 % takes 1.3 million sites."""
    mean, error = simulated(lambda g: g, streams, sites=1_300_000)
    expected = np.array(GAUSSIAN[streams]["lyapunov"])
    assert (error < 0.01 * np.abs(expected)).all()
    assert (np.abs(mean - expected) < STANDARD_ERRORS * error).all()


@pytest.mark.parametrize("streams", GAUSSIAN)
def test_at_the_critical_scale_nothing_grows(streams):
    scale = GAUSSIAN[streams]["critical_scale"]
    mean, error = simulated(lambda g: scale * g, streams, sites=100_000, seed=1)
    assert abs(mean[0]) < STANDARD_ERRORS * error[0] < 0.01


def log_lengths(matrices, sites):
    """ln|P x| of every stack, for one fixed x, after the first sites + 1 sites."""
    x = np.arange(1.0, matrices.shape[-1] + 1)
    x /= np.linalg.norm(x)
    found = {}
    for block, product in composites(matrices, "prefix"):
        lengths = np.log(np.linalg.norm(product.mantissa @ x, axis=-1)) + math.log(2) * product.exponent
        found |= dict(zip(range(*block.indices(len(matrices))), lengths, strict=True))
    return [found[site] for site in sites]


def mean_with_error(values):
    return values.mean(), values.std(ddof=1) / math.sqrt(len(values))


def variance_with_error(values):
    """Sample variance; its own variance is (m4 - s^4) / T."""
    apart = values - values.mean()
    variance = (apart**2).mean()
    return variance, math.sqrt(((apart**4).mean() - variance**2) / len(values))


@pytest.mark.parametrize("streams", GAUSSIAN)
def test_mean_and_variance_at_finite_depth_are_exact(streams):
    """ln|P_N x| is a sum of N independent terms: no depth is too small for the closed form."""
    matrices = 0.7 * gaussian(np.random.default_rng(2), 60, 4000, streams)
    growth = GAUSSIAN[streams]["lyapunov"][0] + math.log(0.7)
    for depth, found in zip((1, 7, 60), log_lengths(matrices, (0, 6, 59)), strict=True):
        mean, error = mean_with_error(found)
        assert abs(mean - depth * growth) < STANDARD_ERRORS * error
        variance, error = variance_with_error(found)
        expected = depth * GAUSSIAN[streams]["variance_per_site"]
        assert abs(variance - expected) < STANDARD_ERRORS * error < 0.25 * expected


@pytest.mark.parametrize(("streams", "scale", "expected"), NEAR_IDENTITY)
def test_closed_form_near_the_identity(streams, scale, expected):
    assert near_identity_exponent(streams, scale) == pytest.approx(expected, abs=5e-13)


@pytest.mark.parametrize(("streams", "scale", "expected"), [row for row in NEAR_IDENTITY if row[2] > 0.02])
def test_simulated_growth_near_the_identity(streams, scale, expected):
    """Two streams grow by 3e-4 and less below 0.5: no simulation sees that to 1 %."""
    sites = 64 * math.ceil((scale / (0.008 * expected)) ** 2 / 64)  # a site spreads by less than the scale
    mean, error = simulated(lambda g: np.eye(streams) + scale * g, streams, sites, seed=3)
    assert error[0] < 0.01 * expected
    assert abs(mean[0] - expected) < STANDARD_ERRORS * error[0]


@pytest.mark.parametrize("streams", GAUSSIAN)
def test_near_the_identity_the_spectrum_is_evenly_spaced(streams):
    """lambda_k = eps^2 (n - 2 k) / 2, up to terms of eps^4."""
    scale = 0.1
    mean, error = simulated(lambda g: np.eye(streams) + scale * g, streams, sites=200_000, seed=4)
    expected = scale**2 * (streams - 2 * np.arange(1, streams + 1)) / 2
    assert (np.abs(mean - expected) < STANDARD_ERRORS * error + streams**2 * scale**4).all()
    assert (error < 0.05 * scale**2).all()


def test_the_scale_of_a_typical_gain_of_3000():
    scale = CONSTANTS["near_identity_scale_for_3000_after_60_sites_of_4"]
    assert near_identity_scale(4, 3000, 60) == pytest.approx(scale, abs=1e-12)
    matrices = np.eye(4) + scale * gaussian(np.random.default_rng(5), 60, 10_000, 4)
    mean, error = mean_with_error(log_lengths(matrices, [59])[0])
    assert abs(mean - math.log(3000)) < STANDARD_ERRORS * error < 0.1
