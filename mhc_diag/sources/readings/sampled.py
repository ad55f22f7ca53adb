"""Gaussian streams, of which only the projections are drawn.

Streams x (n, C) of standard normal numbers, after normalisation to a root mean square of 1, are uniform on a
sphere. What a site reads off them, R numbers, follows exactly from

    F x / |x|:   F = L Q with orthonormal rows Q, L L^T = F F^T;   Q x = h ~ N(0, I),
                 |x|^2 = |h|^2 + chi^2 of the remaining dimensions

so R numbers and one chi square are drawn instead of n C. Streams that resemble each other have the
correlation rho between any two: x_s = sqrt(rho) common + sqrt(1 - rho) own_s. Their mean direction has the
variance 1 - rho + n rho and what is orthogonal to it 1 - rho, and both parts are drawn as above.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mhc_diag.sources.readings import Read

Floats = np.ndarray[Any, Any]
RANK = 1e-13
"""Eigenvalues below this share of the largest are rounding."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """T independent Gaussian inputs at every site.

    The draws of a site depend on the seed and its number alone.

    Example:
        >>> read = Read(np.eye(2, 512), streams=4, blocks=1)
        >>> values = Sampled(20_000, seed=0).values(read, 0, "")
        >>> values.shape, values.std(axis=(0, 1)).round(1).tolist()
        ((20000, 1, 2), [1.0, 1.0])
    """

    tokens: int
    correlation: float = 0.0
    seed: int = 0

    @property
    def name(self) -> Literal["sampled"]:
        """What it is called in a report."""
        return "sampled"

    @property
    def how(self) -> str:
        """At which input the matrices are taken."""
        alike = f", any two of them with correlation {self.correlation:g}" if self.correlation else ""
        return f"at streams of Gaussian noise drawn anew for every site{alike}"

    def values(self, read: Read, site: int, label: str) -> Floats:
        """(T, B, R): what one site reads off."""
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(site,)))
        weight = read.weight.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            damaged = ~np.isfinite((weight * weight).sum(axis=1))
        weight[damaged] = 0.0
        values = (
            self._together(weight, read.streams, rng)
            if read.blocks == 1
            else self._each(weight, read.blocks, rng)
        )
        values[..., damaged] = np.nan  # what is read along a damaged direction is no number
        return values

    def _together(self, weight: Floats, n: int, rng: np.random.Generator) -> Floats:
        rows, width = weight.shape
        channels = width // n
        mean = weight.reshape(rows, n, channels).sum(axis=1) / math.sqrt(n)
        gram = mean @ mean.T
        parts = [
            (gram, channels, 1 - self.correlation + n * self.correlation),
            (weight @ weight.T - gram, width - channels, 1 - self.correlation),
        ]
        total, length = np.zeros((self.tokens, rows)), np.zeros(self.tokens)
        for covariance, dimensions, variance in parts:
            if dimensions and variance:
                factor = _factor(covariance, dimensions)
                h = rng.standard_normal((self.tokens, factor.shape[1]))
                total += math.sqrt(variance) * (h @ factor.T)
                length += variance * (
                    (h * h).sum(axis=1) + _chi_square(rng, dimensions - h.shape[1], self.tokens)
                )
        return (total * (math.sqrt(width) / np.sqrt(length))[:, None])[:, None]

    def _each(self, weight: Floats, n: int, rng: np.random.Generator) -> Floats:
        width = weight.shape[1]
        factor = _factor(weight @ weight.T, width)
        own, common = math.sqrt(1 - self.correlation), math.sqrt(self.correlation)
        h = own * rng.standard_normal((self.tokens, n, factor.shape[1]))
        h += common * rng.standard_normal((self.tokens, 1, factor.shape[1]))
        rest = self._lengths(rng, width - factor.shape[1], n)
        length = np.sqrt((h * h).sum(axis=-1) + rest)
        return (h @ factor.T) * (math.sqrt(width) / length)[..., None]

    def _lengths(self, rng: np.random.Generator, dimensions: int, n: int) -> Floats:
        """(T, n): squared lengths of n correlated Gaussian vectors of so many dimensions.

        The Gram matrix of independent ones is drawn by Bartlett's decomposition, A A^T with A lower
        triangular, its diagonal the roots of chi squares of falling degrees of freedom.
        """
        if dimensions <= n:
            vectors = rng.standard_normal((self.tokens, n, dimensions))
        else:
            vectors = np.tril(rng.standard_normal((self.tokens, n, n)), -1)
            degrees = dimensions - np.arange(n)
            vectors[:, range(n), range(n)] = np.sqrt(rng.chisquare(degrees, (self.tokens, n)))
        covariance = (1 - self.correlation) * np.eye(n) + self.correlation
        values, basis = np.linalg.eigh(covariance)
        root = basis * np.sqrt(np.maximum(values, 0))
        mixed = (root @ basis.T) @ vectors
        return (mixed * mixed).sum(axis=-1)


def _factor(gram: Floats, dimensions: int) -> Floats:
    """(R, r) with factor factor^T = gram, of as few columns as its rank."""
    values, basis = np.linalg.eigh(gram)
    order = np.argsort(values)[::-1][:dimensions]
    kept = order[values[order] > RANK * max(values.max(), 0.0)]
    return basis[:, kept] * np.sqrt(values[kept])


def _chi_square(rng: np.random.Generator, degrees: int, count: int) -> Floats:
    return rng.chisquare(degrees, count) if degrees else np.zeros(count)
