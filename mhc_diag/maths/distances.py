"""Distances between A = mantissa * 2**exponent and a fixed matrix, where A itself may not fit a float."""

from __future__ import annotations

from collections.abc import Callable

from mhc_diag.maths.namespace import namespace
from mhc_diag.maths.planes import over_blocks
from mhc_diag.maths.statistics import plain
from mhc_diag.records import Array

Distance = Callable[[Array, Array], Array]
"""From planes (n, n, B) and the size of one unit (B) to a distance (B) in the planes' own scale."""


def scaled_distance(distance: Distance, mantissa: Array, exponent: Array) -> tuple[Array, Array]:
    """A distance of mantissa * 2**exponent as value and exponent, right at any exponent.

    Formula: A and the target are both divided by 2**e, e = max(exponent, 0); what underflows then is too
    small to matter beside the other.

    Args:
        distance: of planes A / 2**e from a target whose unit is 2**-e.
        mantissa: (*B, n, n).
        exponent: (*B), whole numbers.

    Example:
        >>> import numpy as np
        >>> from_two = lambda planes, unit: abs(planes[0, 0] - 2 * unit)
        >>> scaled_distance(from_two, np.ones((1, 1)), np.array(3.0))
        (np.float64(0.75), np.float64(3.0))
    """
    xp = namespace(mantissa)

    def measure(planes: Array, exponent: Array) -> Array:
        planes, unit, top = _together(planes, exponent)
        return xp.stack([distance(planes, unit), top])

    pair = over_blocks(measure, mantissa, exponent)
    return pair[..., 0][()], pair[..., 1][()]


def plain_distance(distance: Distance, matrix: Array) -> Array:
    """The same of matrices as they are (*B, n, n) to (*B).

    Example:
        >>> import numpy as np
        >>> float(plain_distance(lambda planes, unit: abs(planes[0, 0] - 2 * unit), np.ones((1, 1))))
        1.0
    """
    xp = namespace(matrix)
    return plain(*scaled_distance(distance, matrix, xp.zeros_like(matrix[..., 0, 0])))


def root(squares: Array) -> Array:
    """Square root, with slope 0 at 0 instead of an infinite one.

    Example:
        >>> import numpy as np
        >>> root(np.array([4.0, 0.0])).tolist()
        [2.0, 0.0]
    """
    xp = namespace(squares)
    positive = squares > 0
    return xp.where(positive, xp.sqrt(xp.where(positive, squares, xp.ones_like(squares))), squares)


def frobenius(planes: Array) -> Array:
    """Frobenius norm of planes (n, m, B) to (B).

    Example:
        >>> import numpy as np
        >>> frobenius(np.full((2, 2, 1), 3.0)).tolist()
        [6.0]
    """
    xp = namespace(planes)
    return root(xp.sum(planes * planes, axis=(0, 1)))


def _together(planes: Array, exponent: Array) -> tuple[Array, Array, Array]:
    """Planes and unit divided by 2**e, and e."""
    xp = namespace(planes)
    largest = xp.max(xp.abs(planes), axis=(0, 1))
    zero = largest == 0  # whatever its exponent
    exponent = xp.where(zero, xp.zeros_like(exponent), exponent)
    safe = float(xp.finfo(planes.dtype).max) ** 0.25  # whose square has room for sums
    if not bool(xp.all(zero | ((largest < safe) & (largest > 1 / safe)))):
        bits = xp.floor(xp.log2(xp.where(zero, xp.ones_like(largest), largest)))
        half = xp.floor(bits / 2)  # a power of two that divides the least of floats overflows
        planes = planes * _power(-half) * _power(half - bits)
        exponent = exponent + bits
    if not bool(xp.any(exponent != 0)):
        return planes, xp.ones_like(exponent), exponent
    top = xp.clip(exponent, 0.0, None)
    return planes * _power(exponent - top), _power(-top), top


def _power(bits: Array) -> Array:
    xp = namespace(bits)
    return xp.pow(xp.full_like(bits, 2.0), bits)
