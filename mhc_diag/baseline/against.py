"""A verdict with a baseline taken into account: what is accepted, what got worse, what cannot be told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mhc_diag import findings
from mhc_diag.baseline.acceptance import marked, split
from mhc_diag.baseline.made import RULE
from mhc_diag.baseline.records import Baseline, Entry, Number
from mhc_diag.baseline.words import mismatches, worse_in_words
from mhc_diag.compare.measures import Series, series
from mhc_diag.compare.worse import allowance, distance, worsening
from mhc_diag.findings import first_sentence
from mhc_diag.records import Report
from mhc_diag.verdict import GRAVEST, LEVELS, Doubt, Finding, Level, Outcome, Verdict

UPDATE = "--update-baseline"
REPLACE = "if that is meant, --update-baseline --accept-worse replaces what the baseline says of it"


@dataclass(frozen=True, slots=True)
class Held:
    """One number of a baseline beside the same of a report."""

    number: Number
    series: Series
    decades: float
    """By which it is further from ideal; NaN or infinite where there is no number now."""

    def is_worse(self, tolerance: float) -> bool:
        """Whether it is, by more than a relative tolerance; what is no number is."""
        return not self.decades <= allowance(tolerance)


def against(
    baseline: Baseline,
    reports: Sequence[Report],
    verdict: Verdict,
    *,
    tolerance: float,
    level: Level = "error",
    source: str = "the baseline",
) -> Verdict:
    """A verdict under which what the baseline accepts does not fail, and what is worse than it does.

    Numbers that are defined differently, or of other sites, cannot be compared: that is a doubt. A proven
    failure wins.

    Args:
        baseline: what was accepted.
        reports: those that were judged; their names differ.
        verdict: the gate's, of these reports.
        tolerance: by how much a number may be worse, relative: 0.01 is one per cent.
        level: of the finding that a number is worse.
        source: the baseline's name, for messages.
    """
    names = {r.name for r in reports}
    found = [f for f in verdict.findings if f.target not in names]
    doubts, notes, met = list(verdict.doubts), list(verdict.notes), set()
    for report in reports:
        mine = [f for f in verdict.findings if f.target == report.name]
        entry = baseline.entry(report.name, alone=alone(reports, verdict))
        if entry is None:
            found += mine
            doubts.append(Doubt(report.name, f"{source} holds nothing of it: {UPDATE} takes it in"))
            continue
        met.add(entry.name)
        unlike = mismatches(entry, report)
        taken, new, gone = split(mine, entry.findings, None if unlike else tolerance)
        found += [*new, *(marked(f) for f, _ in taken)]
        notes += [f"{source} accepts {a.rule} of {entry.name}, which is not found any more" for a in gone]
        if unlike:
            doubts.append(Doubt(report.name, f"{unlike}; {REPLACE}"))
        elif level != "off":
            worse = list(_worse(entry, report, tolerance, level))
            found += worse
            hold, count = len(entry.numbers) - len(worse), len(entry.numbers)
            notes.append(f"{hold} of {count} numbers of {report.name} are no worse than {source} says")
    stale = [e.name for e in baseline.entries if e.name not in met]
    notes += [f"{source} holds {name}, which was not looked at" for name in stale]
    found.sort(key=lambda f: (LEVELS.index(f.level), f.accepted))
    reached: list[Outcome] = ["passed", *(d.outcome for d in doubts)]
    reached += ["failed" for f in found if f.level == "error"]
    return replace(
        verdict,
        outcome=min(reached, key=GRAVEST.index),
        findings=tuple(found),
        doubts=tuple(doubts),
        notes=tuple(notes),
        sources=(*verdict.sources, f"{source}, tolerance {tolerance:g}"),
        enforced=True,
    )


def alone(reports: Sequence[Report], verdict: Verdict) -> bool:
    """Whether there is one report, and no target of which there is none."""
    return len(reports) == 1 and all(d.target == reports[0].name for d in verdict.doubts)


def held(entry: Entry, report: Report) -> Iterator[Held]:
    """The numbers of an entry beside those of a report of the same definitions, where it has them."""
    now = {s.measure: s for s in series(report)}
    for number in entry.numbers:
        if number.measure in now:
            found = now[number.measure]
            before = distance(
                number.measure.metric, found.ideal, np.array([number.value]), np.array([number.log10])
            )
            after = found.distance[found.worst : found.worst + 1]
            yield Held(number, found, float(worsening(before, after)[0]))


def _worse(entry: Entry, report: Report, tolerance: float, level: Level) -> Iterator[Finding]:
    rule = findings.rule(RULE)
    for each in held(entry, report):
        if each.is_worse(tolerance):
            place = each.series.place(each.series.worst, report)
            text = worse_in_words(place, each.number, each.decades)
            yield Finding(RULE, rule.TITLE, level, report.name, text, first_sentence(rule.FIX), place)
