"""Which sites to show in full, and which to fold into one line."""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from itertools import groupby

Run = tuple[range, bool]
"""Consecutive sites, and whether they are folded into one line."""


def worst_sites(own: Sequence[Sequence[float]], composite: Sequence[Sequence[float]], count: int) -> set[int]:
    """The sites whose gains are furthest from 1 in either direction.

    A site whose own gain is no number comes before one whose composite merely inherits it, and both before
    any number.

    Args:
        own: log10 of the gains of single sites, one sequence over the sites for each.
        composite: log10 of the composite gains.
        count: how many sites.

    Example:
        >>> sorted(worst_sites([[0.0, -2.0, 0.1, math.nan]], [[0.0, 0.0, 1.0, 0.0]], 2))
        [1, 3]
    """

    def badness(site: int) -> tuple[bool, bool, float]:
        logs = [gains[site] for gains in (*own, *composite)]
        broken = [math.isnan(x) or x == math.inf for x in logs]
        return (
            any(broken[: len(own)]),
            any(broken),
            max((abs(x) for x in logs if not math.isnan(x)), default=0.0),
        )

    return set(sorted(range(len(own[0])), key=badness, reverse=True)[:count])


def runs(length: int, full: Set[int]) -> list[Run]:
    """All sites as runs that are shown in full or folded; a site on its own is never folded.

    Example:
        >>> runs(6, {0, 2})
        [(range(0, 3), False), (range(3, 6), True)]
    """
    everything = set(range(length))
    kept = {s for s in everything if s in full or full >= {s - 1, s + 1} & everything}
    grouped = ((folded, list(sites)) for folded, sites in groupby(range(length), key=lambda s: s not in kept))
    return [(range(sites[0], sites[-1] + 1), folded) for folded, sites in grouped]
