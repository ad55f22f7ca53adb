"""The convergence of Sinkhorn over the sites, read back from the artists."""

import numpy as np
import pytest

from mhc_diag.analyse import analyse
from mhc_diag.figures.sinkhorn_health import draw, in_words, missing
from mhc_diag.maths.projections import sinkhorn
from mhc_diag.records import MixingStack, Promise, Provenance, Site


def stack(logits, name="made"):
    sites = tuple(Site("", "", i) for i in range(len(logits)))
    promise = Promise("doubly stochastic", "rows", 20, 0.0, "a test")
    where = Provenance("a test", "observed", "made", "direct", "token", promise=promise)
    return MixingStack(name, sinkhorn.project(logits), sites, where, logits=logits)


@pytest.fixture(scope="module")
def report():
    logits = (
        np.random.default_rng(3).standard_normal((10, 4, 4, 4)) * np.linspace(1, 12, 10)[:, None, None, None]
    )
    return analyse(stack(logits))


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def test_each_number_has_the_worst_token_at_every_site(report):
    residuals, logits, needed = draw([report]).axes
    for axes, label, metric in (
        (residuals, "rows", "row_residual"),
        (residuals, "columns", "column_residual"),
        (needed, "needed", "sinkhorn_iterations"),
    ):
        expected = report.curve(metric, "site", "max").log10
        drawn = lines(axes)[label].get_ydata()
        np.testing.assert_array_equal(drawn[np.isfinite(expected)], expected[np.isfinite(expected)])
    np.testing.assert_array_equal(
        lines(logits)["logits"].get_ydata(), report.curve("log_nu", "site", "max").value
    )
    assert lines(logits)["gradient underflows (30)"].get_ydata()[0] == 30
    assert lines(needed)["iterations made (20)"].get_ydata()[0] == pytest.approx(np.log10(20))


def test_zero_and_nan_are_marked_and_counted():
    matrices = np.broadcast_to(np.eye(3), (4, 1, 3, 3)).copy()
    matrices[2] = np.nan
    sites = tuple(Site("", "", i) for i in range(4))
    where = Provenance("a test", "observed", "made", "direct", "none")
    report = analyse(MixingStack("made", matrices, sites, where))
    (axes,) = draw([report]).axes
    assert list(lines(axes)["rows: not finite (1 site)"].get_xdata()) == [2]
    assert list(lines(axes)["rows: zero (3 sites)"].get_xdata()) == [0, 1, 3]
    assert "rows residual at most NaN, at site 2" in in_words([report])


def test_a_report_of_gains_alone_has_nothing(handmade):
    assert missing(handmade["REPORTS"]["clean"])
