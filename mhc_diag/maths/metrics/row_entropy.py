"""Entropy of the rows.

Formula: mean_i -sum_j p_ij ln p_ij, p = abs(A_ij) / sum_j abs(A_ij)
From how many streams an output stream reads, as a logarithm: 0 where each reads one, as in the identity,
which is ideal, and ln n at full averaging. From 0 to ln n, in nats. A row of zeros reads nothing and counts
0.
"""

from __future__ import annotations

from mhc_diag.maths.namespace import namespace
from mhc_diag.maths.planes import over_blocks
from mhc_diag.records import Array

TITLE = "Entropy of the rows"
FORMULA = "mean_i -sum_j p_ij ln p_ij, p = abs(A_ij) / sum_j abs(A_ij)"
IDEAL = 0.0
DEGREE = 0
SCOPES = ("site",)
REFERENCE = "Shannon 1948"


def measure(matrix: Array) -> Array:
    """Entropy of the rows of each matrix: (*B, n, m) to (*B). NaN where an entry is not finite.

    Example:
        >>> import numpy as np
        >>> round(float(np.exp(measure(np.array([[0.5, -0.5], [2.0, 2.0]])))), 12)
        2.0
    """
    xp = namespace(matrix)

    def entropy(planes: Array) -> Array:
        sizes = xp.abs(planes)
        total = xp.sum(sizes, axis=1, keepdims=True)
        share = sizes / xp.where(total == 0, xp.ones_like(total), total)
        terms = share * xp.log(xp.where(share == 0, xp.ones_like(share), share))
        return xp.abs(xp.sum(terms, axis=(0, 1))) / planes.shape[0]  # each is 0 or below

    return over_blocks(entropy, matrix)
