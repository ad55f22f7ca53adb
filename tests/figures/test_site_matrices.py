"""The matrices and their sums, read back from the artists and computed anew."""

from dataclasses import replace

import numpy as np
import pytest

from mhc_diag.analyse import analyse
from mhc_diag.figures.site_matrices import draw, in_words, matrices
from mhc_diag.records import MixingStack, Provenance, Site


def report(stack, name="made"):
    sites = tuple(Site("layers", f"site{i}", i) for i in range(len(stack)))
    return analyse(
        MixingStack(name, stack, sites, Provenance("a test", "observed", "made", "direct", "token"))
    )


@pytest.fixture(scope="module")
def drawn():
    made = np.eye(3) + 0.3 * np.random.default_rng(1).standard_normal((9, 4, 3, 3))
    made[6] *= 3
    return made


def shown(figure):
    return [axes for axes in figure.axes if axes.images]


def test_ends_worst_sites_and_the_composite_of_all_are_shown(drawn):
    panels = shown(draw([report(drawn)]))
    assert [axes.get_title().split("\n")[0] for axes in panels] == [
        "site 0",
        "site 6 (worst)",
        "site 8",
        "composite of",
    ]
    whole = np.broadcast_to(np.eye(3), drawn[0].shape)
    for matrix in drawn:
        whole = matrix @ whole
    expected = [drawn[0], drawn[6], drawn[8], whole]
    for axes, matrix in zip(panels, expected, strict=True):
        np.testing.assert_allclose(axes.images[0].get_array(), matrix.mean(axis=0), atol=1e-12)


def test_sums_stand_beside_their_rows_and_below_their_columns(drawn):
    axes = shown(draw([report(drawn)]))[0]
    mean = drawn[0].mean(axis=0)
    assert [t.get_text() for t in axes.get_yticklabels()] == [f"{x:.2f}" for x in mean.sum(axis=1)]
    assert [t.get_text() for t in axes.get_xticklabels()] == [f"{x:.2f}" for x in mean.sum(axis=0)]
    assert axes.yaxis.get_label_position() == "right"
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert {(j, i): f"{mean[i, j]:.2f}".replace("-0.00", "0.00") for i in range(3) for j in range(3)} == cells


def test_a_power_of_ten_is_taken_out_of_what_no_float_holds():
    *_, whole = matrices(report(np.full((700, 1, 2, 2), 5.0)))
    assert whole.power == 699  # each site times 10, and entries of 5
    np.testing.assert_allclose(whole.matrix, 5.0)
    assert "times 1e+699" in whole.heading
    assert "composite of sites 0 to 699 entries and sums times 1e+699: row sums 10.00, 10.00" in in_words(
        [report(np.full((700, 1, 2, 2), 5.0))]
    )


def test_what_is_no_number_is_a_word_on_a_colour_off_the_scale(drawn):
    broken = drawn.copy()
    broken[2, 1, 0, 1] = np.inf
    made = report(broken)
    assert matrices(made)[1].name.startswith("site 2 (worst)")
    axes = shown(draw([made]))[1]
    words = {text.get_position(): text.get_text() for text in axes.texts}
    assert words[1, 0] == "inf" and axes.get_yticklabels()[0].get_text() == "inf"
    red, green, blue, _ = axes.images[0].to_rgba(axes.images[0].get_array())[0, 1]
    assert green > red and green > blue


def test_few_sites_are_all_shown_and_many_streams_have_no_digits():
    panels = shown(draw([report(np.broadcast_to(np.eye(12), (3, 1, 12, 12)))]))
    assert len(panels) == 4 and not any(axes.texts for axes in panels)
    assert len(shown(draw([report(np.ones((1, 1, 2, 2)))]))) == 1


def test_reports_without_matrices_are_left_out(drawn):
    one = report(drawn, "kept")
    figure = draw([replace(one, sample=None, name="bare"), one])
    assert len(shown(figure)) == 4 and "bare" not in figure.get_suptitle()
