"""Two reports beside each other, against changes that were put there by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from compared_reports import measured, stochastic, usual, with_number
from hypothesis import given, settings
from hypothesis import strategies as st

from mhc_diag.compare import compared, paired
from mhc_diag.compare.measures import MEASURES


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 4), st.integers(1, 5), st.floats(0.0, 40.0)
)
def test_a_report_is_equal_to_itself(seed, depth, tokens, streams, spread):
    report = measured(stochastic(depth, tokens, streams, seed, spread))
    found = compared(report, report)
    assert all(c.same and c.decades == 0 for c in (*found.worst, *found.changes))
    assert (found.outcome(0.0), found.doubts, found.notes) == ("passed", (), ())
    assert len(found.changes) == depth * sum(c.measure.scope != "stack" for c in found.worst)


def test_all_measures_are_compared():
    assert [c.measure for c in compared(usual(), usual()).worst] == list(MEASURES)


@pytest.mark.parametrize("measure", [m for m in MEASURES if m.scope != "stack"], ids=lambda m: m.title)
@pytest.mark.parametrize("site", [0, 3, 5])
def test_one_number_that_is_worse_is_found_first(measure, site):
    report = usual()
    curve = report.curve(measure.metric, measure.scope, measure.statistic)
    factor = 0.5 if measure.statistic == "min" else 2.0
    value = float(curve.value[site]) * factor + (1.0 if "drift" in measure.metric else 0.0)
    value += 1.0 if "residual" in measure.metric else 0.0
    worse = with_number(report, measure.metric, measure.scope, measure.statistic, site, value)
    found = compared(report, worse)
    first = found.changes[0]
    assert (first.measure, first.after.site, first.after.label) == (measure, site, f"layers.{site}")
    assert first.decades > math.log10(1.5)
    assert (found.outcome(0.01), compared(worse, report).outcome(0.01)) == ("failed", "passed")
    assert sum(not c.same for c in found.changes) == 1


def test_within_the_tolerance_and_beyond():
    report = usual()
    gain = float(report.composite("backward").value[0])
    for factor, outcome in ((1.0099, "passed"), (1.0101, "failed"), (0.9, "passed")):
        changed = with_number(report, "amax_backward", "suffix", "max", 0, gain * factor)
        assert compared(report, changed).outcome(0.01) == outcome
    assert compared(report, with_number(report, "half_life", "stack", "", 0, 0.5)).outcome(0.01) == "failed"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_number_is_worse_and_never_equal(bad):
    report = usual()
    broken = with_number(report, "amax_forward", "prefix", "max", 2, bad)
    assert compared(report, broken).outcome(1e6) == "failed"
    assert compared(report, broken).changes[0].after.site == 2
    assert compared(broken, report).outcome(0.0) == "passed"
    both = compared(broken, broken)
    assert both.outcome(0.0) == "could not tell" and "no number in either" in both.doubts[0]


def test_sites_are_matched_by_label_wherever_they_are():
    matrices = stochastic()
    labels = [f"layers.{i}" for i in range(6)]
    before = measured(matrices[[0, 1, 2, 4, 5]], labels=[*labels[:3], *labels[4:]])
    found = compared(before, measured(matrices, labels=labels))
    assert found.sites.pairs == ((0, 0), (1, 1), (2, 2), (3, 4), (4, 5))
    assert found.doubts == ("only in model: layers.3",)
    single = [c for c in found.changes if c.measure.scope == "site"]
    assert single and all(c.same for c in single)


def test_without_a_common_label_the_position_counts_and_a_note_says_so():
    other = measured(stochastic(), labels=[f"blocks.{i}" for i in range(6)])
    found = compared(usual(), other)
    assert found.outcome(0.0) == "passed" and "no site has the same label" in found.notes[0]
    shorter = compared(usual(), measured(stochastic()[:4], labels=list("abcd")))
    assert "only in model: layers.4, layers.5" in shorter.doubts


def test_labels_that_occur_twice_are_told_apart_by_their_order():
    twice = measured(stochastic(), labels=["shared", "shared", "a", "a", "a", "b"])
    assert compared(twice, twice).sites.pairs == tuple((i, i) for i in range(6))


def test_numbers_that_are_defined_differently_prove_nothing():
    doubled = 2 * stochastic()
    for other in (
        measured(doubled, method="static", axis="none"),
        measured(doubled, settings={"seed": 1}),
        measured(doubled[:, :2]),
        measured(2 * stochastic(streams=3)),
        measured(doubled[::-1], labels=[f"layers.{i}" for i in range(5, -1, -1)]),
    ):
        found = compared(usual(), other)
        assert (found.outcome(0.0), bool(found.differences)) == ("could not tell", True)
    cards = tuple(replace(c, formula="another") if c.name == "uniformity" else c for c in usual().cards)
    assert "formula of uniformity" in compared(usual(), replace(usual(), cards=cards)).differences[0]


def test_a_folder_or_a_version_is_no_difference():
    one, two = (
        measured(stochastic(), settings={"torch": torch, "input": f"{folder}/tokens.npy"})
        for torch, folder in (("2.6", "/home/one"), ("2.7", "two"))
    )
    assert compared(one, two).outcome(0.0) == "passed"


def test_a_proven_failure_wins_over_a_doubt():
    found = compared(usual(), measured(2 * stochastic()[:5]))
    assert found.doubts and found.outcome(0.01) == "failed"


def test_what_only_one_has_cannot_be_told():
    less = replace(usual(), curves=tuple(c for c in usual().curves if c.metric != "uniformity"))
    found = compared(usual(), less)
    assert found.outcome(0.01) == "could not tell"
    assert found.doubts == ("only one of them has uniformity of a site, min",)


def test_a_measurement_that_stopped_cannot_be_told():
    where = replace(usual().provenance, failure="RuntimeError: no")
    assert compared(usual(), replace(usual(), provenance=where)).outcome(0.0) == "could not tell"


def test_reports_are_paired_by_name_or_by_variant_or_because_there_is_one_of_each():
    a, b = usual("a"), usual("b")
    assert paired([a], [b]).pairs == ((a, b),)
    assert paired([a, b], [b]).pairs == ((b, b),)
    assert [r.name for r in paired([a, b], [b]).only_before] == ["a"]
    old, new = ([usual(f"{file}, {v}") for v in ("dev", "core")] for file in ("a.pt", "b.pt"))
    assert paired(old, new[::-1]).pairs == tuple(zip(old, new, strict=True))


def test_ten_thousand_sites_take_no_time():
    matrices = np.broadcast_to(np.eye(2), (2000, 1, 2, 2))
    report = measured(matrices, axis="none", method="static")
    assert len(compared(report, report).changes) > 10_000
