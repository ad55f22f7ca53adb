"""Marginal drift.

Formula: max over row and column sums s of abs(ln abs(s))
How far the gain of any stream is from 1, forward or backward, with 1.5 and 0.67 counted alike. 0 is ideal, as
in every doubly stochastic matrix; from 0 to infinity, which it is where a sum is 0.
"""

from __future__ import annotations

import math

from mhc_diag.maths.namespace import namespace
from mhc_diag.maths.planes import over_blocks
from mhc_diag.records import Array

TITLE = "Marginal drift"
FORMULA = "max over row and column sums s of abs(ln abs(s))"
IDEAL = 0.0
DEGREE = None
REFERENCE = "arXiv 2512.24880, Fig. 8, read on both sides of 1"


def measure(matrix: Array) -> Array:
    """Marginal drift of each matrix: (*B, n, m) to (*B). NaN where an entry is not finite.

    Example:
        >>> import numpy as np
        >>> round(float(measure(np.array([[0.5, 0.0], [0.0, 1.5]]))), 12) == round(float(np.log(2)), 12)
        True
    """
    xp = namespace(matrix)
    return scaled(matrix, xp.zeros_like(matrix[..., 0, 0]))[0]


def scaled(mantissa: Array, exponent: Array) -> tuple[Array, Array]:
    """The same of mantissa * 2**exponent, as value and exponent; the exponent is 0.

    Example:
        >>> import numpy as np
        >>> value, exponent = scaled(np.eye(2), np.array(3000.0))
        >>> round(float(value / np.log(2))), float(exponent)
        (3000, 0.0)
    """
    xp = namespace(mantissa)

    def drift(planes: Array, exponent: Array) -> Array:
        sums = xp.abs(xp.concat([xp.sum(planes, axis=0), xp.sum(planes, axis=1)]))
        least, most = xp.min(sums, axis=0), xp.max(sums, axis=0)
        one, up = xp.ones_like(least), exponent * math.log(2)
        low = xp.abs(xp.log(xp.where(least > 0, least, one)) + up)
        high = xp.abs(xp.log(xp.where(most > 0, most, one)) + up)
        return xp.where(least > 0, xp.maximum(low, high), xp.full_like(least, math.inf))

    return over_blocks(drift, mantissa, exponent), xp.zeros_like(exponent)
