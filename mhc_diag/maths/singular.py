"""Singular values of many small matrices at once.

One-sided Jacobi (Hestenes 1958): rotate pairs of columns until all are orthogonal; their lengths are then the
singular values. On planes one rotation serves a whole block, which is two to four times as fast as LAPACK on
one matrix after the other, and as exact.
"""

from __future__ import annotations

import math
from typing import Any

from mhc_diag.maths.namespace import contiguous, namespace
from mhc_diag.maths.planes import over_blocks
from mhc_diag.records import Array

FEWEST = 512  # matrices below which LAPACK is done before the first sweep is
WIDEST = 6  # columns up to which sweeps pay
SWEEPS = 30  # never reached: five or six are enough
SAFE = 1e38  # entries up to this and down to its inverse can be raised to the eighth power
TINY = 1e-153  # added to a root, so that nothing is divided by 0 where lines vanish
ROUNDING = 1e-15


def singular_values(matrix: Array) -> Array:
    """Singular values of each matrix, the largest first. NaN where an entry is not finite.

    They are exact to rounding of the largest. Few or large matrices, and tensors that need a gradient, go to
    LAPACK.

    Args:
        matrix: (*B, n, m).

    Returns:
        (*B, min(n, m))

    Example:
        >>> import numpy as np
        >>> singular_values(np.array([[0.0, 2.0], [0.0, 0.0]])).tolist()
        [2.0, 0.0]
    """
    return over_blocks(_jacobi, matrix) if sweeps_pay(matrix) else _lapack(matrix)


def sweeps_pay(matrix: Array, widest: int = WIDEST) -> bool:
    """Whether singular values come from sweeps: of many matrices, of no more columns than `widest`.

    Example:
        >>> import numpy as np
        >>> sweeps_pay(np.zeros((10_000, 4, 4))), sweeps_pay(np.zeros((4, 4)))
        (True, False)
    """
    *batch, rows, columns = matrix.shape
    small = min(rows, columns) <= widest
    return small and math.prod(batch) >= FEWEST and not getattr(matrix, "requires_grad", False)


def _lapack(matrix: Array) -> Array:
    xp = namespace(matrix)
    finite = xp.all(xp.isfinite(matrix), axis=(-2, -1))[..., None]  # LAPACK may not return from a NaN
    values = xp.linalg.svdvals(xp.where(finite[..., None], matrix, xp.zeros_like(matrix)))
    return xp.where(finite, values, xp.full_like(values, float("nan")))


def _jacobi(planes: Array) -> Array:
    """Singular values (k, B), sorted, of planes (n, m, B)."""
    xp = namespace(planes)
    dtype = planes.dtype
    if planes.shape[0] > planes.shape[1]:
        planes = xp.permute_dims(planes, (1, 0, 2))
    lines = xp.astype(planes, xp.float64, copy=True)  # it does not matter whether they are rows or columns
    largest = xp.max(xp.abs(lines), axis=(0, 1))
    safe = (largest < SAFE) & (largest > 1 / SAFE)
    if bool(xp.all(safe)):
        return xp.astype(_sorted(_sweeps(contiguous(lines))), dtype)
    largest = xp.where(safe | (largest == 0), xp.ones_like(largest), largest)
    return xp.astype(_sorted(_sweeps(contiguous(lines / largest))) * largest, dtype)


def _sweeps(lines: Array) -> Array:
    """Lengths (k, B) of lines (k, m, B) once they are orthogonal. Works in place.

    Done is who has a sweep that changes no length. They are kept from then on, whoever else is in the block,
    and leave it when they are many.
    """
    xp = namespace(lines)
    count = lines.shape[0]
    work = _Work(xp, lines)
    squares = work.squares(lines)
    lengths = xp.sqrt(squares)
    left = lengths[0, :] == lengths[0, :]
    for _ in range(SWEEPS):
        for p in range(count - 1):
            for q in range(p + 1, count):
                work.rotate(lines[p, ...], lines[q, ...], squares[p, :], squares[q, :])
        squares = work.squares(lines)
        before, lengths = lengths, xp.where(left, xp.sqrt(squares), lengths)
        change = xp.max(xp.abs(lengths - before), axis=0)
        left = left & (change > ROUNDING * xp.max(lengths, axis=0))
        remaining = int(xp.count_nonzero(left))
        if remaining == 0:
            break
        if 4 * remaining < 3 * left.shape[0]:
            lengths[:, left] = _sweeps(contiguous(lines[:, :, left]))
            break
    return lengths


class _Work:
    """Memory that every rotation of a block writes to: making new arrays costs more than the arithmetic."""

    def __init__(self, xp: Any, lines: Array) -> None:
        self.xp = xp
        self.products, self.other = xp.empty_like(lines[0, ...]), xp.empty_like(lines[0, ...])
        self.a, self.b, self.c = (xp.empty_like(lines[0, 0, :]) for _ in range(3))

    def squares(self, lines: Array) -> Array:
        """Squared length of each line."""
        found = self.xp.empty_like(lines[:, 0, :])
        for k in range(lines.shape[0]):
            self.dot(lines[k, ...], lines[k, ...], found[k, :])
        return found

    def dot(self, x: Array, y: Array, out: Array) -> None:
        """Inner product of two lines."""
        self.xp.multiply(x, y, out=self.products)
        out[...] = self.products[0, :]
        for k in range(1, x.shape[0]):
            out += self.products[k, :]

    def rotate(self, x: Array, y: Array, xx: Array, yy: Array) -> None:
        """Make two lines orthogonal: t = 2 x.y / (d + sign(d) sqrt(d^2 + 4 (x.y)^2)), d = y.y - x.x."""
        xp, dot, t, root, twice = self.xp, self.a, self.b, self.c, self.other[0, :]
        self.dot(x, y, dot)
        xp.add(dot, dot, out=twice)
        xp.subtract(yy, xx, out=t)
        xp.multiply(t, t, out=root)
        xp.multiply(twice, twice, out=self.products[0, :])
        root += self.products[0, :]
        xp.sqrt(root, out=root)
        root += TINY
        xp.copysign(root, t, out=root)
        root += t
        xp.divide(twice, root, out=t)
        dot *= t
        xx -= dot
        yy += dot
        xp.multiply(t, t, out=root)
        root += 1.0
        xp.sqrt(root, out=root)
        xp.reciprocal(root, out=root)
        t *= root
        xp.multiply(x, t, out=self.products)
        xp.multiply(y, t, out=self.other)
        x *= root
        x -= self.other
        y *= root
        y += self.products


def _sorted(lengths: Array) -> Array:
    """The largest first, by exchanges of whole planes."""
    xp = namespace(lengths)
    for end in range(lengths.shape[0] - 1, 0, -1):
        for k in range(end):
            larger = xp.maximum(lengths[k, :], lengths[k + 1, :])
            lengths[k + 1, :] = xp.minimum(lengths[k, :], lengths[k + 1, :])
            lengths[k, :] = larger
    return lengths
