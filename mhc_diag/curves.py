"""Curves over the sites, filled a block of sites and a part of the tokens at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mhc_diag.maths import statistics
from mhc_diag.maths.namespace import namespace
from mhc_diag.maths.products import rescale
from mhc_diag.maths.tally import Tally
from mhc_diag.records import SCOPES, Array, Curve, Scaled, Scope

Pair = tuple[Array, Array]


def as_numpy(array: Array) -> Any:
    """A numpy array of the same numbers, wherever they were."""
    return array.detach().cpu().numpy() if hasattr(array, "detach") else array


class CurveTable:
    """The statistics of every metric and scope, of one part of the tokens and of others taken in after it.

    Where all tokens come in one part, its statistics are final and the numbers are not kept.
    """

    def __init__(self, depth: int, total: int, *, part: int, first: int, in_parts: bool) -> None:
        self.depth, self.total, self.part, self.first, self.in_parts = depth, total, part, first, in_parts
        self.made: dict[tuple[str, Scope, str], Curve] = {}
        self.tallies: dict[tuple[str, Scope], Tally] = {}

    def put(self, sites: slice, metric: str, scope: Scope, value: Array, exponent: Array) -> None:
        """Take in value * 2**exponent of some sites and all tokens of the part (sites, T)."""
        if self.in_parts:
            key = (metric, scope)
            if key not in self.tallies:
                self.tallies[key] = Tally(self.depth, self.total, part=self.part, first=self.first)
            self.tallies[key].add(sites, as_numpy(value), as_numpy(exponent))
            return
        for statistic, numbers in statistics.over_tokens(value, exponent).items():
            self.fill(sites, metric, scope, statistic, *numbers)
        token = self._curve(metric, scope, "max").token
        assert token is not None
        token[sites] = as_numpy(statistics.token_of_largest(value, exponent))

    def take(self, other: CurveTable) -> None:
        """Take in what was measured of other parts."""
        for key, tally in self.tallies.items():
            tally.take(other.tallies[key])

    def fill(
        self, sites: slice, metric: str, scope: Scope, statistic: str, value: Array, log10: Array
    ) -> None:
        """Write finished numbers of some sites."""
        curve = self._curve(metric, scope, statistic)
        curve.value[sites], curve.log10[sites] = as_numpy(value), as_numpy(log10)

    def metrics(self) -> set[str]:
        """The names of those that were measured."""
        return {metric for metric, *_ in (*self.made, *self.tallies)}

    def curves(self, metrics: Sequence[str]) -> tuple[Curve, ...]:
        """All curves, when nothing more will come, by scope and in the order of these metrics."""
        for (metric, scope), tally in self.tallies.items():
            for statistic, numbers in tally.finish().items():
                self.fill(slice(None), metric, scope, statistic, *numbers)
            token = self._curve(metric, scope, "max").token
            assert token is not None
            token[:] = tally.token
        places = {name: place for place, name in enumerate(metrics)}
        order = sorted(self.made.values(), key=lambda c: (SCOPES.index(c.scope), places[c.metric]))
        return tuple(order)

    def _curve(self, metric: str, scope: Scope, statistic: str) -> Curve:
        import numpy as np

        key = (metric, scope, statistic)
        if key not in self.made:
            token = np.zeros(self.depth, dtype=np.int64) if statistic == "max" else None
            self.made[key] = Curve(*key, np.zeros(self.depth), np.zeros(self.depth), token)
        return self.made[key]


class MeanMatrices:
    """The matrices of one scope, averaged over the tokens of a part, and of others taken in after it."""

    def __init__(self, depth: int, streams: int, *, part: int, tokens: int) -> None:
        import numpy as np

        shape = (depth, streams, streams)
        self.part = part
        self.parts = {part: (tokens, Scaled(np.zeros(shape), np.zeros(depth)))}
        """By part, how many tokens and their mean."""

    def add(self, sites: slice, scaled: Scaled) -> None:
        """Take in the matrices of some sites of the part (sites, T, n, n)."""
        mean, (_, part) = _mean(scaled), self.parts[self.part]
        part.mantissa[sites], part.exponent[sites] = as_numpy(mean.mantissa), as_numpy(mean.exponent)

    def take(self, other: MeanMatrices) -> None:
        """Take in the means of other parts."""
        self.parts |= other.parts

    def means(self) -> Scaled:
        """The mean matrices of all sites (L, n, n), summed in the order of the parts."""
        import numpy as np

        parts = [self.parts[number] for number in sorted(self.parts)]
        if len(parts) == 1:
            return parts[0][1]
        total = sum(tokens for tokens, _ in parts)
        shares = [part.mantissa * (len(parts) * tokens / total) for tokens, part in parts]
        exponents = [part.exponent for _, part in parts]
        return _mean(Scaled(np.stack(shares, axis=1), np.stack(exponents, axis=1)))


def _mean(scaled: Scaled) -> Scaled:
    """The matrices averaged over tokens: (sites, T, n, n) to (sites, n, n)."""
    xp = namespace(scaled.mantissa)
    zero = xp.all(scaled.mantissa == 0, axis=(-2, -1))  # whatever its exponent
    top = xp.max(xp.where(zero, xp.full_like(scaled.exponent, -math.inf), scaled.exponent), axis=-1)
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    weight = xp.pow(xp.full_like(scaled.exponent, 2.0), scaled.exponent - top[..., None])
    weight = xp.where(zero, xp.zeros_like(weight), weight)
    return rescale(xp.mean(scaled.mantissa * weight[..., None, None], axis=-3), top)
