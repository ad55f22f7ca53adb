"""Two reports compared, number by number and site by site."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mhc_diag.compare.definitions import definitions, differences
from mhc_diag.compare.measures import Measure, Series, series
from mhc_diag.compare.sites import Matched, matched
from mhc_diag.compare.worse import SAME, allowance, worsening
from mhc_diag.records import Report, Site
from mhc_diag.verdict import Outcome, Place

LISTED = 3
"""Sites that a sentence names."""


@dataclass(frozen=True, slots=True)
class Change:
    """One number in two reports."""

    measure: Measure
    before: Place
    after: Place
    decades: float
    """By which it is further from ideal now: above 0 is worse; infinite where it is no number any more, NaN
    where it was none before either."""

    @property
    def log10_ratio(self) -> float:
        """log10 of the number now over the number before, whichever is better; 0 where both are the same."""
        old, new = self.before.log10, self.after.log10
        assert old is not None and new is not None
        return 0.0 if old == new else new - old

    def is_worse(self, tolerance: float) -> bool:
        """Whether it got worse by more than a relative tolerance."""
        return self.decades > allowance(tolerance)

    @property
    def untold(self) -> bool:
        """Whether there is no number in either."""
        return math.isnan(self.decades)

    @property
    def same(self) -> bool:
        """Whether nothing changed but for rounding."""
        return abs(self.decades) <= SAME and abs(self.log10_ratio) <= SAME


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Everything that two reports have in common, and what they have not."""

    before: Report
    after: Report
    sites: Matched
    worst: tuple[Change, ...]
    """Of each measure its worst number before and its worst now, in the order of the measures."""
    changes: tuple[Change, ...]
    """Of each measure the number at each site that is in both, what got worse most first; of what is no
    number any more, sites before the composites that they are in."""
    differences: tuple[str, ...]
    """What is defined differently, so that numbers do not mean the same."""
    missing: tuple[str, ...]
    """Measures that only one of the reports has."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know and what is no reason to doubt."""
        if self.sites.by == "label":
            return ()
        return (
            "no site has the same label in both: the first of one is held against the first of the other",
        )

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why nobody can tell whether it got worse, even where nothing did."""
        return tuple(_doubts(self))

    def outcome(self, tolerance: float) -> Outcome:
        """Whether a number got worse by more than a relative tolerance.

        Numbers that are defined differently prove nothing; of others one that is worse is enough.
        """
        if self.differences:
            return "could not tell"
        allowed = allowance(tolerance)
        if any(change.decades > allowed for change in (*self.worst, *self.changes)):
            return "failed"
        return "could not tell" if self.doubts else "passed"


def compared(before: Report, after: Report) -> Comparison:
    """Compare two reports.

    Example:
        >>> import numpy as np
        >>> from mhc_diag.analyse import analyse
        >>> from mhc_diag.records import MixingStack, Provenance
        >>> path = Provenance("example", "static", "made by hand", "direct", "none")
        >>> sites = (Site("layers.0", "", 0), Site("layers.1", "", 1))
        >>> eye = np.broadcast_to(np.eye(2), (2, 1, 2, 2))
        >>> one, two = (analyse(MixingStack("model", k * eye, sites, path)) for k in (1, 2))
        >>> first = compared(one, two).worst[0]
        >>> first.measure.title, round(first.decades, 4), compared(one, two).outcome(0.01)
        ('amax_forward of a prefix, max', 0.6021, 'failed')
    """
    pairs = matched(before.sites, after.sites)
    depth = float(max(len(before.sites), len(after.sites)))
    old, new = ({s.measure: _of_depth(s, depth) for s in series(r)} for r in (before, after))
    both = [(old[m], new[m]) for m in old if m in new]
    changes = [c for a, b in both for c in _of_sites(a, b, before, after, pairs)]
    changes.sort(key=lambda c: (-math.inf if c.untold else -c.decades, c.measure.scope != "site"))
    lacking = [m.title for m in (*old, *new) if not (m in old and m in new)]
    unlike = list(differences(definitions(before), definitions(after)))
    if not pairs.in_order:
        unlike.append("the order in which sites run")
    return Comparison(
        before,
        after,
        pairs,
        tuple(_of_worst(a, b, before, after) for a, b in both),
        tuple(changes),
        tuple(unlike),
        tuple(lacking),
    )


def _of_depth(found: Series, depth: float) -> Series:
    """A half-life means the same in both only if it is held against the same depth."""
    return replace(found, ideal=depth) if found.measure.scope == "stack" else found


def _of_worst(old: Series, new: Series, before: Report, after: Report) -> Change:
    i, j = old.worst, new.worst
    grown = worsening(old.distance[i : i + 1], new.distance[j : j + 1])
    return Change(old.measure, old.place(i, before), new.place(j, after), float(grown[0]))


def _of_sites(old: Series, new: Series, before: Report, after: Report, sites: Matched) -> Iterator[Change]:
    if old.measure.scope == "stack" or not sites.pairs:
        return
    i, j = ([pair[side] for pair in sites.pairs] for side in (0, 1))
    grown = worsening(old.distance[i], new.distance[j]).tolist()
    for was, is_now, decades in zip(old.places(i, before), new.places(j, after), grown, strict=True):
        yield Change(old.measure, was, is_now, decades)


def _doubts(found: Comparison) -> Iterator[str]:
    if found.differences:
        yield f"defined differently: {'; '.join(found.differences)}"
    for numbers, report in ((found.sites.only_before, found.before), (found.sites.only_after, found.after)):
        if numbers:
            yield f"only in {report.name}: {_named([report.sites[k] for k in numbers])}"
    if found.missing:
        yield f"only one of them has {'; '.join(found.missing)}"
    untold = [c for c in found.worst if c.untold]
    if untold:
        yield f"no number in either: {', '.join(c.measure.title for c in untold)}"
    elif any(c.untold for c in found.changes):
        first = next(c for c in found.changes if c.untold)
        yield f"no number in either: {first.measure.title}, at {first.after.label or first.after.site}"
    for report in (found.before, found.after):
        if report.provenance.failure:
            yield f"{report.name} stopped half-way by {report.provenance.failure}"
        elif report.provenance.skipped and report.provenance.method == "observed":
            yield f"{report.name} left out {report.provenance.skipped[0].what}"


def _named(sites: list[Site]) -> str:
    names = [site.label or f"site {site.depth}" for site in sites]
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
