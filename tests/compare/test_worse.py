"""What `worse` means: each side of each kind of number against values worked out by hand."""

import math

import numpy as np
import pytest

from mhc_diag import plugins
from mhc_diag.compare.worse import GONE, SIDES, allowance, distance, worsening


def far(metric, value, ideal=1.0):
    value = np.array([value], dtype=float)
    with np.errstate(all="ignore"):
        return float(distance(metric, ideal, value, np.log10(value))[0])


@pytest.mark.parametrize(
    ("metric", "ideal", "value", "decades"),
    [
        ("amax_forward", 1.0, 1000.0, 3.0),
        ("amax_forward", 1.0, 0.001, 0.0),  # attenuation is for the least gain to see
        ("amin_forward", 1.0, 0.001, 3.0),
        ("amin_forward", 1.0, 1000.0, 0.0),
        ("amin_forward", 1.0, 1e-12, GONE),  # float32 holds nothing of it
        ("amin_forward", 1.0, 0.0, GONE),
        ("uniformity", 1.0, 0.1, 1.0),
        ("effective_rank", 4.0, 4.0, 0.0),
        ("effective_rank", 4.0, 0.4, 1.0),
        ("marginal_drift", 0.0, math.log(10), 1.0),  # a sum of 10 or of 1/10
        ("row_residual", 0.0, 0.0, 0.0),
        ("row_residual", 0.0, 9.0, 1.0),  # a sum of 10
        ("half_life", 60.0, 6.0, 1.0),  # ideal is the depth
        ("half_life", 60.0, math.inf, 0.0),
        ("somebodys_own", 2.0, 20.0, 1.0),
        ("somebodys_own", 2.0, 0.2, 1.0),
        ("somebodys_own", 2.0, 0.0, GONE),
        ("amax_forward", 1.0, math.inf, math.inf),
    ],
)
def test_decades_from_ideal(metric, ideal, value, decades):
    assert far(metric, value, ideal) == pytest.approx(decades, abs=1e-12)


@pytest.mark.parametrize("metric", [*SIDES, "row_residual", "somebodys_own"])
def test_nan_is_never_near(metric):
    assert math.isnan(far(metric, math.nan, 0.0 if metric == "row_residual" else 1.0))


def test_beyond_float64_the_logarithm_counts():
    found = distance("amax_backward", 1.0, np.array([np.inf, np.inf]), np.array([400.0, 401.0]))
    assert worsening(found[:1], found[1:]).tolist() == [1.0]


def test_what_is_no_number_is_worse_than_any_and_cannot_be_told_from_another():
    nan, inf = math.nan, math.inf
    before, after = np.array([5.0, nan, nan, inf, inf]), np.array([nan, 5.0, nan, inf, nan])
    np.testing.assert_array_equal(worsening(before, after), [inf, -inf, nan, nan, nan])


def test_one_per_cent_is_one_per_cent():
    grown = worsening(np.array([far("amax_forward", 3.0)]), np.array([far("amax_forward", 3.0 * 1.01)]))
    assert grown[0] <= allowance(0.01) < grown[0] + 1e-8
    assert 0 < allowance(0.0) < 1e-8


def test_every_metric_with_a_side_exists():
    known = {*plugins.names("mhc_diag.maths.metrics"), *plugins.names("mhc_diag.maths.convergence")}
    assert SIDES.keys() <= known | {"half_life"}
