"""The line about the depth kernel: the largest weight, where it is, and what is not known."""

from dataclasses import replace

import numpy as np

from mhc_diag.analyse import analyse
from mhc_diag.records import MixingStack, Provenance, Site
from mhc_diag.render import table
from mhc_diag.schema import from_document, to_document


def stack_of(matrices, pre, post):
    sites = tuple(Site(f"layers.{depth}", "attn", depth) for depth in range(len(matrices)))
    return MixingStack(
        "small", matrices, sites, Provenance("a test", "observed", "made by hand", "direct", "token"),
        pre=pre, post=post,
    )  # fmt: skip


def line(stack):
    text = " ".join(table.render([analyse(stack)], width=200).split())
    return text.partition("Depth kernel:")[2].partition(" = ")[0].strip()


def small():
    matrices = np.broadcast_to(np.eye(2), (5, 2, 2, 2)).copy()
    matrices[2] *= 3
    return stack_of(matrices, np.ones((5, 2, 2)), np.ones((5, 2, 2)) * np.array([1.0, 2.0])[:, None])


def test_the_largest_weight_and_where_it_is():
    assert line(small()) == (
        "abs(K) 12.00 at most, mean 9.000, from the branch of site 0 (layers.0.attn) to that of site 3 "
        "(layers.3.attn)"
    )


def test_the_definition_stands_beside_it():
    assert "K_kj = h_k M_{k-1} ... M_{j+1} p_j" in " ".join(table.render([analyse(small())]).split())


def test_one_weight_everywhere():
    ones = np.ones((4, 3, 1))
    assert line(stack_of(np.ones((4, 3, 1, 1)), ones, ones)) == (
        "abs(K) 1.000 from every branch to every later one"
    )


def test_what_is_not_known_is_counted():
    stack = small()
    pre = stack.pre.copy()
    pre[3] = np.nan
    assert line(replace(stack, pre=pre)).endswith("; known for 7 of 10 pairs")
    assert line(replace(stack, pre=None)) == line(replace(stack, pre=np.full_like(pre, np.nan))) == ""


def test_a_weight_beyond_every_float_is_read():
    ones = np.ones((6, 1, 1))
    text = line(stack_of(np.full((6, 1, 1, 1), 1e100), ones, ones))
    assert text.startswith("abs(K) 1.000e+400 at most, from the branch of site 0")


def test_it_is_saved_and_read_back():
    report = analyse(small())
    (again,) = from_document(to_document([report]), "file")
    for one, other in zip(report.triangles, again.triangles, strict=True):
        assert (one.metric, one.statistic) == (other.metric, other.statistic)
        np.testing.assert_array_equal(one.log10, other.log10)
    assert [card.name for card in again.cards][-1] == "depth_kernel"


def test_random_signals_do_not_use_what_is_not_known():
    stack = small()
    pre = stack.pre.copy()
    pre[3] = np.nan
    report = analyse(replace(stack, pre=pre), branch_gain=1.0)
    assert np.isfinite(report.curve("activation_rms", "prefix", "mean").log10).all()
