"""Effective rank.

Formula: exp(-sum_k p_k ln p_k), p = singular values / their sum
How many independent streams the matrix still passes on: n is ideal, 1 means that all carry the same. From 1
to n, and 0 for the matrix of zeros, which passes on nothing.
"""

from __future__ import annotations

from mhc_diag.maths.namespace import namespace
from mhc_diag.maths.singular import singular_values
from mhc_diag.records import Array

TITLE = "Effective rank"
FORMULA = "exp(-sum_k p_k ln p_k), p = singular values / their sum"
IDEAL = "n"
DEGREE = 0
REFERENCE = "Roy and Vetterli 2007"


def measure(matrix: Array) -> Array:
    """Effective rank of each matrix: (*B, n, m) to (*B). NaN where an entry is not finite.

    Example:
        >>> import numpy as np
        >>> round(float(measure(np.diag([1.0, 1.0, 0.0]))), 12)
        2.0
    """
    return of_singular_values(singular_values(matrix))


def of_singular_values(values: Array) -> Array:
    """The same from the singular values, the largest first: (*B, k) to (*B).

    Example:
        >>> import numpy as np
        >>> float(of_singular_values(np.array([2.0, 2.0])).round(12))
        2.0
    """
    xp = namespace(values)
    values = xp.moveaxis(values, -1, 0)  # sums of whole planes are faster
    total = xp.sum(values, axis=0)
    zero = total == 0
    share = values / xp.where(zero, xp.ones_like(total), total)
    entropy = -xp.sum(share * xp.log(xp.where(share == 0, xp.ones_like(share), share)), axis=0)
    return xp.where(zero, xp.zeros_like(entropy), xp.exp(entropy))
