"""Distance from the nearest permutation.

Formula: min over permutation matrices P of norm_F(A - P)
How far the streams are from staying apart, in whatever order: 0 is ideal, as for the identity. Up to sqrt(n -
1) for doubly stochastic matrices, which is reached at full averaging, and without bound for others.
"""

from __future__ import annotations

from mhc_diag.maths.assignment import cheapest
from mhc_diag.maths.distances import plain_distance, root, scaled_distance
from mhc_diag.maths.namespace import namespace
from mhc_diag.records import Array

TITLE = "Distance from the nearest permutation"
FORMULA = "min over permutation matrices P of norm_F(A - P)"
IDEAL = 0.0
DEGREE = None
SCOPES = ("site",)
REFERENCE = "Kuhn 1955, the assignment problem"


def measure(matrix: Array) -> Array:
    """Distance of each matrix from the nearest permutation: (*B, n, n) to (*B). NaN where not all is finite.

    Example:
        >>> import numpy as np
        >>> float(measure(np.array([[0.0, 4.0], [1.0, 4.0]])))
        5.0
    """
    return plain_distance(_distance, matrix)


def scaled(mantissa: Array, exponent: Array) -> tuple[Array, Array]:
    """The same of mantissa * 2**exponent, as value and exponent.

    Example:
        >>> import numpy as np
        >>> scaled(2 * np.eye(1), np.array(3000.0))
        (np.float64(2.0), np.float64(3000.0))
    """
    return scaled_distance(_distance, mantissa, exponent)


def _distance(planes: Array, unit: Array) -> Array:
    return root(cheapest(_costs(planes, unit)))


def _costs(planes: Array, unit: Array) -> Array:
    """What it costs to give row i to column j: the squared distance of the row from that unit vector.

    Sums of squares and no differences of them, so that nothing cancels near a permutation.
    """
    xp = namespace(planes)
    squares = planes * planes
    zero = xp.zeros_like(squares[:, 0, :])
    before, after = [zero], [zero]
    for k in range(planes.shape[1] - 1):
        before.append(before[-1] + squares[:, k, :])
        after.append(after[-1] + squares[:, -1 - k, :])
    others = xp.stack([b + a for b, a in zip(before, reversed(after), strict=True)], axis=1)
    return others + (planes - unit) ** 2
