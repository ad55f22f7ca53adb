"""JUnit: test results in XML, as GitLab, Jenkins, Azure Pipelines and most other CI systems show them.

One suite for each target, one case for each limit that was held against it (by metric, scope, statistic
and sites), and one for each finding that is no limit. What makes the gate fail is a failure, what it could
not tell is an error, a limit that is off is skipped. A warning fails nothing: its case passes, and its
output says what was seen. Where there is nothing to list, one case says so. The properties of a suite say
where its numbers came from. The form is that of Surefire and of Jenkins' schema.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import mhc_diag
from mhc_diag.records import Report
from mhc_diag.sources.printable import printable
from mhc_diag.verdict import Check, Limit, Verdict

SUFFIX = ".junit.xml"

LONGEST = 4000
Result = Literal["passed", "failure", "error", "skipped"]


@dataclass(frozen=True, slots=True)
class Case:
    """One test case; what it says stands in its failure or error, or in its output where it passed."""

    name: str
    result: Result = "passed"
    message: str = ""
    text: str = ""
    kind: str = ""


def render(reports: Sequence[Report], verdict: Verdict | None = None) -> str:
    """Test results as XML 1.0.

    Example:
        >>> print(render([], Verdict("passed")), end="")
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="mhc-diag" tests="0" failures="0" errors="0" />
    """
    known = {report.name: report for report in reversed(reports)}
    names = dict.fromkeys(report.name for report in reports)
    if verdict is not None:
        for told in (verdict.checks, verdict.findings, verdict.doubts):
            names |= dict.fromkeys(x.target for x in told)
    root = ET.Element("testsuites", name="mhc-diag")
    suites = [_suite(name, known.get(name), verdict) for name in names]
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    root.extend(suites)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(target: str, report: Report | None, verdict: Verdict | None) -> ET.Element:
    cases = list(_cases(target, report, verdict))
    results = [case.result for case in cases]
    suite = ET.Element("testsuite", name=_legal(target), tests=str(len(cases)))
    suite.set("failures", str(results.count("failure")))
    suite.set("errors", str(results.count("error")))
    suite.set("skipped", str(results.count("skipped")))
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(target, report, verdict):
        if value:
            ET.SubElement(properties, "property", name=_legal(name), value=_legal(value))
    suite.extend(_element(target, case) for case in cases)
    return suite


def _element(target: str, case: Case) -> ET.Element:
    element = ET.Element("testcase", classname=_legal(target), name=_legal(case.name))
    text = "\n".join(_legal(line) for line in case.text.splitlines())
    if case.result in ("failure", "error"):
        told = ET.SubElement(element, case.result, type=case.kind, message=_legal(case.message))
        told.text = text
    elif case.result == "skipped" or text:
        ET.SubElement(element, "skipped" if case.result == "skipped" else "system-out").text = text
    return element


def _cases(target: str, report: Report | None, verdict: Verdict | None) -> Iterator[Case]:
    cases = [] if verdict is None else [*_limits(target, verdict), *_findings(target, verdict)]
    if verdict is not None:
        told = {c.text for c in verdict.checks if c.target == target and c.outcome == "could not tell"}
        doubts = [d for d in verdict.doubts if d.target == target and not d.text.endswith(tuple(told))]
        for i, doubt in enumerate(doubts, start=1):
            name = "could be told" + (f" {i}" if i > 1 else "")
            result: Result = "passed" if doubt.outcome == "passed" else "error"
            cases.append(Case(name, result, doubt.text, f"{doubt.text}\n{doubt.hint}".strip(), doubt.outcome))
    elif report is not None and report.provenance.failure:
        failure = f"stopped half-way by {report.provenance.failure}"
        cases.append(Case("measured", "error", failure, failure, "could not tell"))
    summary = "" if report is None else report.summary
    yield from cases or [Case("measured" if verdict is None else "no findings", text=summary)]


def _limits(target: str, verdict: Verdict) -> Iterator[Case]:
    """A case for each limit that was held against a target."""
    fixes = {f.limit: f for f in verdict.findings if f.target == target and f.limit is not None}
    fails = any(f.target == target for f in verdict.errors)
    for check in verdict.checks:
        if check.target != target:
            continue
        name, limit, said = _name(check.limit), check.limit, _said(check)
        finding = fixes.get(limit)
        text = said if finding is None else f"{finding.rule} {finding.title}\n{finding.text}\n{finding.fix}"
        level = limit.level if finding is None else finding.level
        if limit.level == "off":
            yield Case(name, "skipped", text="off")
        elif check.outcome == "could not tell":
            yield Case(name, "error", said, said, "could not tell")
        elif check.outcome == "passed":
            yield Case(name, text=said)
        elif level == "error" and fails:  # a baseline can accept the finding that explains this one
            yield Case(name, "failure", said, text, finding.rule if finding else limit.rule)
        else:
            yield Case(name, text=f"{'accepted' if finding and finding.accepted else 'warning'}: {text}")


def _findings(target: str, verdict: Verdict) -> Iterator[Case]:
    """A case for each finding that is no limit, numbered where there are several of a kind."""
    mine = [f for f in verdict.findings if f.target == target and f.limit is None]
    seen: dict[str, int] = {}
    for finding in mine:
        count = seen[finding.rule] = seen.get(finding.rule, 0) + 1
        name = f"{finding.rule} {finding.title}" + (f" ({count})" if count > 1 else "")
        text = f"{finding.text}\n{finding.fix}"
        if finding.level == "error":
            yield Case(name, "failure", finding.text, text, finding.rule)
        else:
            yield Case(name, text=f"{'accepted' if finding.accepted else 'warning'}: {text}")


def _name(limit: Limit) -> str:
    where = "" if limit.sites == "*" else f" at {limit.sites}"
    return " ".join(part for part in (limit.metric, limit.scope, limit.statistic) if part) + where


def _said(check: Check) -> str:
    return f"{check.text}, allowed is {check.limit.allowed} ({check.limit.origin or 'set by the user'})"


def _properties(target: str, report: Report | None, verdict: Verdict | None) -> Iterator[tuple[str, str]]:
    yield "mhc-diag", mhc_diag.__version__
    if verdict is not None:
        yield "verdict", verdict.outcome if verdict.enforced else "advice"
        yield "profile", verdict.profiles.get(target, "")
        yield "limits", ", ".join(verdict.sources)
        yield from (("note", note) for note in verdict.notes)
    if report is None:
        return
    where = report.provenance
    yield "target", where.target
    yield "method", where.method
    yield "how", where.how
    yield "orientation", where.orientation
    yield "streams", str(report.streams)
    yield "sites", str(len(report.sites))
    yield "tokens", str(report.tokens)
    yield from ((f"setting {key}", str(value)) for key, value in where.settings.items())


def _legal(text: str) -> str:
    """Without control characters, lone surrogates and all else that XML 1.0 cannot hold."""
    return printable(text, LONGEST)
