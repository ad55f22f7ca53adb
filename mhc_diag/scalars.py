"""Numbers about a whole stack: growth rates, the Lyapunov spectrum, and how soon the streams are averaged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from mhc_diag.curves import as_numpy
from mhc_diag.maths import lyapunov
from mhc_diag.records import DIRECTIONS, Array, Curve, Direction, Scalar

SHORTEST = 4  # sites: below that, half-way and end are the same place
Floats = Any


class Rates:
    """Growth of every token, gathered a part at a time."""

    def __init__(self, depth: int, *, independent: bool) -> None:
        self.depth, self.independent = depth, independent
        self.kept: dict[tuple[Direction, int], list[Floats]] = {}
        self.spectrum: list[Floats] = []

    def keep(self, direction: Direction, sites: slice, log10: Array) -> None:
        """Remember the composite gains (sites, T) of each token half-way and at both ends."""
        for site in (0, self.depth // 2, self.depth - 1):
            if sites.start <= site < sites.stop:
                found = as_numpy(log10[site - sites.start, ...])
                self.kept.setdefault((direction, site), []).append(found.copy())  # not all sites with it

    def spectra(self, matrices: Array) -> None:
        """Take the Lyapunov exponents of each token of a part (L, T, n, n)."""
        self.spectrum.append(as_numpy(lyapunov.rates(matrices, mean_first=True)))

    def scalars(self, theory: Mapping[str, float]) -> Iterator[Scalar]:
        """Growth of the composite gains and the Lyapunov exponents, with what theory expects."""
        import numpy as np

        if self.depth < SHORTEST:
            return
        middle = self.depth // 2
        for direction in DIRECTIONS:
            end = self.depth - 1 if direction == "forward" else 0
            far, near = (np.concatenate(self.kept[direction, site]) for site in (end, middle))
            with np.errstate(invalid="ignore"):
                slopes = (far - near) * math.log(10) / abs(end - middle)
            yield self._scalar(
                f"growth_{direction}",
                f"Growth of the {direction} composite gain",
                "ln(gain at the end / gain half-way) / sites between, mean over tokens, in nats per site",
                slopes,
                theory.get("growth"),
            )
        if not self.spectrum:
            return
        for k, rates in enumerate(np.concatenate(self.spectrum).T, start=1):
            yield self._scalar(
                f"lyapunov_{k}",
                f"Lyapunov exponent {k}",
                "mean of ln R_kk, M_l Q_l = Q_{l+1} R_l, Q_0 begins with ones / sqrt(n), in nats per site",
                rates,
                theory.get(f"lyapunov_{k}"),
            )

    def _scalar(self, name: str, title: str, formula: str, rates: Floats, expected: float | None) -> Scalar:
        count = rates.shape[0]
        error = None
        if self.independent and count > 1:
            error = float(rates.std(ddof=1) / math.sqrt(count)) if math.isfinite(rates.sum()) else math.nan
        return Scalar(name, title, formula, float(rates.mean()), error, expected)


def half_life(uniformity: Curve) -> Scalar:
    """How many sites it takes until the differences between streams have halved.

    Formula: the depth l at which the median over tokens of the uniformity of the prefix, which is 1 before
    the first site, first is 1/2 or less, interpolated in ln uniformity between two sites; where it stays
    above, extrapolated at the mean rate, L ln 2 / -ln(uniformity of all L sites). Infinite where it does not
    fall.

    Args:
        uniformity: of the prefixes, under the statistic p50.

    Example:
        >>> import numpy as np
        >>> u = 0.8 ** np.arange(1.0, 8.0)
        >>> round(half_life(Curve("uniformity", "prefix", "p50", u, np.log10(u))).value, 6)  # ln .5 / ln .8
        3.106284
    """
    halvings = [0.0, *(-x / math.log10(2) for x in uniformity.log10.tolist())]
    depth = len(halvings) - 1
    value = math.inf if halvings[-1] <= 0 else depth / halvings[-1]
    for site, (before, after) in enumerate(zip(halvings, halvings[1:], strict=False)):
        if math.isnan(after):
            value = math.nan
            break
        if after >= 1:
            value = site + (1 - before) / (after - before)  # at once where nothing is left
            break
    return Scalar(
        name="half_life",
        title="Half-life of the differences between streams",
        formula="sites until the median uniformity of the prefix has halved; beyond the last, extrapolated",
        value=value,
    )
