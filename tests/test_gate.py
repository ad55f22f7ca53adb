"""Limits: what breaks them, what cannot be told, and that nothing odd ever passes."""

import math

import numpy as np
import pytest

from mhc_diag.errors import MhcDiagError
from mhc_diag.gate import Policy, judge
from mhc_diag.records import Curve, Provenance, Report, Site, Skipped

SKIPPED = (Skipped("layers.3", "no probe got through"),)


def report_of(forward, backward=(0.0, 0.0), *, nonfinite=(0, 0), method="observed", **provenance):
    """A report of two sites from log10 gains."""
    curves = tuple(
        Curve(metric, scope, "max", np.array([power(x) for x in logs]), np.array(logs), np.array([0, 0]))
        for metric, scope, logs in (
            ("amax_forward", "prefix", forward),
            ("amax_backward", "suffix", backward),
        )
    )
    sites = (Site("layers.0", "attn", 0), Site("layers.0", "mlp", 1))
    origin = Provenance("a test", method, "made by hand", "observed", "token", **provenance)
    return Report("model", 2, 1, sites, curves, (), origin, nonfinite=nonfinite)


def power(log10):
    return 10.0**log10 if log10 < 308 else math.inf if log10 == log10 else math.nan


def outcome(*reports, limit=4.0):
    verdict = judge(reports, Policy(max_gain=limit))
    assert verdict.exit_code == {"passed": 0, "failed": 1, "could not tell": 2}[verdict.outcome]
    assert all(line.startswith(("passed: ", "failed: ", "could not tell: ")) for line in verdict.lines)
    return verdict.outcome


def test_no_limit_no_lines():
    verdict = judge([report_of((9.0, math.nan), nonfinite=(1, 1), failure="OOM")], Policy())
    assert (verdict.outcome, verdict.lines, verdict.exit_code) == ("passed", (), 0)


def test_held_and_broken_in_either_direction():
    assert outcome(report_of((0.0, 0.6))) == "passed"
    assert outcome(report_of((0.0, 0.61))) == "failed"
    assert outcome(report_of((0.0, 0.0), (0.61, 0.0))) == "failed"
    assert outcome(report_of((0.0, 0.0)), report_of((0.7, 0.0))) == "failed"


@pytest.mark.parametrize("limit", [1.0, 1.1, 3.0, 4.0, 1e-3, 1e300, 7.3])
def test_exactly_at_the_limit_passes_and_just_above_does_not(limit):
    report = report_of((math.log10(limit), -9.0), (-9.0, -9.0))
    report.composite("forward").value[0] = limit
    assert outcome(report, limit=limit) == "passed"
    above = report_of((math.log10(limit * (1 + 1e-9)), -9.0), (-9.0, -9.0))
    assert outcome(above, limit=limit) == "failed"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("limit", [1e-300, 4.0, 1e308])
def test_what_is_not_finite_fails_whatever_the_limit(bad, limit):
    assert outcome(report_of((0.0, bad)), limit=limit) == "failed"
    assert outcome(report_of((bad, 0.0)), limit=limit) == "failed"
    assert outcome(report_of((-999.0, -999.0), (-999.0, bad)), limit=limit) == "failed"


def test_gains_beyond_float64_are_held_by_their_logarithm():
    assert outcome(report_of((400.0, 0.0)), limit=1e308) == "failed"
    assert outcome(report_of((-400.0, -400.0), (-400.0, -400.0)), limit=1e-300) == "passed"
    assert outcome(report_of((-math.inf, -math.inf), (-math.inf, -math.inf)), limit=1e-300) == "passed"


def test_matrices_that_are_not_finite_fail_though_the_gains_are():
    assert outcome(report_of((0.0, 0.0), nonfinite=(0, 3))) == "failed"


def test_what_was_not_measured_cannot_pass():
    assert outcome(report_of((0.0, 0.0), skipped=SKIPPED)) == "could not tell"
    assert outcome(report_of((0.0, 0.0), failure="RuntimeError: no")) == "could not tell"
    assert outcome(report_of((0.0, 0.0)), report_of((0.0, 0.0), failure="OOM")) == "could not tell"
    assert outcome(report_of((0.0, 0.0), skipped=SKIPPED, method="static")) == "passed"


def test_a_proven_failure_wins():
    assert outcome(report_of((1.0, 0.0), skipped=SKIPPED)) == "failed"
    assert outcome(report_of((0.0, 0.0), failure="OOM"), report_of((1.0, 0.0))) == "failed"
    assert outcome(report_of((0.0, math.nan), nonfinite=(0, 1), failure="OOM")) == "failed"


def test_lines_name_what_decided_and_come_worst_first():
    verdict = judge([report_of((1.0, 0.5), failure="OOM", skipped=SKIPPED)], Policy(max_gain=4))
    gain = "forward composite gain 10.00 at site 0 (layers.0.attn)"
    assert verdict.lines[0] == f"failed: MHC100 model: {gain}, allowed is at most 4"
    assert verdict.lines[1] == "could not tell: model: stopped half-way by OOM"
    assert "1 not measured, first layers.3: no probe got through" in verdict.lines[2]
    assert (
        verdict.lines[3]
        == "passed: model: backward composite gain 1.000 at site 0 (layers.0.attn), allowed is at most 4"
    )
    (line,) = (
        x for x in judge([report_of((0.0, 400.0))], Policy(max_gain=4)).lines if x.startswith("failed")
    )
    assert "1.000e+400 at site 1" in line


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan, math.inf])
def test_a_limit_that_nothing_could_keep_or_break_is_refused(limit):
    with pytest.raises(MhcDiagError, match="--max-gain"):
        Policy(max_gain=limit)
