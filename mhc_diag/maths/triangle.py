"""Gains of every composite of neighbouring sites: where in the stack a blow-up begins and ends.

L sites, T tokens, n streams. The composite of sites l..k is M_k M_{k-1} ... M_l, both ends included. Its
forward gain needs M_k ... M_l 1 only, a vector, so each site is multiplied onto the vectors of all first
sites at once; the backward gain is the forward gain of the reversed stack of transposes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mhc_diag.maths import statistics
from mhc_diag.maths.products import rescale
from mhc_diag.records import DIRECTIONS, Array, Direction

STATISTICS = ("mean", "p50", "p99", "max")
QUANTILES = {name: q for name, q in statistics.QUANTILES.items() if name in STATISTICS}
BLOCK = 65_536  # numbers in a row of a block: small enough to stay in cache, large enough to hide Python
SITE_LARGE = 2.0**64  # of matrices with a largest entry above that or below its inverse, it is taken out
SMALL = 2.0**-400  # entries that lose more than that, and gains that have
LARGE = 2.0**400
BITS_APART = 500.0  # gains that far apart do not stand beside each other in float64

Floats = np.ndarray[Any, Any]
Row = dict[str, Floats]


def triangles(
    matrices: Array, *, progress: Callable[[int], None] | None = None
) -> dict[Direction, dict[str, Floats]]:
    """log10 of the Amax gains of all composites, over tokens.

    Formula: entry [l, k] is a statistic over tokens of max_i abs(sum_j A_ij) (forward) or of
    max_j abs(sum_i A_ij) (backward), A = M_k ... M_l. Accumulated in float64 with whole powers of two apart,
    so that no depth over- or underflows; only what lies 300 orders of magnitude below another stream of
    the same token may be lost.

    Args:
        matrices: (L, T, n, n), float32 or float64, out x in. A torch tensor is read as a numpy array, which
            on a CPU copies nothing.
        progress: called with the number of sites done, twice the depth in all.

    Returns:
        By direction and statistic (mean, p50, p99, max): (L, L) float64, NaN where k < l and -inf for 0.

    Example:
        >>> doubling = np.full((3, 1, 1, 1), 2.0)
        >>> (10 ** triangles(doubling)["forward"]["max"]).round(12)
        array([[ 2.,  4.,  8.],
               [nan,  2.,  4.],
               [nan, nan,  2.]])
    """
    stack = matrices.detach().cpu().numpy() if hasattr(matrices, "detach") else np.asarray(matrices)
    depth = len(stack)
    made: dict[Direction, dict[str, Floats]] = {
        direction: {name: np.full((depth, depth), np.nan) for name in STATISTICS} for direction in DIRECTIONS
    }
    sweeps = sweep(stack), sweep(stack[::-1].swapaxes(-1, -2))
    for last, (forward, backward) in enumerate(zip(*sweeps, strict=True)):
        first = depth - 1 - last
        for name in STATISTICS:
            made["forward"][name][: last + 1, last] = forward[name]
            made["backward"][name][first, first:] = backward[name][::-1]
        if progress is not None:
            progress(len(sweeps))
    return made


def sweep(stack: Floats) -> Iterator[Row]:
    """For each last site k in turn, log10 of the forward gains of sites l..k by statistic, (k + 1) each.

    Example:
        >>> rows = sweep(np.full((2000, 1, 1, 1), 2.0))
        >>> [next(rows)["max"].round(3).tolist() for _ in range(2)]
        [[0.301], [0.602, 0.301]]
    """
    depth, tokens, streams = stack.shape[:3]
    running = _Running(depth, tokens, streams)
    starts = max(1, BLOCK // max(tokens, 1))
    for last in range(depth):
        site = _Site(stack[last])
        running.vectors[last] = 1.0
        blocks = range(0, last + 1, starts)
        rows = [running.step(site, slice(b, min(b + starts, last + 1))) for b in blocks]
        yield {name: np.concatenate([row[name] for row in rows]) for name in STATISTICS}


class _Site:
    """The matrices of one site with the tokens last (n, n, T), and what to take care of."""

    def __init__(self, matrices: Floats) -> None:
        self.matrices = np.array(np.moveaxis(matrices, 0, -1), dtype=np.float64, order="C")
        self.exponent: Floats | None = None
        sizes = np.abs(self.matrices)
        if not (sizes.max(axis=(0, 1)).min() > 1 / SITE_LARGE and sizes.max() < SITE_LARGE):
            with np.errstate(invalid="ignore"):
                own = rescale(np.moveaxis(self.matrices, -1, 0))
            self.matrices = np.ascontiguousarray(np.moveaxis(own.mantissa, 0, -1))
            self.exponent, sizes = own.exponent, np.abs(self.matrices)
        self.delicate = not sizes.min() > SMALL and bool((sizes[sizes > 0] < SMALL).any())


class _Running:
    """The vectors M_k ... M_l 1 of all first sites l, as mantissas and whole exponents."""

    def __init__(self, depth: int, tokens: int, streams: int) -> None:
        self.vectors = np.empty((depth, streams, tokens))
        self.exponents = np.zeros((depth, tokens))
        self.moved = np.zeros(depth, dtype=bool)  # first sites with an exponent other than 0

    def step(self, site: _Site, starts: slice) -> Row:
        """Multiply a site onto the vectors of some first sites; returns the statistics of their gains."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            if site.delicate:
                self._rescale(starts)
            new = np.einsum("ijt,sjt->sit", site.matrices, self.vectors[starts])
            self.vectors[starts] = new
            if site.exponent is not None:
                self.exponents[starts] += site.exponent
                self.moved[starts] = True
            gains = np.abs(new, out=new).max(axis=1)
            if not (gains.min() > SMALL and gains.max() < LARGE):
                gains = self._rescale(starts)
            return _over_tokens(gains, self.exponents[starts] if self.moved[starts].any() else None)

    def _rescale(self, starts: slice) -> Floats:
        """Bring the largest entries into [1, 2) by powers of two; zero and non-finite ones stay."""
        vectors = self.vectors[starts]
        gains = np.abs(vectors).max(axis=1)
        usable = np.isfinite(gains) & (gains > 0)
        bits = np.where(usable, np.frexp(gains)[1] - 1, 0)
        vectors[...] = np.ldexp(vectors, -bits[:, None, :])
        self.exponents[starts] += bits
        self.moved[starts] |= bits.any(axis=-1)
        return np.ldexp(gains, -bits)


