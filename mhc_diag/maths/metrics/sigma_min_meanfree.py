"""Smallest gain of a difference.

Formula: smallest singular value of Q A Q, Q onto the mean-free vectors
What survives, in the worst case, of the differences between streams: 1 is ideal, 0 means that some difference
is averaged away for good. From 0 up. Below rounding of the largest entry it is rounding itself. One stream
alone has no differences and scores 0.
"""

from __future__ import annotations

from mhc_diag.maths.meanfree import mean_free
from mhc_diag.maths.namespace import namespace
from mhc_diag.maths.singular import singular_values
from mhc_diag.records import Array

TITLE = "Smallest gain of a difference"
FORMULA = "smallest singular value of Q A Q, Q onto the mean-free vectors"
IDEAL = 1.0
DEGREE = 1
REFERENCE = "Horn and Johnson, Matrix Analysis, 7.3; basis of Helmert 1876"


def measure(matrix: Array) -> Array:
    """Smallest gain of a difference of each matrix: (*B, n, n) to (*B). NaN where an entry is not finite.

    Example:
        >>> import numpy as np
        >>> round(float(measure(np.array([[0.75, 0.25], [0.25, 0.75]]))), 12)
        0.5
    """
    if matrix.shape[-1] == 1:
        xp, entry = namespace(matrix), matrix[..., 0, 0]
        return xp.where(xp.isfinite(entry), xp.zeros_like(entry), xp.full_like(entry, float("nan")))
    return singular_values(mean_free(matrix))[..., -1]
