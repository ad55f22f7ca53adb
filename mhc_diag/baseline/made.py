"""What there is of a report to accept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from mhc_diag.baseline.records import Accepted, Entry, Number
from mhc_diag.compare.definitions import definitions
from mhc_diag.compare.measures import HALF_LIFE, Series, series
from mhc_diag.records import Report
from mhc_diag.verdict import Finding

RULE = "MHC110"
NOT_FINITE = "MHC502"
DIGITS = 12
"""Of a number; after the point of a logarithm."""


def entry(report: Report, found: Iterable[Finding]) -> Entry:
    """All of a report that a baseline can hold: nothing that is NaN or infinite."""
    labels = tuple(site.label for site in report.sites)
    numbers = (number(s, report) for s in series(report) if math.isfinite(s.distance[s.worst]))
    return Entry(report.name, labels, definitions(report), tuple(numbers), tuple(acceptable(report, found)))


def number(found: Series, report: Report) -> Number:
    """The worst of a measure."""
    place = found.place(found.worst, report)
    assert place.value is not None and place.log10 is not None
    return Number(found.measure, _rounded(place.value), round(place.log10, DIGITS), place.label)


def acceptable(report: Report, found: Iterable[Finding]) -> Iterator[Accepted]:
    """Findings of a report that a baseline can accept, in the order of their ids and sites."""
    mine = [f for f in found if f.target == report.name and can_be_accepted(f)]
    yield from sorted((accepted(f) for f in mine), key=lambda a: (*a.key, a.site))


def can_be_accepted(finding: Finding) -> bool:
    """Whether a finding is one, and about a number that is one."""
    at = finding.place
    number = at.value is None or math.isfinite(at.value) or at.metric == HALF_LIFE
    beyond_float64 = at.log10 is not None and math.isfinite(at.log10)
    usable = (number or beyond_float64) and not (at.value is not None and math.isnan(at.value))
    return finding.level != "off" and finding.rule not in {RULE, NOT_FINITE} and usable


def accepted(finding: Finding) -> Accepted:
    """A finding as a baseline holds it."""
    at = finding.place
    return Accepted(
        finding.rule,
        at.metric,
        at.scope,
        at.statistic,
        "" if finding.limit is None else finding.limit.sites,
        at.label,
        None if at.value is None else _rounded(at.value),
        None if at.log10 is None or math.isnan(at.log10) else round(at.log10, DIGITS),
    )


def _rounded(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")
