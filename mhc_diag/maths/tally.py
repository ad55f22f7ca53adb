"""Statistics over tokens that arrive in parts: exact quantiles of millions of numbers in little memory.

Of N numbers in random order, the one that will be the q-quantile in the end lies within a few
sqrt(N q (1 - q)) places of the q-quantile so far. Only the numbers in that window are kept; of the others it
is enough to know how many there are between two that are kept. Nothing is interpolated between parts: a
quantile is the number itself, as if all had been sorted, or an error where chance put it outside the window
(odds of 1e-11).
"""

from __future__ import annotations

import math
from typing import Any

from mhc_diag.maths import statistics

DEVIATIONS = 7.0
SLACK = 64  # numbers kept on either side whatever the deviation
Floats = Any  # numpy arrays; torch tensors are converted at the door


class Quantiles:
    """Exact quantiles of one row of numbers that arrives in parts, in random order.

    Example:
        >>> import numpy as np
        >>> row = Quantiles(total=100_000)
        >>> for part in np.split(np.random.default_rng(0).permutation(np.arange(100_000.0)), 25):
        ...     row.add(part)
        >>> row.at_rank(50_000), row.at_rank(99_000), len(row.kept) < 20_000
        (50000.0, 99000.0, True)
    """

    def __init__(self, total: int) -> None:
        import numpy as np

        self.total, self.seen = total, 0
        self.kept: Floats = np.empty(0)
        """Sorted, each number once."""
        self.count: Floats = np.empty(0, dtype=np.int32)
        """How often each was seen."""
        self.between: Floats = np.zeros(1, dtype=np.int32)
        """How many that are not kept lie before the first, between two neighbours, after the last."""

    def add(self, part: Floats) -> None:
        """Take in a part (T); NaN counts as larger than infinity."""
        import numpy as np

        self.seen += part.size
        numbers, counts = _distinct(np.sort(part))
        place: Floats = np.searchsorted(self.kept, numbers)
        found = np.zeros(numbers.size, dtype=bool)
        inside = place < self.kept.size
        found[inside] = _same(self.kept[place[inside]], numbers[inside])
        self.count[place[found]] += counts[found]
        lost = ~found & (self.between[place] > 0)
        np.add.at(self.between, place[lost], counts[lost])
        new = ~found & ~lost
        self.kept = np.insert(self.kept, place[new], numbers[new])
        self.count = np.insert(self.count, place[new], counts[new])
        self.between = np.insert(self.between, place[new], 0)  # nothing was lost where it goes
        self._forget()

    def at_rank(self, rank: int) -> float:
        """The number at this place (from 0) in the sorted row of all that were seen.

        Raises:
            RuntimeError: it was not kept: the parts did not come in random order.
        """
        import numpy as np

        after = np.cumsum(
            self.between[:-1] + self.count, dtype=np.int64
        )  # how many up to and with each that is kept
        k = int(np.searchsorted(after, rank, side="right"))
        if k >= self.kept.size or rank < after[k] - self.count[k]:
            raise RuntimeError("a quantile left its window: the parts did not come in random order")
        return float(self.kept[k])

    def quantile(self, q: float) -> tuple[float, float, float]:
        """The two neighbours of the q-quantile and how far it is from the first to the second."""
        place = q * (self.seen - 1)
        below = int(place)
        return self.at_rank(below), self.at_rank(min(below + 1, self.seen - 1)), place - below

    def _forget(self) -> None:
        """Drop what no quantile can need any more."""
        import numpy as np

        left = max(self.total - self.seen, 0) / max(self.total, 1)
        after = np.cumsum(self.between[:-1] + self.count, dtype=np.int64)
        keep = np.zeros(self.kept.size, dtype=bool)
        for q in statistics.QUANTILES.values():
            half = DEVIATIONS * math.sqrt(self.seen * q * (1 - q) * left) + SLACK
            center = q * (self.seen - 1)
            low, high = np.searchsorted(after, [center - half, center + half])
            keep[low : high + 1] = True
        if keep.sum() > 0.75 * keep.size:
            return
        total = np.concatenate(([0], np.cumsum(np.where(keep, 0, self.count)))) + np.cumsum(self.between)
        chosen = total[np.append(keep, True)]  # what is lost before each that stays, and in all
        self.between = np.diff(chosen, prepend=0).astype(np.int32)
        self.kept, self.count = self.kept[keep], self.count[keep]


