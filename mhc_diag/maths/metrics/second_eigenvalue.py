"""Second eigenvalue.

Formula: second largest abs(eigenvalue) of A
How fast the differences between streams die when the same matrix is applied site after site: 1 is ideal, and
each site leaves this share of the slowest difference. From 0 up. One stream alone has no second and scores 0.
"""

from __future__ import annotations

from mhc_diag.maths.namespace import namespace
from mhc_diag.records import Array

TITLE = "Second eigenvalue"
FORMULA = "second largest abs(eigenvalue) of A"
IDEAL = 1.0
DEGREE = 1
SCOPES = ("site",)
REFERENCE = "Seneta, Non-negative Matrices and Markov Chains, 1.2"


def measure(matrix: Array) -> Array:
    """Second eigenvalue of each matrix: (*B, n, n) to (*B). NaN where an entry is not finite.

    Example:
        >>> import numpy as np
        >>> round(float(measure(np.array([[0.75, 0.25], [0.25, 0.75]]))), 12)
        0.5
    """
    xp = namespace(matrix)
    finite = xp.all(xp.isfinite(matrix), axis=(-2, -1))
    safe = xp.where(finite[..., None, None], matrix, xp.zeros_like(matrix))
    if matrix.shape[-1] == 1:
        second = xp.zeros_like(matrix[..., 0, 0])
    else:
        second = xp.sort(xp.abs(xp.linalg.eigvals(safe)), axis=-1)[..., -2]
    return xp.where(finite, second, xp.full_like(second, float("nan")))
