"""What the heat map shows, read back from its artists."""

import math
from dataclasses import replace
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgba

from mhc_diag.figures.heatmap import gain_triangles, heat_map
from mhc_diag.records import Provenance, Report, Site, Triangle

PROVENANCE = Provenance("example", "simulated", "made by hand", "direct", "token")


def report(forward, backward=None, name="made", tokens=8):
    """Triangles under `max` as given, and under `mean` a tenth of a decade lower."""
    tables = {"amax_forward": forward, "amax_backward": forward if backward is None else backward}
    triangles = tuple(
        Triangle(metric, statistic, np.where(np.tri(len(t), k=-1), np.nan, t) - lower)
        for metric, t in tables.items()
        for statistic, lower in (("mean", 0.1), ("max", 0.0))
    )
    sites = tuple(Site("", "", i) for i in range(len(forward)))
    return Report(name, 4, tokens, sites, (), (), PROVENANCE, triangles=triangles)


def table(depth, peak, at):
    """Gains between 10**-0.5 and 10**0.5 but for a peak at (first, last)."""
    logs = np.random.default_rng(depth).uniform(-0.5, 0.5, (depth, depth))
    logs[at] = peak
    return logs


def panels(figure):
    """The axes, row by row; the last ones of a figure are the colour bar's."""
    *axes, bar = figure.axes
    return axes, bar


def shown(axes):
    return axes.images[0].get_array()


def key(axes):
    legend = axes.get_legend()
    return {} if legend is None else {t.get_text(): p.get_facecolor() for t, p in zip(
        legend.get_texts(), legend.get_patches(), strict=True)}  # fmt: skip


def ring(axes):
    return {tuple(place) for marks in axes.collections for place in marks.get_offsets().tolist()}


def test_forward_stands_left_and_backward_right_first_sites_downwards():
    forward, backward = table(5, 2.0, (1, 3)), table(5, 1.0, (0, 4))
    (left, right), _ = panels(gain_triangles([report(forward, backward)]))
    above = np.triu(np.ones((5, 5), dtype=bool))
    for axes, logs, direction in ((left, forward, "forward"), (right, backward, "backward")):
        np.testing.assert_array_equal(shown(axes).compressed(), logs[above])
        np.testing.assert_array_equal(~np.ma.getmaskarray(shown(axes)), above)
        assert f"{direction}: " in axes.get_title(loc="left")
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("last site k", "first site l")
        bottom, top = axes.get_ylim()
        assert bottom > top
        assert key(axes) == {}


def test_the_worst_composite_has_a_ring_and_is_in_the_title():
    (left, right), _ = panels(gain_triangles([report(table(9, 3.5, (2, 7)), table(9, 0.7, (4, 4)))]))
    assert ring(left) == {(7, 2)}
    assert left.get_title(loc="left").endswith("forward: largest 3162, sites 2 to 7")
    assert ring(right) == {(4, 4)}
    assert right.get_title(loc="left") == "backward: largest 5.012, site 4"


def test_of_equal_gains_the_first_is_ringed():
    logs = np.zeros((4, 4))
    logs[1, 2], logs[2, 3] = 1.0, 1.0 + 1e-12
    (left, _), _ = panels(gain_triangles([report(logs)]))
    assert ring(left) == {(2, 1)}


def test_no_ring_where_all_gains_read_the_same():
    noise = np.random.default_rng(0).uniform(-1e-8, 1e-8, (6, 6))
    (left, _), _ = panels(gain_triangles([report(noise)]))
    assert left.get_title(loc="left").endswith("forward: 1.000 everywhere")
    assert not ring(left)
    low, high = left.images[0].get_clim()
    assert high - low > 0.01  # so that rounding has no colour


def test_all_panels_have_one_scale_with_white_at_a_gain_of_one():
    reports = [report(table(4, 3.0, (0, 1)), table(4, -4.0, (1, 2)), "a"), report(np.zeros((7, 7)), name="b")]
    axes, bar = panels(gain_triangles(reports))
    assert len(axes) == 4
    assert {a.images[0].get_clim() for a in axes} == {(-4.0, 4.0)}
    assert {a.images[0].get_cmap().name for a in axes} == {"RdBu_r"}
    red, _, blue, _ = axes[0].images[0].to_rgba(0.0)
    assert red == pytest.approx(blue, abs=0.01) and red > 0.95
    assert bar.get_ylim() == (-4.0, 3.0)  # only what occurs
    assert axes[2].get_title(loc="left").startswith("b: n = 4, L = 7, T = 8 tokens\n")


