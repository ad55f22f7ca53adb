"""Row residual.

Formula: max_i abs(sum_j A_ij - 1)
How far the matrix is from keeping a signal that is equal in all streams: 0 is ideal. Sinkhorn leaves rounding
alone on the axis that it normalises last, and on the other what it has not converged. From 0 up.
"""

from __future__ import annotations

from mhc_diag.maths.distances import plain_distance, scaled_distance
from mhc_diag.maths.namespace import namespace
from mhc_diag.records import Array

TITLE = "Row residual"
FORMULA = "max_i abs(sum_j A_ij - 1)"
IDEAL = 0.0
DEGREE = None
SCOPES = ("site",)
REFERENCE = "Sinkhorn and Knopp 1967"


def measure(matrix: Array) -> Array:
    """Row residual of each matrix: (*B, n, n) to (*B). NaN where an entry is not finite.

    Example:
        >>> import numpy as np
        >>> float(measure(np.array([[0.5, 0.75], [0.0, 1.0]])))
        0.25
    """
    return plain_distance(_distance, matrix)


def scaled(mantissa: Array, exponent: Array) -> tuple[Array, Array]:
    """The same of mantissa * 2**exponent, as value and exponent.

    Example:
        >>> import numpy as np
        >>> scaled(np.eye(2), np.array(3000.0))
        (np.float64(1.0), np.float64(3000.0))
    """
    return scaled_distance(_distance, mantissa, exponent)


def _distance(planes: Array, unit: Array) -> Array:
    xp = namespace(planes)
    return xp.max(xp.abs(xp.sum(planes, axis=1) - unit), axis=0)
