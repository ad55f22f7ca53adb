"""Convergence rate of Sinkhorn.

Formula: sigma_2^2, sigma_2 the second singular value of the limit
By what each further iteration multiplies the error of the marginals, once it is small: 0 converges at once,
and at 0.94 twenty iterations leave 0.3 of it. From 0 to 1, which it is to rounding where the limit falls
apart into streams that do not mix. The limit is found by Newton's method, which has 300 steps: finite logits
up to +-1e4 take a few dozen, and what would need more is measured as it is then.
"""

from __future__ import annotations

from mhc_diag.maths.limits import rate
from mhc_diag.maths.namespace import namespace
from mhc_diag.records import Array

TITLE = "Convergence rate of Sinkhorn"
FORMULA = "sigma_2^2, sigma_2 the second singular value of the limit"
IDEAL = 0.0
REFERENCE = "Knight 2008, theorem 4.4"


def measure(logits: Array) -> Array:
    """Convergence rate of Sinkhorn on each exp(logits): (*B, n, n) to (*B). NaN where a logit is not finite.

    Example:
        >>> import numpy as np
        >>> round(float(measure(np.array([[2.0, 0.0], [0.5, 1.0]]))), 10)
        0.307580852
    """
    xp = namespace(logits)
    return xp.astype(rate(logits), logits.dtype)
