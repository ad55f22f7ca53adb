"""A stack that comes in parts has the report of the whole, and what can be asked for besides."""

from dataclasses import replace

import numpy as np
import pytest

from mhc_diag.analyse import analyse
from mhc_diag.errors import MhcDiagError
from mhc_diag.maths.projections import sinkhorn
from mhc_diag.records import MixingStack, Provenance, Site
from mhc_diag.selection import chosen

DEPTH, TOKENS, STREAMS = 6, 500, 3


def drawn(kind="signed"):
    rng = np.random.default_rng(11)
    matrices = rng.standard_normal((DEPTH, TOKENS, STREAMS, STREAMS))
    if kind == "huge":
        matrices *= 1e200
    if kind == "broken":
        matrices[2, 77, 0, 1] = np.nan
    return matrices


def stack_of(matrices, logits=None, **provenance):
    sites = tuple(Site("", "", depth) for depth in range(len(matrices)))
    where = Provenance("a test", "simulated", "drawn", "direct", "stack", token_shape=(matrices.shape[1],))
    return MixingStack("drawn", matrices, sites, replace(where, **provenance), logits=logits)


def parts_of(stack, *ends):
    starts = (0, *ends)
    for start, end in zip(starts, (*ends, stack.matrices.shape[1]), strict=True):
        logits = None if stack.logits is None else stack.logits[:, start:end]
        yield replace(stack, matrices=stack.matrices[:, start:end], logits=logits)


@pytest.mark.parametrize("kind", ["signed", "huge", "broken"])
@pytest.mark.parametrize("ends", [(250,), (1, 2, 499), (100, 200, 300, 400)])
def test_parts_have_the_report_of_the_whole(kind, ends):
    stack = stack_of(drawn(kind))
    whole, parted = analyse(stack), analyse(parts_of(stack, *ends))
    assert (parted.tokens, parted.nonfinite) == (whole.tokens, whole.nonfinite)
    assert len(parted.curves) == len(whole.curves)
    for expected in whole.curves:
        found = parted.curve(expected.metric, expected.scope, expected.statistic)
        tolerance = {"rtol": 1e-11, "atol": 1e-11, "err_msg": f"{expected.metric} {expected.statistic}"}
        np.testing.assert_allclose(found.log10, expected.log10, **tolerance)
        if expected.token is not None:
            np.testing.assert_array_equal(found.token, expected.token)
    for mine, other in zip(parted.scalars, whole.scalars, strict=True):
        assert mine.name == other.name
        assert mine.value == pytest.approx(other.value, rel=1e-10, nan_ok=True)
        assert (mine.standard_error is None) == (other.standard_error is None)


def test_the_paper_alone_is_the_same_numbers():
    stack = stack_of(drawn())
    everything, paper = analyse(stack), analyse(stack, metrics=("paper",))
    assert {(c.metric, c.scope) for c in paper.curves} == {
        ("amax_forward", "site"),
        ("amax_backward", "site"),
        ("amax_forward", "prefix"),
        ("amax_backward", "suffix"),
    }
    for curve in paper.curves:
        expected = everything.curve(curve.metric, curve.scope, curve.statistic)
        np.testing.assert_allclose(curve.value, expected.value, rtol=1e-12)
    for name in ("growth_forward", "growth_backward"):
        assert paper.scalar(name).value == pytest.approx(everything.scalar(name).value, rel=1e-10)


def test_chosen_metrics_and_no_others():
    report = analyse(stack_of(drawn()), metrics=("uniformity",))
    assert [card.name for card in report.cards] == ["amax_forward", "amax_backward", "uniformity"]
    assert report.scalar("half_life") is not None
    with pytest.raises(MhcDiagError, match="no metric 'amax'"):
        chosen(["amax"])


def test_logits_are_judged_where_they_are_known():
    logits = drawn()
    report = analyse(stack_of(sinkhorn.project(logits), logits))
    spread = logits.max(axis=(-2, -1)) - logits.min(axis=(-2, -1))
    np.testing.assert_allclose(report.curve("log_nu", "site", "p50").value, np.median(spread, axis=1))
    with pytest.raises(KeyError):
        report.curve("log_nu", "prefix", "p50")
    assert "log_nu" not in {card.name for card in analyse(stack_of(drawn())).cards}


def test_half_life_of_a_known_decay():
    """M = J + rho (I - J) has uniformity rho, and its powers rho**l (closed form)."""
    for rho, expected in (
        (0.998659498553, 516.7),
        (0.5, 1.0),
        (0.2, np.log(0.5) / np.log(0.2)),
        (1.0, np.inf),
        (0.0, 0.0),
    ):
        matrix = (1 - rho) / 4 + rho * np.eye(4)
        stack = stack_of(np.broadcast_to(matrix, (60, 1, 4, 4)), token_axis="none", token_shape=())
        life = analyse(stack).scalar("half_life").value
        assert life == pytest.approx(expected, rel=1e-4)


def test_signals_of_a_stack_that_is_the_same_for_all_are_as_many_as_it_stands_for():
    eye = np.broadcast_to(np.eye(4), (5, 1, 4, 4))
    settings = {"seed": 3, "seeds": 40}
    stack = stack_of(eye, token_axis="none", token_shape=(), settings=settings)
    report = analyse(stack, branch_gain=1.0)
    assert (
        report.curve("activation_rms", "prefix", "p05").value[-1]
        < report.curve("activation_rms", "prefix", "p95").value[-1]
    )
    quiet = analyse(stack, branch_gain=0.0)
    np.testing.assert_allclose(quiet.curve("activation_rms", "prefix", "max").value, 1)
    np.testing.assert_allclose(quiet.curve("gradient_rms", "suffix", "min").value, 1)


def test_signals_do_not_depend_on_the_parts():
    stack = stack_of(drawn(), settings={"seed": 5})
    whole = analyse(stack, branch_gain=0.5)
    parted = analyse(parts_of(stack, 33, 300), branch_gain=0.5)
    for metric, scope in (("activation_rms", "prefix"), ("gradient_rms", "suffix")):
        expected, found = (r.curve(metric, scope, "p95").value for r in (whole, parted))
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert [c.name for c in parted.cards][-2:] == ["activation_rms", "gradient_rms"]


def test_triangles_hold_both_composite_curves():
    report = analyse(stack_of(drawn()), triangle=True)
    made = {(t.metric, t.statistic): t.log10 for t in report.triangles}
    for statistic in ("mean", "p50", "p99", "max"):
        forward = report.composite("forward", statistic).log10
        backward = report.composite("backward", statistic).log10
        np.testing.assert_allclose(made["amax_forward", statistic][0], forward, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(made["amax_backward", statistic][:, -1], backward, rtol=1e-11, atol=1e-12)


def test_a_measured_stack_leaves_a_sample_and_a_drawn_one_does_not():
    matrices = drawn()
    report = analyse(stack_of(matrices, matrices + 1, method="observed"))
    assert report.sample.shape == report.sample_logits.shape == (DEPTH, 16, STREAMS, STREAMS)
    np.testing.assert_array_equal(report.sample[:, 1], matrices[:, TOKENS // 16])
    np.testing.assert_array_equal(report.sample_logits, report.sample + 1)
    assert analyse(stack_of(matrices)).sample is None
