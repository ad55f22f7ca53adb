"""Range of the logits.

Formula: log(1 / nu) = max_ij L_ij - min_ij L_ij
How far apart the logits of a matrix are: nu is the ratio of the smallest to the largest entry of exp(L),
which Sinkhorn starts from. 0 is full averaging and learns best; from about 30 the mixing is dead, because the
gradient of its smallest entries is below rounding. From 0 up.
"""

from __future__ import annotations

from mhc_diag.maths.namespace import namespace
from mhc_diag.maths.planes import over_blocks
from mhc_diag.records import Array

TITLE = "Range of the logits"
FORMULA = "max_ij L_ij - min_ij L_ij"
IDEAL = 0.0
REFERENCE = "Franklin and Lorenz 1989"


def measure(logits: Array) -> Array:
    """Range of the logits of each matrix: (*B, n, n) to (*B). NaN where a logit is not finite.

    Example:
        >>> import numpy as np
        >>> float(measure(np.array([[8.0, 0.0], [-8.0, 8.0]])))
        16.0
    """
    xp = namespace(logits)
    return over_blocks(lambda planes: xp.max(planes, axis=(0, 1)) - xp.min(planes, axis=(0, 1)), logits)
