"""The dial over iterations and the panels of random signals, read back from their artists."""

from dataclasses import replace

import numpy as np
import pytest

from mhc_diag.analyse import analyse
from mhc_diag.figures.dial import dial, turned
from mhc_diag.figures.gain_curves import gain_curves
from mhc_diag.sources.simulate import Simulation, cases


@pytest.fixture(scope="module")
def reports():
    simulation = Simulation(depth=8, seeds=6, sinkhorn_iters=(1, 2, 9), scale=2.0, ensemble="gaussian")
    return [analyse(case.parts(), branch_gain=1.0) for case in cases(simulation)]


def test_only_three_counts_and_more_make_a_dial(reports):
    assert turned(reports) and turned(reports[2:])
    assert not turned(reports[:4]) and not turned(reports[:1]) and not turned([reports[2]] * 3)


def test_each_statistic_is_a_curve_over_the_iterations(reports):
    figure = dial(reports)
    for axes, direction in zip(figure.axes, ("forward", "backward"), strict=True):
        drawn = {line.get_label(): line for line in axes.lines}
        for label, statistic in (("median", "p50"), ("p99", "p99"), ("largest", "max")):
            np.testing.assert_array_equal(drawn[label].get_xdata(), [1, 2, 9])
            expected = [r.worst(direction, statistic).log10 for r in reports[2:]]
            np.testing.assert_array_equal(drawn[label].get_ydata(), expected)
        hc = reports[1].worst(direction, "p50").log10
        assert drawn["HC (median)"].get_ydata()[0] == hc
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


def test_what_is_not_finite_is_counted(reports):
    curves = tuple(replace(c, log10=np.full_like(c.log10, np.nan)) for c in reports[2].curves)
    figure = dial([replace(reports[2], curves=curves), *reports[3:], reports[1]])
    assert [axes.get_title().endswith("(3 not finite or 0)") for axes in figure.axes] == [True, True]


@pytest.mark.parametrize("count", [1, 3])
def test_signals_have_panels_of_their_own(reports, count):
    axes = gain_curves(reports[:count]).axes
    assert len(axes) == 4 and [a.get_ylabel() for a in axes[2:]] == ["RMS", "RMS"]
    for panel, (metric, scope) in zip(
        axes[2:], (("activation_rms", "prefix"), ("gradient_rms", "suffix")), strict=True
    ):
        drawn = {line.get_label(): line for line in panel.lines}
        for report in reports[:count]:
            expected = report.curve(metric, scope, "p50").log10
            np.testing.assert_array_equal(drawn[report.name].get_ydata(), expected)
