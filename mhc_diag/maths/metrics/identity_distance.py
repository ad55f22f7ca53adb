"""Distance from the identity.

Formula: norm_F(A - I)
How far the streams are from staying apart and as they are: 0 is ideal. Up to sqrt(2 n) for doubly stochastic
matrices, sqrt(n - 1) at full averaging, and without bound for others.
"""

from __future__ import annotations

from mhc_diag.maths.distances import frobenius, plain_distance, scaled_distance
from mhc_diag.maths.namespace import namespace
from mhc_diag.records import Array

TITLE = "Distance from the identity"
FORMULA = "norm_F(A - I)"
IDEAL = 0.0
DEGREE = None
REFERENCE = "Horn and Johnson, Matrix Analysis, 5.6"


def measure(matrix: Array) -> Array:
    """Distance of each matrix from the identity: (*B, n, n) to (*B). NaN where an entry is not finite.

    Example:
        >>> import numpy as np
        >>> float(measure(np.array([[4.0, 0.0], [4.0, 1.0]])))
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
    xp = namespace(planes)
    eye = xp.eye(planes.shape[0], dtype=planes.dtype, device=planes.device)
    return frobenius(planes - eye[..., None] * unit)
