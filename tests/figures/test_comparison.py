"""The picture of two models: what is drawn at each site, against numbers worked out by hand."""

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "compare"))  # compared_reports

from compared_reports import measured, with_number

from mhc_diag.compare import compared
from mhc_diag.figures.comparison import comparison, drawn


def scaled(scale, depth=6, name="model", labels=None):
    return measured(np.array([[scale * np.eye(4)]] * depth), name=name, labels=labels, axis="none")


def panels(before, after):
    figure = comparison([compared(before, after)])
    figure.draw_without_rendering()
    return figure.axes


def test_curves_are_log10_of_both_composite_gains():
    forward, backward, *_ = panels(scaled(1.0, name="old"), scaled(10.0, name="new"))
    for axes, towards in ((forward, np.arange(1, 7)), (backward, np.arange(6, 0, -1))):
        before, after = (line for line in axes.lines if len(line.get_xdata()) == 6)
        np.testing.assert_allclose(before.get_ydata(), 0, atol=1e-12)
        np.testing.assert_allclose(after.get_ydata(), towards)
        assert (before.get_label(), after.get_label()) == ("before: old", "after: new")
        assert before.get_linestyle() != after.get_linestyle()  # not by colour alone


def test_bars_are_ratios_of_single_sites_and_the_line_of_composites():
    before, after = scaled(1.0), scaled(1.0)
    after = with_number(after, "amax_forward", "site", "max", 2, 2.0)
    after = with_number(after, "amax_forward", "site", "max", 4, 0.5)
    _, _, forward, backward = panels(before, after)
    bars = {round(p.get_x() + p.get_width() / 2): p for p in forward.patches}
    assert {k: round(p.get_height(), 6) for k, p in bars.items()} == {2: 0.30103, 4: -0.30103}
    assert bars[2].get_facecolor() != bars[4].get_facecolor() and bars[4].get_hatch()
    assert not backward.patches
    assert {t.get_text() for t in forward.get_legend().get_texts()} == {
        "single site, larger", "single site, smaller", "composite",
    }  # fmt: skip


def test_only_sites_that_are_in_both_have_a_ratio_at_their_place_of_now():
    before = scaled(1.0, labels=list("abcdef"))
    after = scaled(2.0, depth=4, labels=list("xbcd"))
    *_, forward, _ = panels(before, after)
    assert [round(p.get_x() + p.get_width() / 2) for p in forward.patches] == [1, 2, 3]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_a_cross_and_is_counted(bad):
    after = with_number(scaled(1.0), "amax_forward", "prefix", "max", 3, bad)
    forward, _, ratio, _ = panels(scaled(1.0), after)
    for axes, label in ((forward, "after: not finite (1 site)"), (ratio, "composite: not finite (1 site)")):
        (cross,) = (line for line in axes.lines if line.get_label() == label)
        assert cross.get_xdata().tolist() == [3] and cross.get_marker() == "x"


def test_a_gain_of_zero_is_a_cross_at_the_bottom():
    after = with_number(scaled(1.0), "amax_backward", "suffix", "max", 1, 0.0)
    _, backward, *_ = panels(scaled(1.0), after)
    assert "after: zero (1 site)" in {line.get_label() for line in backward.lines}


def test_gains_beyond_float64_have_a_place():
    _, backward, _, ratio = panels(scaled(1e100), scaled(1e200))
    assert backward.get_ylim()[1] > 1200 and ratio.get_ylim()[1] > 600


def test_names_are_text_and_no_markup():
    where = replace(scaled(1.0), name="_$x^{$ <b>" + "long " * 40)
    data = drawn([compared(where, where)], "svg")
    assert b"_$x^{$" not in data or data  # glyphs are paths
    import matplotlib.image

    image = matplotlib.image.imread(io.BytesIO(drawn([compared(where, where)], "png", theme="dark")))
    assert 1500 < image.shape[1] < 1800 and image[2, 2, :3].max() < 0.2


def test_the_same_reports_give_the_same_bytes():
    found = [compared(scaled(1.0), scaled(1.1))]
    assert drawn(found, "png") == drawn(found, "png")


def test_one_site_and_two_pairs():
    found = [compared(scaled(1.0, depth=1), scaled(2.0, depth=1)), compared(scaled(1.0), scaled(1.1))]
    assert len(comparison(found).axes) == 8
    assert drawn(found, "png")
