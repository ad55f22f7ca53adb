"""What a baseline holds against a report, against changes that were put there by hand."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from compared_reports import measured, stochastic, usual, with_number
from hypothesis import given, settings
from hypothesis import strategies as st

from mhc_diag.baseline import Baseline, against, from_document, to_document, updated
from mhc_diag.compare.measures import MEASURES
from mhc_diag.gate import Policy, judge
from mhc_diag.verdict import Limit

FREE = Policy(profile="none", limits=(Limit("inf_norm", "prefix", at_most=1e9),))
TIGHT = Policy(profile="none", limits=(Limit("amax_backward", "suffix", at_most=1.0),))


def baseline_of(*reports, policy=FREE):
    made = updated(Baseline(), reports, judge(reports, policy), tolerance=0.01)
    assert (made.worse, made.untold, made.broken) == ((), (), ())
    return from_document(to_document(made.baseline), "a test")


def held(baseline, *reports, policy=FREE, tolerance=0.01, **other):
    verdict = judge(reports, policy)
    return against(baseline, reports, verdict, tolerance=tolerance, source="base.json", **other)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 4), st.integers(1, 5), st.floats(0.0, 40.0)
)
def test_a_report_passes_its_own_baseline(seed, depth, tokens, streams, spread):
    report = measured(stochastic(depth, tokens, streams, seed, spread))
    for policy in (FREE, TIGHT):
        verdict = held(baseline_of(report, policy=policy), report, policy=policy, tolerance=0.0)
        assert (verdict.outcome, verdict.errors, verdict.doubts) == ("passed", (), ())
        (note,) = verdict.notes
        assert re.fullmatch(r"(\d+) of \1 numbers of model are no worse than base.json says", note)


def test_streams_that_are_averaged_at_once_have_numbers_too():
    report = measured(np.full((2, 1, 4, 4), 0.25))
    assert report.scalar("half_life").value == 0
    assert held(baseline_of(report), report).outcome == "passed"


def falls(measure):
    return measure.statistic == "min" or measure.scope == "stack"


@pytest.mark.parametrize(
    ("measure", "bad"),
    [(m, bad) for m in MEASURES for bad in (None, math.nan, *(() if falls(m) else (math.inf,)))],
    ids=lambda x: getattr(x, "title", str(x)),
)
def test_each_number_that_is_worse_fails_and_names_the_site(measure, bad):
    report, site = usual(), 4
    if measure.scope == "stack":
        value = 0.9 * report.scalar(measure.metric).value
    else:
        numbers = report.curve(measure.metric, measure.scope, measure.statistic).value
        value = 0.98 * numbers.min() if measure.statistic == "min" else 1.02 * numbers.max() + 0.02
    worse = with_number(report, measure.metric, measure.scope, measure.statistic, site, bad or value)
    verdict = held(baseline_of(report), worse)
    mine = [f for f in verdict.errors if f.rule == "MHC110"]
    assert (verdict.outcome, len(mine)) == ("failed", 1)
    assert mine[0].place.metric == measure.metric
    if measure.scope != "stack":
        assert "at site 4 (layers.4)" in mine[0].text
    if bad is None:
        assert held(baseline_of(report), worse, tolerance=0.5).outcome == "passed"
        assert held(baseline_of(worse), report).outcome == "passed"


def test_a_percentage_is_told():
    worse = with_number(usual(), "amax_backward", "suffix", "max", 0, 3.0)
    better = with_number(usual(), "amax_backward", "suffix", "max", 0, 2.5)
    (finding,) = held(baseline_of(better), worse).errors
    said = (
        "backward composite gain 3.000 at site 0 (layers.0), 20 % worse: the baseline has 2.500 at layers.0"
    )
    assert finding.text == said


def test_an_accepted_finding_does_not_fail_again_and_is_shown():
    report = measured(stochastic(spread=2.0))
    assert judge([report], TIGHT).outcome == "failed"
    baseline = baseline_of(report, policy=TIGHT)
    verdict = held(baseline, report, policy=TIGHT)
    assert (verdict.outcome, verdict.errors, verdict.warnings) == ("passed", (), ())
    assert [f.rule for f in verdict.findings if f.accepted] == ["MHC100"]
    assert any(line.startswith("accepted: MHC100 model: backward composite gain") for line in verdict.lines)


def test_a_finding_at_another_site_is_the_same_unless_its_number_is_worse():
    report = measured(stochastic(spread=2.0))
    baseline = baseline_of(report, policy=TIGHT)
    worst = float(report.composite("backward").value.max())
    for value, failed in ((1.005 * worst, False), (1.5 * worst, True)):
        moved = with_number(report, "amax_backward", "suffix", "max", 5, value)
        rules = {f.rule for f in held(baseline, moved, policy=TIGHT).errors}
        assert rules == ({"MHC100", "MHC110"} if failed else set())


def test_a_new_finding_fails_beside_an_accepted_one():
    report = measured(stochastic(spread=2.0))
    stricter = replace(TIGHT, limits=(*TIGHT.limits, Limit("inf_norm", "site", at_most=0.5)))
    verdict = held(baseline_of(report, policy=TIGHT), report, policy=stricter)
    assert [(f.place.metric, f.accepted) for f in verdict.findings] == [
        ("inf_norm", False),
        ("amax_backward", True),
    ]
    assert verdict.outcome == "failed"


def test_what_is_no_longer_found_is_stale():
    report = measured(stochastic(spread=2.0))
    notes = held(baseline_of(report, policy=TIGHT), report, policy=FREE).notes
    assert notes[0] == "base.json accepts MHC100 of model, which is not found any more"
    both = baseline_of(usual("a"), usual("b"))
    verdict = held(both, usual("a"))
    assert verdict.notes[1:] == ("base.json holds b, which was not looked at",)
    assert verdict.outcome == "passed"


def test_what_the_baseline_does_not_know_cannot_be_told():
    verdict = held(baseline_of(usual("a"), usual("b")), usual("a"), usual("c"))
    assert verdict.outcome == "could not tell"
    assert "c: base.json holds nothing of it" in verdict.lines[0]


def test_one_report_and_one_entry_belong_together_whatever_they_are_called():
    baseline = baseline_of(usual("step-100.pt"))
    assert held(baseline, usual("step-200.pt")).outcome == "passed"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"axis": "none", "method": "static"}, "method was observed, is static"),
        ({"settings": {"seed": 1}}, "seed was none, is 1"),
        ({"labels": ["x", *(f"layers.{i}" for i in range(1, 6))]}, "gone are layers.0 and new are x"),
        ({"labels": [f"layers.{i}" for i in (1, 0, 2, 3, 4, 5)]}, "the order of the sites is another"),
    ],
)
def test_what_is_defined_differently_cannot_be_told(change, word):
    verdict = held(baseline_of(usual()), measured(2 * stochastic(), **change))
    assert verdict.outcome == "could not tell"
    assert any(word in line and "--update-baseline --accept-worse" in line for line in verdict.lines)


def test_streams_sites_and_formulas_must_match():
    for other, word in (
        (measured(stochastic(streams=3)), "streams was 4, is 3"),
        (measured(stochastic(depth=7)), "new are layers.6"),
        (measured(stochastic(tokens=2)), "tokens was 3, is 2"),
        (
            replace(
                usual(),
                cards=tuple(replace(c, formula="x") if c.name == "uniformity" else c for c in usual().cards),
            ),
            "formula of uniformity was norm_F(A - J) / sqrt(n - 1), J = ones / n, is x",
        ),
        (
            replace(usual(), curves=tuple(c for c in usual().curves if c.metric != "uniformity")),
            "not measured: uniformity of a site, min",
        ),
    ):
        verdict = held(baseline_of(usual()), other)
        assert verdict.outcome == "could not tell" and any(word in line for line in verdict.lines), word


def test_a_broken_limit_that_nobody_accepted_wins_over_a_mismatch():
    other = measured(stochastic(depth=7, spread=2.0))
    assert held(baseline_of(usual()), other, policy=TIGHT).outcome == "failed"
    accepted = baseline_of(measured(stochastic(spread=2.0)), policy=TIGHT)
    assert held(accepted, other, policy=TIGHT).outcome == "could not tell"


def test_the_level_is_the_users():
    worse = measured(1.5 * stochastic())
    assert held(baseline_of(usual()), worse, level="warn").outcome == "passed"
    assert held(baseline_of(usual()), worse, level="warn").warnings
    assert not held(baseline_of(usual()), worse, level="off").findings


def test_a_doubt_of_the_gate_stays():
    stopped = replace(usual(), provenance=replace(usual().provenance, failure="OOM"))
    assert held(baseline_of(usual()), stopped).outcome == "could not tell"


def test_an_infinite_gain_fails_even_against_a_baseline_that_somebody_wrote_it_into():
    document = to_document(baseline_of(usual()))
    (number,) = (
        n for n in document["reports"][0]["numbers"] if (n["metric"], n["scope"]) == ("amax_forward", "site")
    )
    number.update(value="inf", log10="inf")
    loose = from_document(document, "x")
    assert held(loose, usual()).outcome == "passed"
    infinite = with_number(usual(), "amax_forward", "site", "max", 2, math.inf)
    assert held(loose, infinite).outcome == "failed"
