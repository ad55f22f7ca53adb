"""The ratchet: a baseline takes over what is better, and what is worse only where that is accepted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mhc_diag.baseline.acceptance import growth, split
from mhc_diag.baseline.against import alone, held
from mhc_diag.baseline.made import RULE, accepted, can_be_accepted
from mhc_diag.baseline.made import entry as made
from mhc_diag.baseline.records import Accepted, Baseline, Entry
from mhc_diag.baseline.words import mismatches, worse_in_words
from mhc_diag.compare.measures import series
from mhc_diag.compare.worse import SAME
from mhc_diag.records import Report
from mhc_diag.verdict import Finding, Verdict


@dataclass(frozen=True, slots=True)
class Update:
    """What becomes of a baseline."""

    baseline: Baseline
    """With everything taken over, also what is refused otherwise."""
    worse: tuple[str, ...] = ()
    """What got worse or is new, which takes being accepted."""
    untold: tuple[str, ...] = ()
    """What cannot be compared, which takes being accepted too."""
    broken: tuple[str, ...] = ()
    """What no baseline can hold."""


def updated(old: Baseline, reports: Sequence[Report], verdict: Verdict, *, tolerance: float) -> Update:
    """A baseline with what reports are now.

    Numbers that are better are taken over; such as are worse within the tolerance are not, so that many small
    steps do not add up. Findings that no longer occur are left out. Entries of other reports stay.

    Args:
        old: what was accepted; of nothing where there was no baseline.
        reports: those that were judged; their names differ.
        verdict: the gate's, without the baseline.
        tolerance: relative, from which on a number counts as worse.
    """
    entries = {e.name: e for e in old.entries}
    worse: list[str] = []
    untold: list[str] = []
    broken: list[str] = []
    for report in reports:
        mine = [f for f in verdict.findings if f.target == report.name]
        broken += _broken(report, mine)
        fresh, known = made(report, mine), old.entry(report.name, alone=alone(reports, verdict))
        if known is None:
            entries[report.name] = fresh
            continue
        del entries[known.name]
        unlike = mismatches(known, report)
        untold += [f"{report.name}: {unlike}"] if unlike else []
        entries[report.name] = fresh if unlike else _turned(known, fresh, report, mine, tolerance, worse)
    ordered = tuple(entries[name] for name in sorted(entries))
    return Update(Baseline(ordered), tuple(worse), tuple(untold), tuple(broken))


def _broken(report: Report, found: Iterable[Finding]) -> list[str]:
    """What is no number, and what stopped half-way."""
    texts = [
        f"{report.name}: {s.measure.title} is no number"
        for s in series(report)
        if not math.isfinite(s.distance[s.worst])
    ]
    texts += [f"{f.rule} {f.target}: {f.text}" for f in found if f.level != "off" and not can_be_accepted(f)]
    if report.provenance.failure:
        texts.append(f"{report.name} stopped half-way by {report.provenance.failure}")
    return texts


def _turned(
    known: Entry, fresh: Entry, report: Report, found: Sequence[Finding], tolerance: float, worse: list[str]
) -> Entry:
    """An entry with all that is better or worse taken over; what is worse is told."""
    numbers = {n.measure: n for n in fresh.numbers}
    for each in held(known, report):
        place = each.series.place(each.series.worst, report)
        if each.is_worse(tolerance):
            text = worse_in_words(place, each.number, each.decades)
            worse.append(f"{RULE} {report.name}: {text}")
        elif each.decades >= -SAME:
            numbers[each.number.measure] = each.number
    taken, new, _ = split(found, known.findings, tolerance)
    able = [f for f in new if can_be_accepted(f)]
    worse += [f"{f.rule} {f.target}: {f.text}" for f in able]
    kept = [*(_better(f, a) for f, a in taken), *(accepted(f) for f in able)]
    return replace(
        fresh,
        numbers=tuple(numbers.values()),
        findings=tuple(sorted(kept, key=lambda a: (*a.key, a.site))),
    )


def _better(finding: Finding, before: Accepted) -> Accepted:
    """An accepted finding, with the number of now where that is better."""
    grown = growth(before, finding)
    return accepted(finding) if grown is not None and grown < -SAME else before