def test_the_bar_is_labelled_in_gains():
    def labels(*logs):
        _, bar = panels(gain_triangles([report(np.array([[logs[0], logs[-1]], [0.0, 0.0]]))]))
        return dict(zip([t.get_text() for t in bar.get_yticklabels()], bar.get_yticks(), strict=True))

    assert labels(-2.0, 3.0) == {"0.01": -2, "0.1": -1, "1": 0, "10": 1, "100": 2, "1000": 3}
    assert {"0.5", "1", "2", "5", "10"} <= set(labels(-0.35, 1.2))
    tiny = labels(0.0, 0.05)
    assert {"1.00", "1.10"} <= set(tiny)
    assert all(10**place == pytest.approx(float(label)) for label, place in tiny.items())
    huge = labels(0.0, 2000.0)
    assert huge["1"] == 0 and huge["$10^{2000}$"] == 2000


def test_what_is_no_number_and_what_is_zero_have_colours_of_their_own_and_are_counted():
    logs = table(6, 2.0, (4, 5))
    logs[:3, 2:4] = math.nan
    logs[0, 5] = math.inf
    logs[:2, 4] = -math.inf
    (left, _), _ = panels(gain_triangles([report(logs)]))
    assert key(left) == {"not finite (7 of 21)": to_rgba("#009E73"), "zero (2 of 21)": to_rgba("black")}
    _, broken, zero = left.images
    for image, color, places in (
        (broken, "#009E73", {*((i, j) for i in range(3) for j in (2, 3)), (0, 5)}),
        (zero, "black", {(0, 4), (1, 4)}),
    ):
        visible = ~np.ma.getmaskarray(image.get_array())
        assert set(zip(*map(list, np.nonzero(visible)), strict=True)) == places
        assert image.to_rgba(image.get_array())[visible].tolist() == [list(to_rgba(color))] * len(places)
    assert np.ma.getmaskarray(shown(left))[0].tolist() == [False, False, True, True, True, True]
    assert ring(left) == {(5, 4)}
    assert left.get_title(loc="left").endswith("largest finite gain 100.0, sites 4 to 5")


def test_nothing_but_nan_can_be_drawn():
    (left, _), bar = panels(gain_triangles([report(np.full((3, 3), math.nan))]))
    assert "not finite (6 of 6)" in key(left)
    assert left.get_title(loc="left").endswith("no gain is finite and above 0")
    assert "1.00" in [t.get_text() for t in bar.get_yticklabels()]


@pytest.mark.parametrize(
    ("depth", "ticks"),
    [(1, [0]), (2, [0, 1]), (60, [0, 10, 20, 30, 40, 50]), (1000, [0, 200, 400, 600, 800])],
)
def test_ticks_are_sites(depth, ticks):
    axes, _ = panels(gain_triangles([report(np.zeros((depth, depth)))]))
    for panel in axes:
        assert list(panel.get_xticks()) == list(panel.get_yticks()) == ticks


def test_the_statistic_is_chosen_and_named():
    logs = table(4, 2.0, (1, 2))
    figure = gain_triangles([report(logs)], statistic="mean")
    (left, _), _ = panels(figure)
    np.testing.assert_allclose(shown(left).compressed(), (logs - 0.1)[np.triu_indices(4)])
    assert figure.get_suptitle() == "Amax gain of the composite of sites l to k, mean over tokens"
    assert "largest over tokens" in gain_triangles([report(logs)]).get_suptitle()
    assert "tokens" not in gain_triangles([report(logs, tokens=1)]).get_suptitle()
    with pytest.raises(KeyError, match="p50"):
        gain_triangles([report(logs)], statistic="p50")


def test_files_of_each_kind_are_the_same_twice_whatever_matplotlib_is_set_to():
    reports = [report(table(5, 400.0, (1, 3)), name="a $\\frac{1$ <b>& \x00\ud800")]
    made = {kind: heat_map(reports, kind) for kind in ("png", "svg", "pdf")}
    assert made["png"].startswith(b"\x89PNG\r\n\x1a\n")
    assert made["pdf"].startswith(b"%PDF-") and b"CreationDate" not in made["pdf"]
    assert ElementTree.fromstring(made["svg"]).tag == "{http://www.w3.org/2000/svg}svg"
    assert b"<dc:date>" not in made["svg"]
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": "x", "image.origin": "lower"}):
        for kind, before in made.items():
            assert heat_map(reports, kind) == before
        assert matplotlib.rcParams["font.size"] == 30


def test_another_statistic_makes_another_file():
    one = report(table(5, 1.0, (1, 3)))
    other = replace(one, triangles=tuple(replace(t, log10=t.log10 * 2) for t in one.triangles))
    made = {heat_map([one], "svg"), heat_map([one], "svg", statistic="mean"), heat_map([other], "svg")}
    assert len(made) == 3
