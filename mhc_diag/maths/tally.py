"""Statistics over tokens that arrive in parts: exact quantiles of millions of numbers in little memory.

Of N numbers in random order, the one that will be the q-quantile in the end lies within a few
sqrt(t q (1 - q)) places of the q-quantile of any t of them. Only the numbers in that window are kept. Windows
of other parts are laid together in any order, on any machine: what lies above every number that some part
lost below its window, and below every number that some part lost above, is whole. Nothing is interpolated
between parts: a quantile is the number itself, as if all had been sorted, or an error where chance put it
outside a window (odds of 1e-11).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mhc_diag.maths import statistics

DEVIATIONS = 7.0
SLACK = 32  # numbers kept on either side whatever the deviation, for the long tail of small counts
Floats = Any  # numpy arrays; torch tensors are converted at the door


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Of `seen` numbers in each of L rows, those that may become the q-quantile of `total`.

    Example:
        >>> import numpy as np
        >>> numbers = np.random.default_rng(0).permutation(np.arange(100_000.0))[None]
        >>> windows = [window_of(np.sort(part), 0.5, 100_000) for part in np.split(numbers, 25, axis=1)]
        >>> windows[0].kept.shape[1] < 1000
        True
        >>> together(windows).at_rank(50_000).tolist()
        [50000.0]
    """

    q: float
    total: int
    seen: int
    low: int
    """How many were lost below the first that is kept."""
    kept: Floats
    """(L, K), sorted; NaN counts as larger than infinity."""
    floor: Floats
    """(L): numbers that were lost below are at most this."""
    ceiling: Floats
    """(L): numbers that were lost above are at least this; NaN where none was."""

    def at_rank(self, rank: int) -> Floats:
        """The numbers (L) at this place, from 0, in the sorted rows of all that were seen.

        Raises:
            RuntimeError: one was not kept: the parts did not come in random order.
        """
        import numpy as np

        place = rank - self.low
        if 0 <= place < self.kept.shape[1]:
            found = self.kept[:, place]
            above = np.isnan(found) | (found >= self.floor)
            if np.all(above & (np.isnan(self.ceiling) | (found <= self.ceiling))):
                return found
        raise RuntimeError("a quantile left its window: the parts did not come in random order")

    def quantile(self) -> tuple[Floats, Floats, float]:
        """The two neighbours of the q-quantile and how far it is from the first to the second."""
        place = self.q * (self.seen - 1)
        below = int(place)
        return self.at_rank(below), self.at_rank(min(below + 1, self.seen - 1)), place - below


def span(q: float, seen: int, total: int) -> tuple[int, int]:
    """Where among `seen` sorted numbers the q-quantile of `total` may lie: first place, and behind the last.

    Example:
        >>> span(0.5, 10_000, 1_000_000), span(0.5, 10, 1_000_000)
        ((4619, 5381), (0, 10))
    """
    left = max(total - seen, 0) / max(total, 1)
    half = DEVIATIONS * math.sqrt(seen * q * (1 - q) * left) + SLACK
    center = q * (seen - 1)
    return max(0, math.floor(center - half)), min(seen, math.ceil(center + half) + 1)


def window_of(ordered: Floats, q: float, total: int) -> Window:
    """The window of one part.

    Args:
        ordered: (L, t), each row sorted.
        q: which quantile.
        total: how many numbers a row will have in the end.

    Example:
        >>> import numpy as np
        >>> window_of(np.arange(1000.0)[None], 0.01, 10_000).kept.shape
        (1, 64)
    """
    import numpy as np

    everything = np.full(len(ordered), -math.inf), np.full(len(ordered), math.nan)
    return _cut(Window(q, total, ordered.shape[1], 0, ordered, *everything))


def together(windows: Sequence[Window]) -> Window:
    """One window of all numbers that several have seen, of the same rows and quantile.

    Example:
        >>> import numpy as np
        >>> halves = [window_of(np.array([row]), 0.5, 4) for row in ([1.0, 4.0], [2.0, 3.0])]
        >>> together(halves).kept.tolist()
        [[1.0, 2.0, 3.0, 4.0]]
    """
    import numpy as np

    first = windows[0]
    if len(windows) == 1:
        return first
    return _cut(
        Window(
            first.q,
            first.total,
            sum(w.seen for w in windows),
            sum(w.low for w in windows),
            np.sort(np.concatenate([w.kept for w in windows], axis=1), axis=1),
            np.max([w.floor for w in windows], axis=0),
            np.fmin.reduce([w.ceiling for w in windows], axis=0),
        )
    )


def _cut(window: Window) -> Window:
    """Drop what the quantile can no longer become."""
    import numpy as np

    low, high = span(window.q, window.seen, window.total)
    first, behind = max(0, low - window.low), min(window.kept.shape[1], high - window.low)
    kept = window.kept[:, first:behind].copy()  # not the rest with it
    floor, ceiling = window.floor, window.ceiling
    if first > 0:
        floor = np.maximum(floor, kept[:, 0])
    if behind < window.kept.shape[1]:
        ceiling = np.fmin(ceiling, kept[:, -1])
    return Window(window.q, window.total, window.seen, window.low + first, kept, floor, ceiling)


