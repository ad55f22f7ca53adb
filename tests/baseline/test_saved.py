"""Baselines as files: they come back as they were, and what is no baseline is refused with a reason."""

import json
import math

import pytest
from compared_reports import measured, stochastic, usual, with_number

from mhc_diag.baseline import Baseline, from_document, to_document, updated
from mhc_diag.errors import MhcDiagError
from mhc_diag.gate import Policy, judge
from mhc_diag.render import json as json_format
from mhc_diag.verdict import Limit

TIGHT = Policy(profile="none", limits=(Limit("amax_backward", "suffix", at_most=1.0),))


def document(*reports):
    reports = reports or (measured(stochastic(spread=2.0)),)
    made = updated(Baseline(), reports, judge(reports, TIGHT), tolerance=0.01)
    return json_format.dumped(to_document(made.baseline))


def test_it_comes_back_as_it_was():
    text = document(usual("b"), usual("a"))
    baseline = from_document(json.loads(text), "x")
    assert [e.name for e in baseline.entries] == ["a", "b"]
    assert json_format.dumped(to_document(baseline)) == text


def test_gains_beyond_float64_and_half_lives_without_end_come_back():
    report = with_number(usual(), "half_life", "stack", "", 0, math.inf)
    huge = measured(1e200 * stochastic())
    for each in (report, huge):
        text = document(each)
        json.loads(text, parse_constant=lambda name: pytest.fail(name))
        assert json_format.dumped(to_document(from_document(json.loads(text), "x"))) == text


def test_one_number_is_one_line_and_so_is_its_change():
    old = document(usual()).splitlines()
    new = document(with_number(usual(), "amax_forward", "site", "max", 3, 1.25)).splitlines()
    changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
    assert len(changed) == 1 and '"value": 1.25' in changed[0][1] and len(old) < 60


def test_rounding_is_no_change():
    value = float(usual().composite("backward").value.max())
    site = int(usual().composite("backward").value.argmax())
    near = with_number(usual(), "amax_backward", "suffix", "max", site, value * (1 + 1e-15))
    assert document(near) == document(usual())


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"mhc-diag/baseline"', '"mhc-diag/report"', "is not a baseline"),
        ('"version": 1', '"version": 2', "version 2, this program reads 1"),
        ('"streams": 4', '"streams": "4"', "streams is '4'"),
        ('"streams": 4', '"streams": true', "streams is True"),
        ('"streams": 4', '"stream": 4', "stream is no name"),
        ('"tokens": 3,', "", "tokens is missing"),
        ('"metric": "uniformity"', '"metric": "unity"', "unity site min is nothing"),
        ('"log10": ', '"log10": NaN, "x": ', "x is no name"),
        ('"rule": "MHC100"', '"rule": 100', "rule is 100"),
        ('"layers.5"', "5", "site is 5"),
    ],
)
def test_what_is_damaged_is_named(old, new, says):
    text = document()
    assert old in text
    with pytest.raises(MhcDiagError) as refused:
        from_document(json.loads(text.replace(old, new, 1)), "base.json")
    assert says in refused.value.message and "base.json" in refused.value.message and refused.value.hint


@pytest.mark.parametrize("number", ["NaN", "Infinity", '"nan"', "true", "[]", '"1"'])
def test_what_is_no_number_is_refused(number):
    found = json.loads(document())
    found["reports"][0]["numbers"][0]["value"] = json.loads(number)
    with pytest.raises(MhcDiagError, match="no number"):
        from_document(found, "x")


@pytest.mark.parametrize(
    "foreign", [None, [], {}, "text", 3, {"schema": "mhc-diag/baseline"}, {"reports": []}]
)
def test_what_is_foreign_is_refused(foreign):
    with pytest.raises(MhcDiagError):
        from_document(foreign, "x")


def test_two_entries_of_one_name_are_refused():
    found = json.loads(document())
    found["reports"] *= 2
    with pytest.raises(MhcDiagError, match="one name"):
        from_document(found, "x")
