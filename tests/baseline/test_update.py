"""The ratchet: what an update takes over, and what it refuses."""

import math
from dataclasses import replace

import pytest
from compared_reports import measured, stochastic, usual, with_number
from hypothesis import given, settings
from hypothesis import strategies as st

from mhc_diag.baseline import Baseline, against, updated
from mhc_diag.compare.worse import SIDES
from mhc_diag.gate import Policy, judge
from mhc_diag.verdict import Limit

FREE = Policy(profile="none", limits=(Limit("inf_norm", "prefix", at_most=1e9),))
TIGHT = Policy(profile="none", limits=(Limit("amax_backward", "suffix", at_most=1.0),))
NOTHING = ((), (), ())


def update(old, *reports, policy=FREE, tolerance=0.01):
    return updated(old, reports, judge(reports, policy), tolerance=tolerance)


def refused(made):
    return made.worse, made.untold, made.broken


def gain(baseline, metric="amax_backward", scope="suffix"):
    (entry,) = baseline.entries
    return next(n.value for n in entry.numbers if (n.measure.metric, n.measure.scope) == (metric, scope))


def with_gain(value):
    report = usual()
    for site in range(6):
        report = with_number(report, "amax_backward", "suffix", "max", site, value if site == 1 else 1.0)
    return report


def test_better_is_taken_over_and_worse_is_not():
    start = update(Baseline(), with_gain(2.0)).baseline
    better = update(start, with_gain(1.5))
    assert (refused(better), gain(better.baseline)) == (NOTHING, 1.5)
    worse = update(better.baseline, with_gain(2.0))
    assert (
        "amax_backward" not in worse.worse[0] and "backward composite gain 2.000 at site 1" in worse.worse[0]
    )
    assert len(worse.worse) == 1 and gain(worse.baseline) == 2.0  # what --accept-worse would write


def test_steps_within_the_tolerance_do_not_add_up():
    baseline = update(Baseline(), with_gain(2.0)).baseline
    for step in range(5):
        made = update(baseline, with_gain(2.0 * 1.009 ** (step > 0)))
        assert (refused(made), made.baseline) == (NOTHING, baseline)
    assert update(baseline, with_gain(2.0 * 1.009**2)).worse


def test_the_same_again_changes_nothing():
    baseline = update(Baseline(), usual("a"), usual("b"), policy=TIGHT).baseline
    assert update(baseline, usual("b"), usual("a"), policy=TIGHT) == update(
        baseline, usual("a"), usual("b"), policy=TIGHT
    )
    assert update(baseline, usual("a"), usual("b"), policy=TIGHT).baseline == baseline


def test_findings_that_are_new_are_refused_and_those_that_are_gone_dropped():
    bad = measured(stochastic(spread=2.0))
    accepted = update(Baseline(), bad, policy=TIGHT).baseline
    assert [f.rule for f in accepted.entries[0].findings] == ["MHC100"]
    assert update(accepted, bad, policy=FREE).baseline.entries[0].findings == ()
    new = update(update(Baseline(), bad, policy=FREE).baseline, bad, policy=TIGHT)
    assert len(new.worse) == 1 and new.worse[0].startswith("MHC100 model: backward composite gain")
    assert new.baseline.entries[0].findings == accepted.entries[0].findings


def test_what_is_defined_differently_takes_accepting_and_is_then_replaced():
    start = update(Baseline(), usual()).baseline
    deeper = measured(stochastic(depth=7))
    made = update(start, deeper)
    assert made.untold and not made.worse
    assert made.baseline == update(Baseline(), deeper).baseline


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_is_in_no_baseline(bad):
    made = update(Baseline(), with_number(usual(), "amax_forward", "prefix", "max", 3, bad))
    assert made.broken == ("model: amax_forward of a prefix, max is no number",)
    assert made.baseline.entries[0].numbers[0].measure.metric == "amax_backward"
    matrices = stochastic()
    matrices[2, 0, 1, 1] = bad
    broken = update(Baseline(), measured(matrices)).broken
    assert any(text.startswith("MHC502") for text in broken)


def test_a_measurement_that_stopped_is_in_no_baseline():
    stopped = replace(usual(), provenance=replace(usual().provenance, failure="OOM"))
    assert update(Baseline(), stopped).broken == ("model stopped half-way by OOM",)


def test_entries_of_other_reports_stay():
    both = update(Baseline(), usual("a"), usual("b")).baseline
    assert [e.name for e in update(both, usual("b"), usual("c")).baseline.entries] == ["a", "b", "c"]


numbers = st.floats(1e-3, 1e3)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(numbers, st.integers(0, 5)), min_size=1, max_size=6), st.floats(0.0, 0.2))
def test_without_acceptance_no_number_ever_gets_worse(steps, tolerance):
    baseline, before = Baseline(), None
    for value, site in steps:
        report = with_number(usual(), "amax_backward", "suffix", "max", site, value)
        report = with_number(report, "uniformity", "site", "min", site, min(value, 1.0))
        made = update(baseline, report, tolerance=tolerance)
        if made.worse:
            verdict = against(baseline, [report], judge([report], FREE), tolerance=tolerance)
            assert verdict.outcome == "failed"  # refused only what fails
            continue
        baseline = made.baseline
        (entry,) = baseline.entries
        now = {n.measure: n.log10 for n in entry.numbers if n.measure.metric in SIDES}
        for measure, log10 in (before or {}).items():
            old, new = (x if SIDES[measure.metric] == "above" else -x for x in (log10, now[measure]))
            assert measure.metric in ("marginal_drift", "half_life") or max(new, 0) <= max(old, 0) + 1e-9
        before = now
        assert against(baseline, [report], judge([report], FREE), tolerance=tolerance).outcome == "passed"
