"""Numbers about a whole stack: growth rates, the Lyapunov spectrum, and how soon the streams are averaged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mhc_diag.curves import as_numpy
from mhc_diag.maths import lyapunov
from mhc_diag.records import DIRECTIONS, Array, Curve, Direction, Scalar

SHORTEST = 4  # sites: below that, half-way and end are the same place
Floats = Any


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and spread of rates of single tokens, of which the rates themselves need not be kept.

    Example:
        >>> import numpy as np
        >>> halves = [Moments.of(np.array([1.0, 2.0])), Moments.of(np.array([6.0]))]
        >>> Moments.together(halves) == Moments.of(np.array([1.0, 2.0, 6.0]))
        True
    """

    count: int
    total: float
    squares: float
    """Sum of squared differences from the mean."""

    @classmethod
    def of(cls, rates: Floats) -> Moments:
        """Those of some rates (T)."""
        import numpy as np

        with np.errstate(invalid="ignore"):
            total = float(rates.sum())
            return cls(rates.size, total, float(((rates - total / rates.size) ** 2).sum()))

    @classmethod
    def together(cls, parts: Sequence[Moments]) -> Moments:
        """Those of all parts, summed in this order."""
        if len(parts) == 1:
            return parts[0]
        count, total = sum(p.count for p in parts), sum(p.total for p in parts)
        between = sum(p.count * (p.total / p.count - total / count) ** 2 for p in parts)
        return cls(count, total, sum(p.squares for p in parts) + between)

    @property
    def mean(self) -> float:
        """Their mean."""
        return self.total / self.count

    @property
    def standard_error(self) -> float:
        """Of the mean, for independent tokens; NaN where a rate is not finite."""
        if not math.isfinite(self.total):
            return math.nan
        return math.sqrt(self.squares / (self.count - 1)) / math.sqrt(self.count)


class Rates:
    """Growth of every token of a part, gathered a block of sites at a time."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.kept: dict[tuple[Direction, int], Floats] = {}
        self.spectrum: Floats | None = None

    def keep(self, direction: Direction, sites: slice, log10: Array) -> None:
        """Remember the composite gains (sites, T) of each token half-way and at both ends."""
        for site in (0, self.depth // 2, self.depth - 1):
            if sites.start <= site < sites.stop:
                found = as_numpy(log10[site - sites.start, ...])
                self.kept[direction, site] = found.copy()  # not all sites with it

    def spectra(self, matrices: Array) -> None:
        """Take the Lyapunov exponents of each token of the part (L, T, n, n)."""
        self.spectrum = as_numpy(lyapunov.rates(matrices, mean_first=True))

    def moments(self) -> dict[str, Moments]:
        """By name, for stacks deep enough to grow."""
        import numpy as np

        if self.depth < SHORTEST:
            return {}
        middle, made = self.depth // 2, {}
        for direction in DIRECTIONS:
            end = self.depth - 1 if direction == "forward" else 0
            far, near = (self.kept[direction, site] for site in (end, middle))
            with np.errstate(invalid="ignore"):
                slopes = (far - near) * math.log(10) / abs(end - middle)
            made[f"growth_{direction}"] = Moments.of(slopes)
        for k, rates in enumerate([] if self.spectrum is None else self.spectrum.T, start=1):
            made[f"lyapunov_{k}"] = Moments.of(rates)
        return made


def rates(
    moments: Mapping[str, Moments], theory: Mapping[str, float], *, independent: bool
) -> Iterator[Scalar]:
    """Growth of the composite gains and the Lyapunov exponents, with what theory expects."""
    for name, found in moments.items():
        kind, _, which = name.partition("_")
        if kind == "growth":
            title, expected = f"Growth of the {which} composite gain", theory.get("growth")
            formula = (
                "ln(gain at the end / gain half-way) / sites between, mean over tokens, in nats per site"
            )
        else:
            title, expected = f"Lyapunov exponent {which}", theory.get(name)
            formula = (
                "mean of ln R_kk, M_l Q_l = Q_{l+1} R_l, Q_0 begins with ones / sqrt(n), in nats per site"
            )
        error = found.standard_error if independent and found.count > 1 else None
        yield Scalar(name, title, formula, found.mean, error, expected)


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
