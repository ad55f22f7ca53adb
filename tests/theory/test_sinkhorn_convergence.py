"""How fast Sinkhorn converges, against 50-digit arithmetic of its own definition."""

import json
from functools import cache
from pathlib import Path

import mpmath
import numpy as np
import pytest

from mhc_diag.maths.projections import sinkhorn

CONSTANTS = json.loads(Path(__file__).with_name("constants.json").read_text())
CASES = CONSTANTS["sinkhorn"]


def column_error(matrices):
    return np.abs(matrices.sum(axis=-2) - 1).max(axis=-1)


@cache
def errors(case, sweeps, digits=50):
    """Column error after each sweep, rows last, and the matrix in the end."""
    with mpmath.workdps(digits):
        rows = [[mpmath.exp(mpmath.mpf(x)) for x in row] for row in CASES[case]["logits"]]
        found = []
        for _ in range(sweeps):
            sums = [mpmath.fsum(column) for column in zip(*rows, strict=True)]
            rows = [[x / s for x, s in zip(row, sums, strict=True)] for row in rows]
            rows = [[x / mpmath.fsum(row) for x in row] for row in rows]
            found.append(max(abs(mpmath.fsum(column) - 1) for column in zip(*rows, strict=True)))
        return found, np.array([[float(x) for x in row] for row in rows])


def projected(case, iterations):
    return sinkhorn.project(np.array(CASES[case]["logits"], dtype=float), iterations=iterations)


@pytest.mark.parametrize("case", range(3))
def test_the_rate_is_the_square_of_the_second_singular_value(case):
    """The theorem, in 100 digits, and then what our projection shows of it."""
    series, limit = errors(case, 170, 100)
    second, third = np.append(np.linalg.svd(limit)[1], 0)[1:3] ** 2
    assert CASES[case]["rate"] == pytest.approx(second, rel=1e-9)
    contraction = float(series[-1] / series[-2])
    if third < 0.9 * second:
        assert contraction == pytest.approx(second, rel=1e-9)
    assert third < contraction < second * (1 + 1e-9)
    assert np.linalg.svd(projected(case, 400))[1][1] ** 2 == pytest.approx(second, rel=1e-6)


@pytest.mark.parametrize(("case", "sweeps"), [(0, 8), (1, 20), (2, 60)])
def test_every_sweep_contracts_as_it_should(case, sweeps):
    series, _ = errors(case, 100)
    before, after = column_error(projected(case, sweeps)), column_error(projected(case, sweeps + 1))
    assert after / before == pytest.approx(float(series[sweeps] / series[sweeps - 1]), rel=1e-6)


@pytest.mark.parametrize("case", [1, 2])
def test_the_error_after_twenty_sweeps(case):
    expected = float(errors(case, 100)[0][19])
    assert column_error(projected(case, 20)) == pytest.approx(expected, rel=1e-6)
    assert expected == pytest.approx(CASES[case]["column_error_after_20"], rel=1.1e-4)  # four digits


def test_twenty_sweeps_leave_most_of_the_error_where_the_limit_hardly_mixes():
    """A matrix with sigma_2 = 0.97, its rows and columns rescaled, is swept back to itself."""
    limit = np.array([[0.985, 0.015], [0.015, 0.985]])
    assert np.linalg.svd(limit)[1][1] == pytest.approx(0.97)
    logits = np.log(limit) + np.array([[0.4], [-0.2]]) + np.array([[0.1, -0.3]])
    np.testing.assert_allclose(sinkhorn.project(logits, iterations=2000), limit, rtol=1e-12)
    left = column_error(sinkhorn.project(logits, iterations=320)) / column_error(
        sinkhorn.project(logits, iterations=300)
    )
    assert left == pytest.approx(0.97**40, rel=1e-6)
    assert left == pytest.approx(CONSTANTS["error_left_after_20_sweeps_at_sigma_2_of_097"], abs=5e-4)


@pytest.mark.parametrize("scale", CONSTANTS["column_error_after_20_median_p99"])
def test_what_twenty_sweeps_leave_of_random_logits(scale):
    """n = 4. The maximum is one draw of many, and differs by half from seed to seed."""
    logits = float(scale) * np.random.default_rng(0).standard_normal((50_000, 4, 4))
    found = column_error(sinkhorn.project(logits, iterations=20))
    median, p99 = CONSTANTS["column_error_after_20_median_p99"][scale]
    assert np.median(found) == pytest.approx(median, rel=0.2)
    assert np.quantile(found, 0.99) == pytest.approx(p99, rel=0.2)
    low, high = {"1": (1e-3, 1e-2), "4": (0.06, 0.12), "8": (0.2, 0.5)}[scale]
    assert low < found.max() < high
