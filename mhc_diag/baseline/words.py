"""What differs from a baseline, in words."""

from __future__ import annotations

from collections.abc import Sequence

from mhc_diag.baseline.records import Entry, Number
from mhc_diag.compare.definitions import definitions, differences
from mhc_diag.compare.measures import series
from mhc_diag.compare.words import by
from mhc_diag.holding import in_words
from mhc_diag.magnitude import magnitude
from mhc_diag.records import Report
from mhc_diag.verdict import Place

LISTED = 3
"""Names in a sentence."""


def mismatches(entry: Entry, report: Report) -> str:
    """Why the numbers of an entry and of a report cannot be compared; empty where they can."""
    found = list(differences(entry.definitions, definitions(report)))
    labels = tuple(site.label for site in report.sites)
    if labels != entry.sites:
        found.append(_sites(entry.sites, labels))
    known = {s.measure for s in series(report)}
    lacking = [n.measure.title for n in entry.numbers if n.measure not in known]
    if lacking:
        found.append(f"not measured: {_named(lacking)}")
    return f"not what the baseline is about: {'; '.join(found)}" if found else ""


def worse_in_words(place: Place, number: Number, decades: float) -> str:
    """What is worse, where, and than what."""
    if place.scope == "stack":
        assert place.value is not None
        now = f"{place.metric} {place.value:.4g}"
    else:
        now = ("mean " if place.statistic == "mean" else "") + in_words(place)
    before = magnitude(number.value, number.log10) + (f" at {number.site}" if number.site else "")
    return f"{now}, {by(decades)}: the baseline has {before}"


def _sites(before: Sequence[str], after: Sequence[str]) -> str:
    gone, new = ([x for x in a if x not in set(b)] for a, b in ((before, after), (after, before)))
    if not gone and not new:
        count = (
            f"{len(before)} sites, now {len(after)}"
            if len(before) != len(after)
            else "the order of the sites"
        )
        return f"it has {count}" if len(before) != len(after) else f"{count} is another"
    parts = [f"{word} {_named(names)}" for word, names in (("gone are", gone), ("new are", new)) if names]
    return f"of its sites {' and '.join(parts)}"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
