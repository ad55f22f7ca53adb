"""How reports fared: the verdict, what was found and what to do, what could not be told, and the limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mhc_diag import findings
from mhc_diag.magnitude import magnitude
from mhc_diag.records import DIRECTIONS, Report
from mhc_diag.render.html.elements import Markup, lines, section, table, tag
from mhc_diag.render.html.prose import inline, paragraphs
from mhc_diag.verdict import Finding, Verdict

SIGNS = {"passed": "✓", "failed": "✗", "could not tell": "?", "nothing to check": "?", "measured": "i"}
LEVELS = {"error": "✗ error", "warn": "! warning", "off": "off"}


def outcome(verdict: Verdict | None) -> str:
    """How it ended, in a word or three; `measured` where nothing could fail."""
    return verdict.outcome if verdict is not None and verdict.enforced else "measured"


def banner(reports: Sequence[Report], verdict: Verdict | None) -> Markup:
    """The verdict, a sentence for each report, and the worst gains."""
    word = outcome(verdict)
    counted = "" if verdict is None else tag("p", _counts(verdict))
    sign = tag("span", SIGNS[word], aria_hidden="true", class_="sign")
    said = tag("div", tag("p", sign, " ", word, class_="outcome"), counted, class_=_look(word))
    told = [tag("p", r.summary) for r in reports if r.summary and len(reports) <= 4]
    return section("verdict", "Verdict", said, lines(told), _gains(reports, verdict))


def judged(verdict: Verdict) -> Markup:
    """Everything else that the gate said."""
    return lines([_found(verdict), _doubts(verdict), _limits(verdict)])


def _look(word: str) -> str:
    return "banner " + word.replace(" ", "-")


def _counts(verdict: Verdict) -> str:
    counts = (
        (len(verdict.errors), "error", "errors"),
        (len(verdict.warnings), "warning", "warnings"),
        (sum(d.outcome != "passed" for d in verdict.doubts), "doubt", "doubts"),
        (sum(c.outcome == "passed" for c in verdict.checks), "limit that holds", "limits that hold"),
    )
    said = ", ".join(f"{count} {one if count == 1 else more}" for count, one, more in counts)
    return f"{said}." + ("" if verdict.enforced else " Nothing was enforced: what was found is advice.")


def _gains(reports: Sequence[Report], verdict: Verdict | None) -> Markup:
    profiles, rows = {} if verdict is None else verdict.profiles, []
    for report in reports:
        peaks: list[object] = []
        for direction in DIRECTIONS:
            peak = report.worst(direction)
            label = report.sites[peak.site].label
            peaks += [magnitude(peak.value, peak.log10), f"{peak.site} {label}".strip()]
        size = [str(report.streams), str(len(report.sites)), str(report.tokens)]
        gains = [peaks[0], peaks[2], *size, peaks[1], peaks[3]]
        rows.append([report.name, *gains, profiles.get(report.name, "")])
    head = [
        "report", "forward", "backward", "streams", "sites", "tokens", "forward at site", "backward at site",
        "profile",
    ]  # fmt: skip
    return table("Worst composite gains", head, rows, numbers=5)


def _found(verdict: Verdict) -> Markup:
    return section("findings", "Findings", lines(_finding(found) for found in verdict.findings))


def _finding(found: Finding) -> Markup:
    rule = findings.rules().get(found.rule)
    level = "accepted" if found.accepted else LEVELS[found.level]
    head = tag("h3", tag("span", level, class_=f"level {found.level}"), f" {found.rule} {found.title}")
    facts = tag(
        "dl",
        tag("dt", "Where"), tag("dd", found.target),
        tag("dt", "What was seen"), tag("dd", found.text),
        tag("dt", "What to do"), tag("dd", inline(found.fix)),
    )  # fmt: skip
    more = Markup("")
    if rule is not None:
        parts = (("What is seen", rule.WHAT), ("Why it matters", rule.WHY), ("What to do", rule.FIX))
        told = [part for title, body in parts for part in (tag("h4", title), paragraphs(body))]
        sources = tag("ul", *(tag("li", inline(reference)) for reference in rule.REFERENCES))
        told += [tag("h4", "References"), sources] if rule.REFERENCES else []
        more = tag("details", tag("summary", f"About {found.rule}"), lines(told))
    return tag("article", lines(["", head, facts, more, ""]), class_="finding")


def _doubts(verdict: Verdict) -> Markup:
    rows = [
        [d.target, "allowed" if d.outcome == "passed" else d.outcome, d.text, d.hint] for d in verdict.doubts
    ]
    doubts = table("What could not be told", ["target", "outcome", "why", "what to do"], rows)
    notes = tag("ul", *(tag("li", note) for note in verdict.notes)) if verdict.notes else Markup("")
    return section("doubts", "Doubts and notes", doubts, notes)


def _limits(verdict: Verdict) -> Markup:
    return section("limits", "Limits", table("Limits, those that are broken first", HEAD, _checks(verdict)))


HEAD = ["target", "limit", "allowed", "measured", "outcome", "level", "set by"]


def _checks(verdict: Verdict) -> Iterator[list[object]]:
    for check in sorted(verdict.checks, key=lambda check: check.outcome == "passed"):
        limit = check.limit
        what = " ".join(part for part in (limit.metric, limit.scope, limit.statistic) if part)
        where = "" if limit.sites == "*" else f" at {limit.sites}"
        ended = "✓ holds" if check.outcome == "passed" else f"✗ {check.outcome}"
        origin = limit.origin or "the user"
        yield [check.target, what + where, limit.allowed, check.text, ended, limit.level, origin]
