"""The histograms, read back from their artists."""

from dataclasses import replace

import numpy as np
import pytest

from mhc_diag.figures.token_gains import draw, in_words


def bars(axes):
    return [patch.get_data() for patch in axes.patches]


@pytest.mark.parametrize("name", ["failing", "overflowing"])
def test_every_bin_is_where_the_report_says(handmade, name):
    (report,) = handmade["REPORTS"][name]
    figure = draw([report])
    for axes, histogram in zip(figure.axes, report.histograms, strict=True):
        ((counts, edges, _),) = bars(axes)
        assert tuple(counts) == histogram.counts
        np.testing.assert_allclose(edges, histogram.low + 0.5 * np.arange(len(counts) + 1))
        low, high = axes.get_ylim()
        assert low <= edges[0] and edges[-1] <= high
        assert (high - low) < 6 * (edges[-1] - edges[0])  # the bins can be seen
        assert axes.get_xlabel() == "tokens"


def test_tokens_without_a_bin_are_counted(handmade):
    (report,) = handmade["REPORTS"]["overflowing"]
    forward, backward = draw([report]).axes
    assert forward.get_title().endswith("forward\n(2 not finite)")
    assert backward.get_title().endswith("backward")
    zero = replace(report, histograms=tuple(replace(h, counts=(), zero=4) for h in report.histograms))
    assert not bars(draw([zero]).axes[0])
    assert "4 zero" in in_words([zero]) and "2 not finite" in in_words([zero])


def test_several_are_outlines_of_different_looks(handmade):
    reports = handmade["REPORTS"]["side-by-side"]
    patches = draw(reports).axes[0].patches
    assert len(patches) == 3
    assert len({(p.get_edgecolor(), p.get_linestyle()) for p in patches}) == 3
    assert not any(p.get_fill() for p in patches)


def test_the_fullest_bin_is_told(handmade):
    (report,) = handmade["REPORTS"]["failing"]
    histogram = report.histograms[0]  # 4, 1, 1, 2 from 10
    assert histogram.counts == (4, 1, 1, 2) and histogram.low == 1.0
    assert "forward: 8 between 10.00 and 1000, the fullest bin from 10.00 to 31.62 with 4" in in_words(
        [report]
    )
