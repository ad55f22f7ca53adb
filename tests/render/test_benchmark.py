"""Numbers over time, by the fields that github-action-benchmark documents; it publishes no schema."""

import json
import math
import sys

import pytest

from mhc_diag.render.benchmark import render

FIELDS = {"name": str, "unit": str, "value": (int, float), "range": str, "extra": str}
SETS = ("clean", "failing", "overflowing", "side-by-side")


def entries(reports, verdict=None):
    return {entry["name"]: entry for entry in json.loads(render(reports, verdict))}


@pytest.mark.parametrize("name", SETS)
def test_has_the_documented_fields_and_finite_numbers(handmade, name):
    listed = json.loads(render(handmade["REPORTS"][name], handmade["VERDICTS"].get(name)))
    assert listed and len({entry["name"] for entry in listed}) == len(listed)
    for entry in listed:
        assert {"name", "unit", "value"} <= entry.keys() <= FIELDS.keys()
        assert all(isinstance(value, FIELDS[key]) for key, value in entry.items())
        assert math.isfinite(entry["value"]) and entry["value"] >= 0


def test_values_are_the_worst_of_the_curves(handmade):
    (report,) = handmade["REPORTS"]["failing"]
    told = entries([report])
    for direction, scope in (("forward", "prefix"), ("backward", "suffix")):
        for statistic, words in (("max", ""), ("p50", ", median")):
            curve = report.curve(f"amax_{direction}", scope, statistic)
            entry = told[f"failing: {direction} composite gain{words}"]
            assert entry["value"] == curve.value.max()
            assert entry["extra"].startswith(f"at site {curve.value.argmax()} ")


def test_growth_is_a_factor_with_its_error(handmade):
    entry = entries(handmade["REPORTS"]["failing"])["failing: forward growth of a site"]
    assert entry["value"] == pytest.approx(math.e**0.18321)
    assert float(entry["range"].removeprefix("± ")) == pytest.approx(0.0123 * math.e**0.18321, rel=0.05)


def test_what_no_number_can_hold_is_above_any_threshold_and_says_what_it_was(handmade):
    told = entries(handmade["REPORTS"]["overflowing"])
    entry = told["overflowing: backward composite gain"]
    assert entry["value"] == sys.float_info.max and entry["extra"].startswith("3.981e+1800 at site 0")
    assert told["overflowing: forward composite gain, median"]["extra"].startswith("NaN at site 28")


def test_findings_are_counted(handmade):
    told = entries(handmade["REPORTS"]["failing"], handmade["VERDICTS"]["failing"])
    assert [told[f"failing: {word}"]["value"] for word in ("errors", "warnings", "doubts")] == [2, 1, 2]
    assert told["broken|<b>.pt: doubts"]["value"] == 1 and told["dense.pt: doubts"]["value"] == 0
    told = entries([], handmade["VERDICTS"]["unreadable"])
    assert sum(entry["value"] for entry in told.values()) == 1
