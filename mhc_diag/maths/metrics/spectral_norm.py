"""Spectral norm.

Formula: largest singular value of A
The worst case over all signals and gradients in the Euclidean norm: 1 is ideal. From 0 up. Where sweeps over
planes do not pay it is the root of the largest eigenvalue of A^T A, which is as exact as a singular value
decomposition for the largest one and twice as fast.
"""

from __future__ import annotations

from mhc_diag.maths.namespace import namespace
from mhc_diag.maths.singular import singular_values, sweeps_pay
from mhc_diag.records import Array

TITLE = "Spectral norm"
FORMULA = "largest singular value of A"
IDEAL = 1.0
DEGREE = 1
REFERENCE = "Horn and Johnson, Matrix Analysis, 5.6.6"


def measure(matrix: Array) -> Array:
    """Spectral norm of each matrix: (*B, n, m) to (*B). NaN where an entry is not finite.

    Example:
        >>> import numpy as np
        >>> round(float(measure(np.array([[5.0, -5.0], [0.0, 1.0]]))), 9)
        7.106686957
    """
    if sweeps_pay(matrix, widest=4):
        return of_singular_values(singular_values(matrix))
    xp = namespace(matrix)
    finite = xp.all(xp.isfinite(matrix), axis=(-2, -1))  # LAPACK may not return from a NaN
    safe = xp.where(finite[..., None, None], matrix, xp.zeros_like(matrix))
    square = xp.linalg.eigvalsh(xp.matmul(xp.matrix_transpose(safe), safe))[..., -1]
    norm = xp.sqrt(xp.where(square > 0, square, xp.zeros_like(square)))
    return xp.where(finite, norm, xp.full_like(norm, float("nan")))


def of_singular_values(values: Array) -> Array:
    """The same from the singular values, the largest first: (*B, k) to (*B).

    Example:
        >>> import numpy as np
        >>> float(of_singular_values(np.array([3.0, 2.0])))
        3.0
    """
    return values[..., 0]
