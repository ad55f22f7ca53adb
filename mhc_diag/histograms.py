"""How the worst composite gains of single tokens are distributed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from mhc_diag.curves import as_numpy
from mhc_diag.maths.namespace import namespace
from mhc_diag.records import COMPOSITE, DIRECTIONS, Array, Direction, Histogram, Scope

BINS = 40
"""At most; their width is 1, 2 or 5 times a power of ten."""
FEWEST = 6
"""Bins that a few tokens may have; of n tokens it is 2 sqrt(n)."""
NARROWEST = 1e-3
"""Decades: a narrower bin would show rounding."""
Floats = Any


class WorstOfTokens:
    """The largest composite gain of every token over all depths, gathered a block of sites at a time.

    Of one part of the tokens, and of others taken in after it.
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.parts: dict[Direction, list[Floats]] = {direction: [] for direction in DIRECTIONS}

    def keep(self, direction: Direction, sites: slice, log10: Array) -> None:
        """Take in the composite gains (sites, T) of a block, the prefixes upwards, suffixes downwards."""
        import numpy as np

        largest, parts = as_numpy(namespace(log10).max(log10, axis=0)), self.parts[direction]
        opens = sites.start == 0 if direction == "forward" else sites.stop == self.depth
        if opens:
            parts.append(largest)
        else:
            parts[-1] = np.maximum(parts[-1], largest)

    def take(self, other: WorstOfTokens) -> None:
        """Take in the tokens of other parts."""
        for direction, parts in self.parts.items():
            parts += other.parts[direction]

    def histograms(self) -> Iterator[Histogram]:
        """One for each direction."""
        import numpy as np

        for direction in DIRECTIONS:
            yield counted(*COMPOSITE[direction], np.concatenate(self.parts[direction]))


def counted(metric: str, scope: Scope, log10: Floats) -> Histogram:
    """The histogram of log10 of some gains, whose bins have edges at whole multiples of their width.

    Example:
        >>> import numpy as np
        >>> counted("amax_forward", "prefix", np.array([0.0, 0.3, 0.31, np.nan])).counts[0]
        1
    """
    import numpy as np

    finite = log10[np.isfinite(log10)]
    zero = int(np.isneginf(log10).sum())
    lost = int(log10.size) - int(finite.size) - zero
    if not finite.size:
        return Histogram(metric, scope, 0.0, NARROWEST, (), zero, lost)
    smallest, largest = float(finite.min()), float(finite.max())
    bins = min(BINS, max(FEWEST, 2 * math.isqrt(int(finite.size))))
    width = next(w for w in _round_widths() if (largest - smallest) / w < bins - 1)
    first = math.floor(smallest / width + 1e-9)  # a gain of 1 that was rounded down is a gain of 1
    places = np.clip(np.floor(finite / width + 1e-9).astype(np.int64) - first, 0, None)
    counts = tuple(int(c) for c in np.bincount(places))
    return Histogram(metric, scope, first * width, width, counts, zero, lost)


def _round_widths() -> Iterator[float]:
    power = NARROWEST
    while True:
        yield from (power, 2 * power, 5 * power)
        power *= 10
