"""Distance from full averaging.

Formula: norm_F(A - J) / sqrt(n - 1), J = ones / n
How much of the differences between streams is left: 1 for the identity, which is ideal, and 0 once all
streams carry their average. From 0 up; above 1 the differences grow or the average is off. One stream alone
has no differences and scores 0.
"""

from __future__ import annotations

import math

from mhc_diag.maths.distances import frobenius, plain_distance, scaled_distance
from mhc_diag.maths.namespace import namespace
from mhc_diag.records import Array

TITLE = "Distance from full averaging"
FORMULA = "norm_F(A - J) / sqrt(n - 1), J = ones / n"
IDEAL = 1.0
DEGREE = None
REFERENCE = "the Frobenius norm of I - J is sqrt(n - 1)"


def measure(matrix: Array) -> Array:
    """Distance of each matrix from full averaging: (*B, n, n) to (*B). NaN where an entry is not finite.

    Example:
        >>> import numpy as np
        >>> float(measure(np.array([[0.75, 0.25], [0.25, 0.75]])))
        0.5
    """
    return plain_distance(_distance, matrix)


def scaled(mantissa: Array, exponent: Array) -> tuple[Array, Array]:
    """The same of mantissa * 2**exponent, as value and exponent.

    Example:
        >>> import numpy as np
        >>> value, exponent = scaled(np.eye(5), np.array(3000.0))
        >>> round(float(value), 12) == round(5**0.5 / 2, 12), float(exponent)
        (True, 3000.0)
    """
    return scaled_distance(_distance, mantissa, exponent)


def _distance(planes: Array, unit: Array) -> Array:
    xp = namespace(planes)
    n = planes.shape[0]
    if n == 1:
        return xp.zeros_like(unit)
    return frobenius(planes - unit / n) / math.sqrt(n - 1)
