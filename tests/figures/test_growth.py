"""The fitted rate, its band and the theory, read back from the artists."""

import math
from dataclasses import replace

import numpy as np
import pytest

from mhc_diag.analyse import analyse
from mhc_diag.figures.growth import draw, in_words, read
from mhc_diag.records import MixingStack, Provenance, Scalar, Site
from mhc_diag.sources.simulate import Simulation, cases


def doubling(depth=9):
    """Every site doubles, so that each rate is ln 2."""
    matrices = np.full((depth, 2, 1, 1), 2.0)
    sites = tuple(Site("", "", i) for i in range(depth))
    return analyse(
        MixingStack("x", matrices, sites, Provenance("a test", "simulated", "made", "direct", "stack"))
    )


@pytest.fixture(scope="module")
def simulated():
    simulation = Simulation(depth=12, seeds=6, manifolds=("none",))
    return analyse(cases(simulation)[0].parts())


def fitted(axes):
    return next(line for line in axes.lines if line.get_linewidth() == 2)


def test_the_line_has_the_slope_that_was_fitted_over_the_half_that_was_fitted():
    forward, backward = draw([doubling()]).axes
    for axes, sites, expected in (
        (forward, [4, 5, 6, 7, 8], [5, 6, 7, 8, 9]),
        (backward, [0, 1, 2, 3, 4], [9, 8, 7, 6, 5]),
    ):
        line = fitted(axes)
        np.testing.assert_array_equal(line.get_xdata(), sites)
        np.testing.assert_allclose(line.get_ydata(), math.log10(2) * np.array(expected))
        assert "0.6931" in line.get_label()


def test_the_band_is_two_standard_errors_to_either_side(simulated):
    axes = draw([simulated]).axes[0]
    rate = simulated.scalar("growth_forward")
    (band,) = axes.collections
    corners = band.get_paths()[0].vertices
    at_end = corners[corners[:, 0] == 11][:, 1]
    width = 2 * 2 * rate.standard_error / math.log(10) * (11 - 6)
    assert at_end.max() - at_end.min() == pytest.approx(width)


def test_no_band_without_an_error_and_no_line_without_a_rate(simulated):
    scalars = (
        Scalar("growth_forward", "g", "f", 0.1, None, 0.2),
        Scalar("growth_backward", "g", "f", math.inf, math.nan),
    )
    forward, backward = draw([replace(simulated, scalars=scalars)]).axes
    assert not forward.collections and not backward.collections
    assert np.isnan(fitted(backward).get_ydata()).all()
    theory = next(line for line in forward.lines if line.get_linewidth() == 1 and len(line.get_xdata()) > 2)
    start, *_, end = theory.get_ydata()
    assert end - start == pytest.approx(0.2 * 5 / math.log(10))
    words = in_words([replace(simulated, scalars=scalars)])
    assert "forward 0.1000 nats per site (theory 0.2000)" in words and "backward not finite" in words


def test_no_rate_is_minus_zero():
    assert read(Scalar("growth_forward", "g", "f", -1e-9, None, None)) == "0.0000 nats per site"


def test_infinite_medians_are_marked(handmade):
    (report,) = handmade["REPORTS"]["overflowing"]
    log10 = report.composite("forward", "p50").log10
    broken = int((np.isnan(log10) | np.isposinf(log10)).sum())
    labels = [line.get_label() for line in draw([report]).axes[0].lines]
    assert broken and any(f"not finite ({broken} site" in label for label in labels)
