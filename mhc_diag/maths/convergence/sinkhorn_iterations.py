"""Iterations that Sinkhorn needs.

Formula: least k with max_j abs(sum_i M_ij - 1) <= 1e-6 after k iterations
How often columns and then rows are normalised, from exp(L), until the columns hold too. 1 is ideal; a model
that does 20 and needs more mixes with columns that do not sum to 1. Counted up to 100 and predicted beyond,
from the rate and the last two errors; infinite where it never converges to rounding.
"""

from __future__ import annotations

from mhc_diag.maths.iterations import iterations
from mhc_diag.maths.namespace import namespace
from mhc_diag.records import Array

TITLE = "Iterations that Sinkhorn needs"
FORMULA = "least k with max_j abs(sum_i M_ij - 1) <= 1e-6 after k iterations"
IDEAL = 1.0
REFERENCE = "Sinkhorn and Knopp 1967; Knight 2008"


def measure(logits: Array) -> Array:
    """Iterations that Sinkhorn needs on each exp(logits): (*B, n, n) to (*B). NaN where one is not finite.

    Example:
        >>> import numpy as np
        >>> float(measure(np.array([[2.0, 0.0], [0.5, 1.0]])))
        11.0
    """
    xp = namespace(logits)
    return xp.astype(iterations(logits), logits.dtype)
