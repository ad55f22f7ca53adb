"""The contract of a finding, on every file of mhc_diag/findings.

tests/findings/NAME.py holds what triggers it and what does not, by what they are: `SAMPLES` and
`NEAR_MISSES`, functions that make a MixingStack, or a Report. A sample triggers that finding and no other;
a near miss none at all. `WARNINGS` names the samples of which it only warns, although the profile says
error. They are judged by `POLICY`, which is what the profiles say unless the file has one,
and `then(verdict, report)` says what else becomes of that verdict.
"""

import importlib
import math
import re
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from mhc_diag import analyse, findings, plugins, profiles
from mhc_diag.gate import Policy, judge
from mhc_diag.records import Report
from mhc_diag.verdict import LEVELS

HERE = Path(__file__).parent / "findings"
NAMES = plugins.names("mhc_diag.findings")
RULES = plugins.load_all("mhc_diag.findings")
LONGEST = 120

sys.path.append(str(HERE))
sample_stacks = importlib.import_module("sample_stacks")

every_finding = pytest.mark.parametrize("name", NAMES)


@cache
def made(name):
    assert (HERE / f"{name}.py").exists(), f"tests/findings/{name}.py is missing"
    return importlib.import_module(name)


def cases(kind):
    return [(name, what) for name in NAMES for what in getattr(made(name), kind)]


def judged(name, make):
    stack = make()
    report = stack if isinstance(stack, Report) else analyse(stack)
    verdict = judge([report], getattr(made(name), "POLICY", Policy(profile="auto")))
    return getattr(made(name), "then", lambda verdict, report: verdict)(verdict, report)


@pytest.mark.parametrize("name, what", cases("SAMPLES"))
def test_a_sample_triggers_it_and_nothing_else(name, what):
    verdict = judged(name, made(name).SAMPLES[what])
    assert {f.rule for f in verdict.findings} == {RULES[name].ID}, verdict.lines
    (profile,) = verdict.profiles.values()
    level = (
        "warn" if what in getattr(made(name), "WARNINGS", ()) else RULES[name].LEVELS.get(profile, "error")
    )
    assert {f.level for f in verdict.findings} == {level}, verdict.lines
    assert all(re.search(r"\d", f.text) and not f.text.endswith(".") for f in verdict.findings)


@pytest.mark.parametrize("name, what", cases("NEAR_MISSES"))
def test_a_near_miss_triggers_nothing(name, what):
    assert judged(name, made(name).NEAR_MISSES[what]).findings == ()


@every_finding
def test_has_a_page(name):
    rule = RULES[name]
    assert re.fullmatch(r"MHC[1-5]\d\d", rule.ID)
    assert rule.TITLE[0].islower() or rule.TITLE.startswith(("Sinkhorn", "NaN"))
    assert len(rule.TITLE) <= 60 and not rule.TITLE.endswith(".")
    assert set(rule.LEVELS) <= set(profiles.NAMES) and set(rule.LEVELS.values()) <= set(LEVELS)
    assert rule.__doc__ and all(len(text.strip()) > 40 for text in (rule.WHAT, rule.WHY, rule.FIX))
    assert re.search(r"\d", rule.WHY) or not rule.LEVELS, "why it matters, with a number"
    assert isinstance(rule.REFERENCES, tuple) and (rule.REFERENCES or not rule.LEVELS)
    assert hasattr(rule, "limits") or hasattr(rule, "check") or not rule.LEVELS


@every_finding
def test_says_what_to_do_in_one_short_sentence(name):
    first = findings.first_sentence(RULES[name].FIX)
    assert first.endswith(".") and len(first) <= LONGEST, first
    assert not re.search(r"e\.g\.|for example|such as", first), "examples come after it"


@every_finding
def test_is_looked_for_somewhere(name):
    assert set(RULES[name].LEVELS.values()) & {"error", "warn"} or RULES[name].ID in {"MHC100", "MHC110"}


def test_ids_are_unique_and_explain_others_that_exist_or_will():
    ids = [rule.ID for rule in RULES.values()]
    assert len(set(ids)) == len(ids)
    for rule in RULES.values():
        others = findings.explains(rule)
        assert rule.ID not in others and all(re.fullmatch(r"MHC[1-5]\d\d", x) for x in others)


def test_every_sample_is_of_a_finding():
    files = {path.stem for path in HERE.glob("*.py")} - {"sample_stacks"}
    assert files == set(NAMES)


@pytest.mark.parametrize("value", [1e308, -1e308, math.inf, -math.inf, math.nan, 0.0, 1e-308, -1.0])
@pytest.mark.parametrize("where", [(2, 1, 3), ...], ids=["one entry", "all entries"])
def test_no_number_stops_them(value, where):
    matrices = np.repeat(np.eye(4)[None], 6, axis=0)
    matrices[where] = value
    for promise in (sample_stacks.CONSTRAINED, sample_stacks.FREE, None):
        report = analyse(sample_stacks.stack(matrices, promise=promise))
        verdict = judge([report], Policy(profile="auto"))
        assert ("MHC502" in {f.rule for f in verdict.findings}) == (not math.isfinite(value))


def test_what_a_report_lacks_is_not_found():
    stack = sample_stacks.projected(sample_stacks.noise(8, 4, 4, 4, seed=1), 1)
    assert {f.rule for f in judge([analyse(stack)], Policy(profile="auto")).findings} >= {"MHC301"}
    bare = replace(analyse(stack, metrics=("paper",)), sample=None, sample_logits=None, scalars=())
    assert judge([bare], Policy(profile="auto")).findings == ()