class Tally:
    """Mean, minimum, quantiles and maximum of (L, T) numbers value * 2**exponent, arriving T by T.

    Everything is kept as logarithms, which costs a few units in the sixteenth digit.

    Example:
        >>> import numpy as np
        >>> tally = Tally(depth=1, total=3)
        >>> tally.add(slice(0, 1), np.array([[1.0, 4.0]]), np.zeros((1, 2)))
        >>> tally.add(slice(0, 1), np.array([[2.0]]), np.zeros((1, 1)))
        >>> {name: float(value[0]) for name, (value, _) in tally.finish().items() if name in {"p50", "max"}}
        {'p50': 2.0, 'max': 4.0}
    """

    def __init__(self, depth: int, total: int) -> None:
        import numpy as np

        self.rows = [Quantiles(total) for _ in range(depth)]
        self.sums = np.full(depth, -math.inf)
        """log10 of the sum."""
        self.least = np.full(depth, math.inf)
        self.most = np.full(depth, -math.inf)
        self.token = np.zeros(depth, dtype=np.int64)
        """Where the largest was seen."""

    def add(self, sites: slice, value: Floats, exponent: Floats) -> None:
        """Take in the numbers of some sites (sites, T)."""
        import numpy as np

        logs = statistics.log10(value, exponent)
        before = self.rows[sites.start].seen
        top, most = np.max(logs, axis=-1), self.most[sites]
        self.sums[sites] = _plus(self.sums[sites], _log10_of_sum(logs, top))
        self.least[sites] = np.fmin(self.least[sites], np.fmin.reduce(logs, axis=-1))
        higher = (top > most) | (np.isnan(top) & ~np.isnan(most)) | (before == 0)
        self.token[sites] = np.where(higher, before + np.argmax(logs, axis=-1), self.token[sites])
        self.most[sites] = np.where(higher, top, most)
        for row, numbers in zip(self.rows[sites], logs, strict=True):
            row.add(numbers)

    def finish(self) -> dict[str, tuple[Floats, Floats]]:
        """The statistics by name, each as (plain value, log10), both (L)."""
        import numpy as np

        seen = np.array([row.seen for row in self.rows])
        found = {"mean": self.sums - np.log10(seen), "min": self.least}
        for name, q in statistics.QUANTILES.items():
            low, high, weight = np.transpose([row.quantile(q) for row in self.rows])
            found[name] = np.where(low == high, low, statistics.between(low, high, weight))
        found["max"] = self.most
        with np.errstate(over="ignore"):
            return {name: (np.power(10.0, logs), logs) for name, logs in found.items()}


def _distinct(ordered: Floats) -> tuple[Floats, Floats]:
    """Each number of a sorted row once, and how often it stands there."""
    import numpy as np

    starts = np.flatnonzero(~np.append(False, _same(ordered[1:], ordered[:-1])))
    return ordered[starts], np.diff(starts, append=ordered.size)


def _same(a: Floats, b: Floats) -> Floats:
    import numpy as np

    return (a == b) | (np.isnan(a) & np.isnan(b))


def _log10_of_sum(logs: Floats, top: Floats) -> Floats:
    """log10 of the sums over the last axis of 10**logs, whose largest is top."""
    import numpy as np

    shift = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(over="ignore", divide="ignore"):
        total = np.sum(np.exp((logs - shift[..., None]) * math.log(10)), axis=-1)
        return np.where(np.isfinite(top), shift + np.log10(total), top)


def _plus(a: Floats, b: Floats) -> Floats:
    """log10 of the sum of two numbers given by their logarithms; NaN and infinity stay what they are."""
    import numpy as np

    return _log10_of_sum(np.stack([a, b], axis=-1), np.maximum(a, b))
