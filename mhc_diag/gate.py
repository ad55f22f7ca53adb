"""Reports against a policy: passed, failed, or could not tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from mhc_diag import findings
from mhc_diag.findings import Evidence, Rule, explains, first_sentence
from mhc_diag.holding import held
from mhc_diag.policy import NONE, Policy
from mhc_diag.records import Report
from mhc_diag.verdict import GRAVEST, LEVELS, Check, Doubt, Finding, Level, Limit, Outcome, Verdict

__all__ = ["Policy", "Verdict", "judge"]

OWN = "MHC100"
"""The finding that a limit of the user's is broken."""
NOT_FINITE = "MHC502"
"""Looked for wherever anything can fail, whatever the profile."""


def judge(reports: Sequence[Report], policy: Policy, unread: Sequence[Doubt] = ()) -> Verdict:
    """Hold reports against a policy.

    A limit holds only if the comparison is true, so that NaN and infinite gains break it. A report that had
    to leave sites out cannot pass: what was left out could be what breaks the limit. Nor can one that lacks
    the number that a limit of the user's is about. A proven failure wins.

    Args:
        reports: what was measured; their names differ.
        policy: what is expected of them.
        unread: targets that there is no report of, and why.

    Example:
        >>> judge([], Policy()).outcome
        'passed'
    """
    checks: list[Check] = []
    found: list[Finding] = []
    doubts: list[Doubt] = list(unread)
    notes: list[str] = []
    chosen: dict[str, str] = {}
    for report in reports:
        profile = chosen[report.name] = policy.profile_of(report)
        mine = [held(limit, report) for limit in policy.limits_of(profile, report)]
        checks += [c for c in mine if c.outcome != "could not tell" or _must_hold(c.limit)]
        found += _found(report, policy, profile, mine)
        doubts += _doubts(report, mine) if policy.judges else ()
        notes += (f"{report.name}: could not tell {text}" for text in _untold(mine, "warn"))
    found.sort(key=lambda f: LEVELS.index(f.level))
    failed = any(f.level == "error" for f in found)
    reached: list[Outcome] = ["failed" if failed else "passed", *(d.outcome for d in doubts)]
    sources = (f"profile {name}" for name in dict.fromkeys(chosen.values()) if name != NONE)
    return Verdict(
        outcome=min(reached, key=GRAVEST.index),
        checks=tuple(checks),
        findings=tuple(found),
        doubts=tuple(doubts),
        profiles=chosen,
        sources=(*sources, *policy.sources),
        enforced=policy.judges,
        notes=tuple(notes),
    )


def _found(report: Report, policy: Policy, profile: str, checks: Sequence[Check]) -> Iterator[Finding]:
    """What is wrong with one report, by id, less what other findings explain."""
    import numpy as np

    known = findings.rules()
    mine = [_broken(known[c.limit.rule or OWN], c) for c in checks if c.outcome == "failed"]
    for rule in known.values():
        level = policy.level(rule, profile)
        if rule.ID == NOT_FINITE and policy.judges and rule.ID not in policy.levels:
            level = "error"
        if level != "off" and hasattr(rule, "check"):
            with np.errstate(all="ignore"):  # numbers near the end of float64 are judged like all others
                mine += [_seen(rule, report, evidence, level) for evidence in rule.check(report)]
    worst = {name: _worst(f.level for f in mine if f.rule == name) for name in {f.rule for f in mine}}
    explained = {name: worst.keys() & set(explains(known[name])) for name in worst}
    hidden = set().union(*explained.values())
    for finding in sorted(mine, key=lambda f: f.rule):
        set_by_user = finding.limit is not None and not finding.limit.by_profile
        if set_by_user or finding.rule not in hidden:
            level = _worst([finding.level, *(worst[name] for name in explained[finding.rule])])
            yield replace(finding, level=level)


def _worst(levels: Iterable[Level]) -> Level:
    return min(levels, key=LEVELS.index)


def _broken(rule: Rule, check: Check) -> Finding:
    return Finding(
        rule=rule.ID,
        title=rule.TITLE,
        level=check.limit.level,
        target=check.target,
        text=f"{check.text}, allowed is {check.limit.allowed}",
        fix=first_sentence(rule.FIX),
        place=check.place,
        limit=check.limit,
    )


def _seen(rule: Rule, report: Report, evidence: Evidence, level: Level) -> Finding:
    return Finding(
        rule=rule.ID,
        title=rule.TITLE,
        level=max((level, evidence.level or level), key=LEVELS.index),
        target=report.name,
        text=evidence.text,
        fix=first_sentence(rule.FIX),
        place=evidence.place,
    )


def _doubts(report: Report, checks: Sequence[Check]) -> Iterator[Doubt]:
    """Why a report cannot pass."""
    where = report.provenance
    if where.failure:
        yield Doubt(report.name, f"stopped half-way by {where.failure}")
    if where.skipped and where.method == "observed":
        first = where.skipped[0]
        yield Doubt(report.name, f"{len(where.skipped)} not measured, first {first.what}: {first.reason}")
    yield from (Doubt(report.name, text) for text in _untold(checks, "error"))


def _must_hold(limit: Limit) -> bool:
    """Whether a report that lacks the number cannot pass."""
    return limit.level == "error" and not limit.by_profile


def _untold(checks: Sequence[Check], level: Level) -> Iterator[str]:
    """Limits of the user's that the report cannot be held to; what could only warn makes no doubt."""
    for check in checks:
        limit = check.limit
        if check.outcome == "could not tell" and not limit.by_profile and limit.level == level:
            yield f"{limit.metric} {limit.allowed}: {check.text}"
