"""SARIF: findings in the Static Analysis Results Interchange Format 2.1.0, for code scanning and editors.

One run: all findings that mhc-diag knows are its rules, each with its page; what was found are its results,
with the file that was read and the site as a logical location; what could not be told are notifications of an
execution that did not succeed. The fingerprint of a result is made of what is limited and not of the number,
so that a finding stays the same one from run to run. Of a live model the file is the one with its factory.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import mhc_diag
from mhc_diag import findings
from mhc_diag.findings import Rule, first_sentence
from mhc_diag.pages import address, file_of
from mhc_diag.records import Report
from mhc_diag.rulebook import page
from mhc_diag.sources.printable import printable
from mhc_diag.verdict import Finding, Place, Verdict

SUFFIX = ".sarif"

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {"error": "error", "warn": "warning", "off": "none"}
LONGEST = 4000
ACCEPTED = {"kind": "external", "status": "accepted", "justification": "a baseline holds it already"}


def render(reports: Sequence[Report], verdict: Verdict | None = None) -> str:
    """One run of SARIF.

    Example:
        >>> json.loads(render([]))["version"]
        '2.1.0'
    """
    files = {report.name: _uri(report) for report in reversed(reports)}
    rules = list(findings.rules().values())
    run = {
        "tool": {
            "driver": {
                "name": "mhc-diag",
                "version": mhc_diag.__version__,
                "rules": [_rule(rule) for rule in rules],
            }
        },
        "invocations": [_invocation(reports, verdict, files)],
        "artifacts": [{"location": {"uri": uri}} for uri in dict.fromkeys(files.values())],
        "results": [] if verdict is None else list(_results(verdict, [r.ID for r in rules], files)),
        "columnKind": "utf16CodeUnits",
        "properties": {"reports": [_about(report, verdict) for report in reports]},
    }
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, indent=2, allow_nan=False) + "\n"


def _rule(rule: Rule) -> dict[str, Any]:
    worst = min(rule.LEVELS.values(), key=list(LEVELS).index, default="error")
    told = {
        "id": rule.ID,
        "shortDescription": {"text": rule.TITLE},
        "fullDescription": {"text": first_sentence(rule.WHAT)},
        "help": {"text": first_sentence(rule.FIX), "markdown": page(rule)},
        "defaultConfiguration": {"level": LEVELS[worst]},
    }
    where = address(rule)
    return {**told, "helpUri": where} if where else told


def _results(verdict: Verdict, rules: Sequence[str], files: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    seen: dict[str, int] = {}
    for finding in verdict.findings:
        same = _fingerprint(finding)
        count = seen[same] = seen.get(same, 0) + 1
        yield {
            "ruleId": finding.rule,
            **({"ruleIndex": rules.index(finding.rule)} if finding.rule in rules else {}),
            "level": LEVELS[finding.level],
            "message": {"text": _message(f"{finding.target}: {finding.text}. {finding.fix}")},
            "locations": [_location(finding, files)],
            "partialFingerprints": {"primaryLocationLineHash": f"{same}:{count}"},
            **({"suppressions": [ACCEPTED]} if finding.accepted else {}),
        }


def _location(finding: Finding, files: Mapping[str, str]) -> dict[str, Any]:
    uri = files.get(finding.target) or quote(finding.target.encode("utf-8", "replace"))
    location = _artifact(uri)
    place = finding.place
    if place.site is not None:
        label = printable(place.label or f"site {place.site}")
        logical = {"name": label, "fullyQualifiedName": label, "kind": "member"}
        location["logicalLocations"] = [logical]
    numbers = _numbers(place)
    return {**location, "properties": numbers} if numbers else location


def _numbers(place: Place) -> dict[str, Any]:
    """Which number it is about; JSON has no NaN and no infinity, which are words here."""
    told = {
        name: getattr(place, name) for name in ("metric", "scope", "statistic", "value", "log10", "token")
    }
    kept = {k: v for k, v in told.items() if v not in ("", None)}
    return {k: str(v) if isinstance(v, float) and not math.isfinite(v) else v for k, v in kept.items()}


def _fingerprint(finding: Finding) -> str:
    """The same for a finding of another run, whose number and worst site may differ."""
    place, limit = finding.place, finding.limit
    what = limit.key if limit is not None else (place.metric, place.scope, place.statistic)
    told = "\n".join((finding.rule, finding.target, *what))
    return hashlib.sha256(told.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def _invocation(
    reports: Sequence[Report], verdict: Verdict | None, files: Mapping[str, str]
) -> dict[str, Any]:
    """How the execution went: successful only where everything could be told."""
    if verdict is None:
        stopped = [
            (report.name, report.provenance.failure) for report in reports if report.provenance.failure
        ]
        told = [
            _notification("error", f"{name}: stopped half-way by {why}", files.get(name))
            for name, why in stopped
        ]
        return {"executionSuccessful": not told, "toolExecutionNotifications": told}
    told = [
        _notification(
            "note" if doubt.outcome == "passed" else "error",
            f"{doubt.line}. {doubt.hint}" if doubt.hint else doubt.line,
            files.get(doubt.target),
        )
        for doubt in verdict.doubts
    ]
    return {
        "executionSuccessful": all(doubt.outcome == "passed" for doubt in verdict.doubts),
        "exitCode": verdict.exit_code,
        "exitCodeDescription": verdict.outcome,
        "toolExecutionNotifications": [*told, *(_notification("note", note) for note in verdict.notes)],
    }


def _notification(level: str, text: str, uri: str | None = None) -> dict[str, Any]:
    told = {"level": level, "message": {"text": _message(text)}}
    return {**told, "locations": [_artifact(uri)]} if uri else told


def _about(report: Report, verdict: Verdict | None) -> dict[str, Any]:
    """What a reader of the results must know of a report."""
    profile = {} if verdict is None else {"profile": verdict.profiles.get(report.name, "")}
    return {
        "name": printable(report.name),
        "summary": printable(report.summary, LONGEST),
        "method": report.provenance.method,
        "streams": report.streams,
        "sites": len(report.sites),
        "tokens": report.tokens,
        **profile,
    }


def _artifact(uri: str) -> dict[str, Any]:
    """A whole file; code scanning asks for a line, which a file of numbers does not have."""
    return {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": 1}}}


def _uri(report: Report) -> str:
    """The file as a URI, relative as the user gave it; what is no file is named by what it is called."""
    file, target = file_of(report.provenance), report.provenance.target
    if "://" in target and not file:
        return quote(target.encode("utf-8", "replace"), safe="/:?&=@+~%")
    start = "file://" if file.startswith("/") else ""
    return start + quote((file or report.name).encode("utf-8", "replace"))


def _message(text: str) -> str:
    """Text in which a reader sees no placeholder and no link."""
    return printable(text, LONGEST).replace("{", "{{").replace("}", "}}").replace("](", "] (")
