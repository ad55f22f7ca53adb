"""Which site of one report is which of another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mhc_diag.records import Site


@dataclass(frozen=True, slots=True)
class Matched:
    """Sites of two reports, by number."""

    pairs: tuple[tuple[int, int], ...]
    """In the order of the first report."""
    only_before: tuple[int, ...]
    only_after: tuple[int, ...]
    by: str
    """`label`, or `position` where no label is in both."""

    @property
    def in_order(self) -> bool:
        """Whether both run them in the same order."""
        after = [j for _, j in self.pairs]
        return after == sorted(after)


def matched(before: Sequence[Site], after: Sequence[Site]) -> Matched:
    """Sites with the same label; where a label is there several times, the first is the first.

    Where no label is in both, the first of one is the first of the other.

    Example:
        >>> one = [Site("layers.0", "", 0), Site("layers.1", "", 1)]
        >>> matched(one, one[1:]).pairs
        ((1, 0),)
    """
    names = _numbered(before), _numbered(after)
    places = {name: j for j, name in enumerate(names[1])}
    pairs = [(i, places[name]) for i, name in enumerate(names[0]) if name in places]
    by = "label"
    if not pairs:
        pairs, by = [(i, i) for i in range(min(len(before), len(after)))], "position"
    known = {i for i, _ in pairs}, {j for _, j in pairs}
    return Matched(
        tuple(pairs),
        tuple(i for i in range(len(before)) if i not in known[0]),
        tuple(j for j in range(len(after)) if j not in known[1]),
        by,
    )


def _numbered(sites: Sequence[Site]) -> list[tuple[str, int]]:
    """Labels, each with how often it was there before."""
    counts: Counter[str] = Counter()
    found = []
    for site in sites:
        found.append((site.label, counts[site.label]))
        counts[site.label] += 1
    return found
