"""What the figure shows, read back from its artists."""

import math
from dataclasses import replace

import numpy as np
import pytest

from mhc_diag.figures.gain_curves import gain_curves


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def tick_labels(axes):
    low, high = axes.get_ylim()
    ticks = zip(axes.get_yticks(), axes.yaxis.get_major_formatter().seq, strict=True)
    return {label: place for place, label in ticks if low <= place <= high}


def legend_texts(figure):
    legends = [*figure.legends, *(a.get_legend() for a in figure.axes if a.get_legend())]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def test_one_report_shows_single_sites_and_composites(handmade):
    (report,) = handmade["REPORTS"]["failing"]
    single, composite = gain_curves([report]).axes
    assert (single.get_title(), composite.get_title()) == ("Single-site mapping", "Composite mapping")
    assert "Amax gain magnitude" in single.get_ylabel()
    for axes, scopes in ((single, ("site", "site")), (composite, ("prefix", "suffix"))):
        for direction, scope in zip(("forward", "backward"), scopes, strict=True):
            drawn = lines(axes)[direction]
            expected = report.curve(f"amax_{direction}", scope, "mean").log10
            np.testing.assert_array_equal(drawn.get_ydata(), expected)
            np.testing.assert_array_equal(drawn.get_xdata(), np.arange(40))


def test_several_reports_show_medians_forward_and_backward_on_one_scale(handmade):
    reports = handmade["REPORTS"]["side-by-side"]
    forward, backward = gain_curves(reports).axes
    assert "forward" in forward.get_title() and "backward" in backward.get_title()
    assert forward.get_ylim() == backward.get_ylim()
    for report in reports:
        drawn = lines(forward)[report.name].get_ydata()
        np.testing.assert_array_equal(drawn, report.curve("amax_forward", "prefix", "p50").log10)
        drawn = lines(backward)[report.name].get_ydata()
        np.testing.assert_array_equal(drawn, report.curve("amax_backward", "suffix", "p50").log10)


def test_curves_differ_in_more_than_colour(handmade):
    forward, _ = gain_curves(handmade["REPORTS"]["side-by-side"]).axes
    drawn = [lines(forward)[name] for name in ("identity", "HC", "mHC")]
    for look in ("get_color", "get_linestyle", "get_marker"):
        assert len({getattr(line, look)() for line in drawn}) == 3


def test_what_is_no_number_is_marked_at_the_top_and_zero_at_the_bottom(handmade):
    figure = gain_curves(handmade["REPORTS"]["overflowing"])
    single, composite = figure.axes
    for axes in (single, composite):
        marks = lines(axes)["forward: not finite (2 sites)"]
        assert marks.get_marker() == "x"
        assert list(marks.get_xdata()) == [25, 28]
        # drawn in fractions of the panel's height
        _, top = marks.get_transform().transform((0, 1.0)) - axes.transAxes.transform((0, 1.0))
        assert top == pytest.approx(0) and min(marks.get_ydata()) > 0.9
    zero = lines(composite)["backward: zero (1 site)"]
    assert list(zero.get_xdata()) == [3] and max(zero.get_ydata()) < 0.1
    for entry in ("forward: not finite (2 sites)", "backward: zero (1 site)"):
        assert entry in legend_texts(figure)


def test_a_report_of_nothing_but_nan_is_all_marks(handmade):
    nan = np.full((5, 2), math.nan)
    (clean,) = handmade["REPORTS"]["failing"]
    keys = [
        ("amax_forward", "site"),
        ("amax_backward", "site"),
        ("amax_forward", "prefix"),
        ("amax_backward", "suffix"),
    ]
    report = handmade["build"]("nan", dict.fromkeys(keys, nan), handmade["layers"](5), clean.provenance)
    for axes in gain_curves([report]).axes:
        assert {"forward: not finite (5 sites)", "backward: not finite (5 sites)"} <= set(lines(axes))


def test_one_token_that_is_nan_is_marked_though_the_median_is_a_number(handmade):
    reports = handmade["REPORTS"]["side-by-side"]
    bad = reports[1].curve("amax_forward", "prefix", "max")
    log10 = bad.log10.copy()
    log10[7] = math.nan
    curves = tuple(replace(c, log10=log10) if c is bad else c for c in reports[1].curves)
    forward, _ = gain_curves([reports[0], replace(reports[1], curves=curves)]).axes
    assert list(lines(forward)["HC: not finite (1 site)"].get_xdata()) == [7]


def test_gains_beyond_float64_have_a_place(handmade):
    _, composite = gain_curves(handmade["REPORTS"]["overflowing"]).axes
    assert composite.get_ylim()[1] > 2400
    assert tick_labels(composite)["$10^{2000}$"] == 2000


def test_a_tiny_range_is_labelled_in_plain_decimals(handmade):
    (clean,) = handmade["REPORTS"]["clean"]
    ticks = tick_labels(gain_curves([clean]).axes[0])
    assert {"0.98", "1.00", "1.02"} <= set(ticks)
    assert all(10**place == pytest.approx(float(label)) for label, place in ticks.items())


@pytest.mark.parametrize("top", [0.05, 0.3, 0.9, 1.7, 2.5, 5.0, 40.0])
def test_a_gain_of_one_and_some_other_are_always_labelled(handmade, top):
    (failing,) = handmade["REPORTS"]["failing"]
    logs = np.linspace(0, top, 8).reshape(4, 2)
    keys = [
        ("amax_forward", "site"),
        ("amax_backward", "site"),
        ("amax_forward", "prefix"),
        ("amax_backward", "suffix"),
    ]
    report = handmade["build"]("x", dict.fromkeys(keys, logs), handmade["layers"](4), failing.provenance)
    ticks = tick_labels(gain_curves([report]).axes[0])
    assert 0.0 in [round(place, 9) for place in ticks.values()]
    assert 3 <= len(ticks) <= 11


def test_one_site_has_one_tick_and_visible_points(handmade):
    (failing,) = handmade["REPORTS"]["failing"]
    gains = handmade["amax"](np.eye(4) + 0.3 * handmade["noise"](1, 8, 4, 4))
    report = handmade["build"]("one", gains, handmade["layers"](1), failing.provenance)
    for axes in gain_curves([report]).axes:
        assert list(axes.get_xticks()) == [0]
        assert lines(axes)["forward"].get_marker() == "o" and lines(axes)["forward"].get_markevery() == 1


def test_names_are_no_formulas(handmade):
    (clean,) = handmade["REPORTS"]["clean"]
    figure = gain_curves([replace(clean, name="$a$"), replace(clean, name="_b")])
    assert figure.get_suptitle().startswith("$a$, _b: n = 4")
    assert not figure._suptitle.get_parse_math()
    names = list(figure.legends[0].get_texts())
    assert [t.get_text().strip() for t in names] == ["$a$", "_b"]
    assert not any(t.get_parse_math() for t in names)
