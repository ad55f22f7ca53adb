"""Which findings a baseline accepts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from mhc_diag.baseline.made import accepted, can_be_accepted
from mhc_diag.baseline.records import Accepted
from mhc_diag.compare.worse import SIDES, allowance
from mhc_diag.verdict import Finding

Split = tuple[list[tuple[Finding, Accepted]], list[Finding], list[Accepted]]


def split(found: Iterable[Finding], held: Sequence[Accepted], tolerance: float | None) -> Split:
    """Findings that are accepted, each with its entry; findings that are not; entries that no longer occur.

    A finding is accepted where an entry has its rule and what it is about, and its number is not worse by
    more than the tolerance. Where nobody can say which way is worse, and where there is no number, it has to
    be about the same site. Each entry accepts one finding, that at its own site if there is one.

    Args:
        found: of one report.
        held: of the entry of that report.
        tolerance: relative; none where numbers cannot be compared, and rule and measure have to do.
    """
    rest, left = list(found), list(held)
    pairs: list[tuple[Finding, Accepted]] = []
    for anywhere in (False, True):
        for finding in tuple(rest):
            entry = next((e for e in left if _takes(e, finding, tolerance, anywhere=anywhere)), None)
            if entry is not None:
                pairs.append((finding, entry))
                rest.remove(finding)
                left.remove(entry)
    return pairs, rest, left


def marked(finding: Finding) -> Finding:
    """A finding that does not fail."""
    return replace(finding, level="warn", accepted=True)


def growth(entry: Accepted, finding: Finding) -> float | None:
    """Decades by which the number of a finding is worse than accepted; none where nobody can say."""
    limit, old, new = finding.limit, entry.log10, accepted(finding).log10
    if old is None or new is None:
        return None
    up, down = (
        SIDES.get(finding.place.metric) in ("above", "natural"),
        SIDES.get(finding.place.metric) == "below",
    )
    if limit is not None:
        up, down = limit.at_least is None, limit.at_most is None
    if up == down:
        return None
    return 0.0 if old == new else (new - old if up else old - new)


def _takes(entry: Accepted, finding: Finding, tolerance: float | None, *, anywhere: bool) -> bool:
    if not can_be_accepted(finding) or entry.key != accepted(finding).key:
        return False
    same_site = entry.site == finding.place.label
    if not same_site and not anywhere:
        return False
    if tolerance is None:
        return True
    grown = growth(entry, finding)
    if grown is None or math.isnan(grown):
        return same_site
    return grown <= allowance(tolerance)
