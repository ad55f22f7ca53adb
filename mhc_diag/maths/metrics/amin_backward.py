"""Amin gain, backward.

Formula: min_j abs(sum_i A_ij)
How much is left of a gradient that is equal in all streams, in the stream that keeps least of it: what the
Amax gain cannot see. 1 is ideal, 0 means that a stream has lost it all. From 0 to the Amax gain.
"""

from __future__ import annotations

from mhc_diag.maths.namespace import namespace
from mhc_diag.maths.planes import over_blocks
from mhc_diag.records import Array

TITLE = "Amin gain, backward"
FORMULA = "min_j abs(sum_i A_ij)"
IDEAL = 1.0
DEGREE = 1
REFERENCE = "the counterpart of the Amax gain, arXiv 2512.24880, section 3.1"


def measure(matrix: Array) -> Array:
    """Amin gain, backward of each matrix: (*B, n, m) to (*B). NaN where an entry is not finite.

    Example:
        >>> import numpy as np
        >>> float(measure(np.array([[5.0, -5.0], [0.0, 1.0]])))
        4.0
    """
    xp = namespace(matrix)
    return over_blocks(lambda planes: xp.min(xp.abs(xp.sum(planes, axis=0)), axis=0), matrix)
