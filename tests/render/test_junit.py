"""Test results, held against the schema that Jenkins publishes, and counted by another library."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
import xmlschema

from mhc_diag.render.junit import render
from mhc_diag.verdict import Check, Doubt, Finding, Limit, Place, Verdict

SCHEMA = xmlschema.XMLSchema(Path(__file__).parents[1] / "schemas" / "jenkins-junit-4.xsd")
SETS = ("clean", "failing", "overflowing", "side-by-side")


@pytest.fixture
def every(handmade):
    """Everything that can be rendered: (reports, verdict)."""
    reports, verdicts = handmade["REPORTS"], handmade["VERDICTS"]
    hostile, judged = handmade["hostile"]()
    given = [(reports[name], verdicts.get(name)) for name in SETS]
    return [
        *given,
        *((reports[name], None) for name in SETS),
        ([], verdicts["unreadable"]),
        ([hostile], judged),
    ]


def cases(*rendered):
    """Each case as its name and the tags below it."""
    root = ET.fromstring(render(*rendered))
    return {case.get("name"): [child.tag for child in case] for case in root.iter("testcase")}


def test_follows_the_published_schema(every):
    for reports, verdict in every:
        SCHEMA.validate(render(reports, verdict))
    assert not SCHEMA.is_valid(render(*every[0]).replace("<testcase ", "<testcase colour='red' ", 1))


def test_counts_are_those_of_its_elements(every):
    for reports, verdict in every:
        root = ET.fromstring(render(reports, verdict))
        for element in (root, *root.iter("testsuite")):
            for count, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
                assert int(element.get(count)) == len(list(element.iter(tag)))


def test_each_outcome_has_its_tag(handmade):
    assert cases(handmade["REPORTS"]["failing"], handmade["VERDICTS"]["failing"]) == {
        "amax_forward prefix max": ["failure"],
        "inf_norm site p99 at *.mlp": ["system-out"],
        "half_life stack": ["error"],
        "MHC501 mixing in low precision": ["failure"],
        "MHC201 averaged out": ["system-out"],
        "could be told": ["system-out"],  # of the last target, whose being empty is allowed
    }


def test_what_is_well_passes(handmade):
    reports = handmade["REPORTS"]["clean"]
    assert cases(reports, Verdict("passed", enforced=True)) == {"no findings": ["system-out"]}
    assert cases(reports) == {"measured": ["system-out"]}
    named = cases(reports, handmade["VERDICTS"]["clean"])
    assert named == {"amax_forward prefix max": ["system-out"], "half_life stack": ["system-out"]}


def test_what_stopped_half_way_is_an_error_even_if_nothing_is_judged(handmade):
    (report,) = handmade["REPORTS"]["clean"]
    stopped = replace(report, provenance=replace(report.provenance, failure="RuntimeError: no"))
    assert cases([stopped]) == {"measured": ["error"]}


def test_a_limit_that_is_off_is_skipped(handmade):
    limit = Limit("inf_norm", "site", at_most=1.0, level="off")
    check = Check("clean", limit, "failed", Place(), "inf_norm of a site 2")
    verdict = Verdict("passed", (check,), enforced=True)
    assert cases(handmade["REPORTS"]["clean"], verdict) == {"inf_norm site max": ["skipped"]}


def test_a_limit_whose_breach_a_baseline_accepts_is_no_failure(handmade):
    limit = Limit("inf_norm", "site", at_most=1.0)
    check = Check("clean", limit, "failed", Place(), "inf_norm of a site 2")
    finding = Finding("MHC100", "broken", "warn", "clean", "it is", "Look.", limit=limit, accepted=True)
    assert cases(handmade["REPORTS"]["clean"], Verdict("passed", (check,), (finding,), enforced=True)) == {
        "inf_norm site max": ["system-out"]
    }


def test_a_limit_that_is_broken_for_a_reason_found_elsewhere_fails_with_it(handmade):
    limit = Limit("amax_forward", "prefix", at_most=1.0, origin="profile mhc", rule="MHC101")
    check = Check("clean", limit, "failed", Place(), "forward composite gain NaN")
    for level, tag in (("error", "failure"), ("warn", "system-out")):
        cause = Finding("MHC502", "not finite", level, "clean", "1 site", "Look.")
        named = cases(handmade["REPORTS"]["clean"], Verdict("failed", (check,), (cause,), enforced=True))
        assert named["amax_forward prefix max"] == [tag] and named["MHC502 not finite"] == [tag]


def test_the_properties_say_where_the_numbers_came_from(handmade):
    root = ET.fromstring(render(handmade["REPORTS"]["failing"], handmade["VERDICTS"]["failing"]))
    told = {p.get("name"): p.get("value") for p in root.find("testsuite").iter("property")}
    assert told["target"] == "checkpoints/[bold]hc[/bold].pt" and told["setting seed"] == "0"
    assert told["profile"] == "hc" and told["limits"] == "profile hc, mhc-diag.toml, --limit"


def test_a_target_that_could_not_be_read_is_an_error_unless_being_empty_is_allowed(handmade):
    assert cases([], handmade["VERDICTS"]["unreadable"]) == {"could be told": ["error"]}
    for outcome, tag in (
        ("could not tell", "error"),
        ("nothing to check", "error"),
        ("passed", "system-out"),
    ):
        verdict = Verdict("passed", doubts=(Doubt("dense.pt", "no mixing", outcome),), enforced=True)
        assert cases([], verdict) == {"could be told": [tag]}