class Tally:
    """Mean, minimum, quantiles and maximum of (L, T) numbers value * 2**exponent, arriving T by T.

    Everything is kept as logarithms, which costs a few units in the sixteenth digit. Sums are kept by parts
    and added up in the order of the parts in the end, so that the result is the same in whatever order
    tallies are taken together.

    Example:
        >>> import numpy as np
        >>> tally = Tally(depth=1, total=3)
        >>> tally.add(slice(0, 1), np.array([[1.0, 4.0]]), np.zeros((1, 2)))
        >>> other = Tally(depth=1, total=3, part=1, first=2)
        >>> other.add(slice(0, 1), np.array([[2.0]]), np.zeros((1, 1)))
        >>> tally.take(other)
        >>> {name: float(value[0]) for name, (value, _) in tally.finish().items() if name in {"p50", "max"}}
        {'p50': 2.0, 'max': 4.0}
    """

    def __init__(self, depth: int, total: int, *, part: int = 0, first: int = 0) -> None:
        import numpy as np

        self.depth, self.total, self.part, self.first = depth, total, part, first
        self.windows: dict[str, list[Window]] = {}
        """By quantile; several are taken together when it is worth it."""
        self.sums: dict[int, Floats] = {part: np.full(depth, -math.inf)}
        """log10 of the sum, by part."""
        self.least = np.full(depth, math.inf)
        self.most = np.full(depth, -math.inf)
        self.token = np.zeros(depth, dtype=np.int64)
        """Where the largest was seen first."""

    def add(self, sites: slice, value: Floats, exponent: Floats) -> None:
        """Take in the numbers of some sites (sites, T) and all tokens of the part, each site once."""
        import numpy as np

        logs = statistics.log10(value, exponent)
        top = np.max(logs, axis=-1)
        self.sums[self.part][sites] = _log10_of_sum(logs, top)
        self.least[sites] = np.fmin(self.least[sites], np.fmin.reduce(logs, axis=-1))
        self.token[sites], self.most[sites] = self.first + np.argmax(logs, axis=-1), top
        ordered = np.sort(logs, axis=-1)
        for name, q in statistics.QUANTILES.items():
            made = window_of(ordered, q, self.total)
            if name not in self.windows:
                self.windows[name] = [_room(self.depth, made)]
            (whole,) = self.windows[name]
            whole.kept[sites], whole.floor[sites], whole.ceiling[sites] = made.kept, made.floor, made.ceiling

    def take(self, other: Tally) -> None:
        """Take in what another tally has seen, of other parts."""
        import numpy as np

        self.sums |= other.sums
        self.least = np.fmin(self.least, other.least)
        mine, theirs = np.isnan(self.most), np.isnan(other.most)
        same = (self.most == other.most) | (mine & theirs)
        higher = (~mine & theirs) | (other.most > self.most) | (same & (other.token < self.token))
        self.token = np.where(higher, other.token, self.token)
        self.most = np.where(higher, other.most, self.most)
        for name, windows in self.windows.items():
            windows += other.windows[name]
            if sum(w.kept.size for w in windows[1:]) >= windows[0].kept.size:
                windows[:] = [together(windows)]

    def window(self, name: str) -> Window:
        """The window of a quantile."""
        self.windows[name] = [together(self.windows[name])]
        return self.windows[name][0]

    def finish(self) -> dict[str, tuple[Floats, Floats]]:
        """The statistics by name, each as (plain value, log10), both (L)."""
        import numpy as np

        sums = np.stack([self.sums[part] for part in sorted(self.sums)], axis=-1)
        seen = self.window(next(iter(statistics.QUANTILES))).seen
        found = {"mean": _log10_of_sum(sums, np.max(sums, axis=-1)) - np.log10(seen), "min": self.least}
        for name in statistics.QUANTILES:
            low, high, weight = self.window(name).quantile()
            found[name] = np.where(low == high, low, statistics.between(low, high, weight))
        found["max"] = self.most
        with np.errstate(over="ignore"):
            return {name: (np.power(10.0, logs), logs) for name, logs in found.items()}


def _room(depth: int, like: Window) -> Window:
    """A window of so many rows, to be filled."""
    import numpy as np

    kept = np.empty((depth, like.kept.shape[1]))
    return Window(like.q, like.total, like.seen, like.low, kept, np.empty(depth), np.empty(depth))


def _log10_of_sum(logs: Floats, top: Floats) -> Floats:
    """log10 of the sums over the last axis of 10**logs, whose largest is top."""
    import numpy as np

    shift = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(over="ignore", divide="ignore"):
        total = np.sum(np.exp((logs - shift[..., None]) * math.log(10)), axis=-1)
        return np.where(np.isfinite(top), shift + np.log10(total), top)
