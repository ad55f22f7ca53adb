"""SARIF, held against the schema that OASIS publishes."""

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from mhc_diag import findings
from mhc_diag.records import Provenance
from mhc_diag.render.sarif import render
from mhc_diag.verdict import Finding, Verdict

SCHEMA = json.loads((Path(__file__).parents[1] / "schemas" / "sarif-2.1.0.json").read_text())
VALIDATOR = jsonschema.validators.validator_for(SCHEMA)(SCHEMA, format_checker=jsonschema.FormatChecker())
SETS = ("clean", "failing", "overflowing", "side-by-side")


def log(reports, verdict=None):
    """The run of a valid log."""
    document = json.loads(render(reports, verdict))
    VALIDATOR.validate(document)
    (run,) = document["runs"]
    return run


def test_follows_the_published_schema(handmade):
    reports, verdicts = handmade["REPORTS"], handmade["VERDICTS"]
    for name in SETS:
        log(reports[name])
        log(reports[name], verdicts.get(name))
    hostile, judged = handmade["hostile"]()
    log([hostile], judged)
    log([], verdicts["unreadable"])
    document = json.loads(render(reports["failing"], verdicts["failing"]))
    document["runs"][0]["results"][0]["level"] = "fatal"
    with pytest.raises(jsonschema.ValidationError, match="fatal"):
        VALIDATOR.validate(document)


def test_every_finding_is_a_rule_with_its_page(handmade):
    run = log(handmade["REPORTS"]["clean"])
    rules = {rule["id"]: rule for rule in run["tool"]["driver"]["rules"]}
    assert list(rules) == list(findings.rules())
    for name, rule in findings.rules().items():
        told = rules[name]
        assert told["shortDescription"]["text"] == rule.TITLE
        for text in (rule.WHAT, rule.WHY, rule.FIX, *rule.REFERENCES):
            assert text.strip() in told["help"]["markdown"]
    assert rules["MHC101"]["helpUri"].startswith("https://")
    assert rules["MHC101"]["defaultConfiguration"] == {"level": "error"}


def test_results_are_the_findings(handmade):
    verdict = handmade["VERDICTS"]["failing"]
    run = log(handmade["REPORTS"]["failing"], verdict)
    assert [r["ruleId"] for r in run["results"]] == [f.rule for f in verdict.findings]
    rules = run["tool"]["driver"]["rules"]
    for result, finding in zip(run["results"], verdict.findings, strict=True):
        assert result["level"] == {"error": "error", "warn": "warning"}[finding.level]
        assert finding.fix in result["message"]["text"]
        if "ruleIndex" in result:
            assert rules[result["ruleIndex"]]["id"] == finding.rule
        assert ("suppressions" in result) == finding.accepted
    (site,) = run["results"][2]["locations"][0]["logicalLocations"]
    assert site["fullyQualifiedName"] == "model.layers.1.mlp"


def test_doubts_are_notifications_of_a_failed_execution(handmade):
    (call,) = log([], handmade["VERDICTS"]["unreadable"])["invocations"]
    assert not call["executionSuccessful"] and call["exitCode"] == 2
    assert "there is no such file" in call["toolExecutionNotifications"][0]["message"]["text"]
    (call,) = log(handmade["REPORTS"]["clean"], handmade["VERDICTS"]["clean"])["invocations"]
    assert call["executionSuccessful"] and call["toolExecutionNotifications"] == []
    (report,) = handmade["REPORTS"]["clean"]
    stopped = replace(report, provenance=replace(report.provenance, failure="RuntimeError: no"))
    assert not log([stopped])["invocations"][0]["executionSuccessful"]


def prints(handmade, *found):
    run = log(handmade["REPORTS"]["failing"], Verdict("failed", findings=found))
    return [result["partialFingerprints"] for result in run["results"]]


def test_a_fingerprint_is_of_what_is_limited_and_not_of_the_number(handmade):
    first = handmade["VERDICTS"]["failing"].findings[0]
    worse = replace(first, text="gain 9999", place=replace(first.place, value=9999.0, site=3, label="x"))
    other = replace(first, limit=replace(first.limit, scope="suffix"))
    elsewhere = replace(first, target="another")
    alone = [prints(handmade, finding)[0] for finding in (first, worse, other, elsewhere)]
    assert alone[0] == alone[1] and len({json.dumps(p) for p in alone}) == 3
    twice = prints(handmade, first, worse)
    assert twice[0] == alone[0] and twice[1] != twice[0]


@pytest.mark.parametrize(
    ("target", "method", "uri"),
    [
        ("out/a b.pt", "static", "out/a%20b.pt"),
        ("./a.pt", "static", "a.pt"),
        ("/data/a.pt", "static", Path("/data/a.pt").as_uri()),
        ("hf://org/name", "static", "hf://org/name"),
        ("https://host/a b?x=1", "static", "https://host/a%20b?x=1"),
        ("pack.models:build", "observed", "pack/models.py"),
        ("simulation", "simulated", "clean"),
        ("../up.pt", "static", "clean"),
    ],
)
def test_the_file_is_a_uri(handmade, target, method, uri):
    (report,) = handmade["REPORTS"]["clean"]
    report = replace(report, provenance=Provenance(target, method, "how", "direct", "none"))
    finding = Finding("MHC502", "title", "error", "clean", "text", "Fix.")
    run = log([report], Verdict("failed", findings=(finding,)))
    (location,) = run["results"][0]["locations"]
    assert location["physicalLocation"]["artifactLocation"]["uri"] == uri
    assert run["artifacts"] == [{"location": {"uri": uri}}]


def test_a_message_has_no_link_and_no_placeholder(handmade):
    finding = Finding("MHC502", "title", "error", "{0}", "[text](http://evil.example)", "Fix.")
    (result,) = log([], Verdict("failed", findings=(finding,)))["results"]
    assert result["message"]["text"] == "{{0}}: [text] (http://evil.example). Fix."