def _over_tokens(gains: Floats, exponents: Floats | None) -> Row:
    """`statistics.over_tokens` without a logarithm for each gain, where they fit beside each other."""
    top: Floats = np.zeros(len(gains))
    if exponents is not None:
        top = exponents.max(axis=-1)
        if (top - exponents.min(axis=-1) > BITS_APART).any():
            found = statistics.over_tokens(gains, exponents)
            return {name: found[name][1] for name in STATISTICS}
        gains = np.ldexp(gains, (exponents - top[:, None]).astype(np.int32))
    made = {"mean": gains.mean(axis=-1), "max": gains.max(axis=-1), **_quantiles(gains)}
    return {name: np.log10(value) + statistics.LOG10_2 * top for name, value in made.items()}


def _quantiles(gains: Floats) -> Row:
    """Quantiles of each row by selection, each among what lies above the one before; reorders the rows."""
    last = gains.shape[-1] - 1
    made, above, passed = {}, gains, 0
    for name, q in sorted(QUANTILES.items(), key=lambda item: item[1]):
        rank = int(q * last)
        if rank >= passed:
            above.partition(rank - passed, axis=-1)
            low, above, passed = above[:, rank - passed], above[:, rank - passed + 1 :], rank + 1
        high = np.fmin.reduce(above, axis=-1) if passed <= last else low  # a NaN is the largest
        weight = q * last - rank
        made[name] = low if weight == 0 else np.where(low == high, low, low + (high - low) * weight)
    return made
