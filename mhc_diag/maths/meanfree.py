"""What a mixing matrix does to the differences between streams."""

from __future__ import annotations

import math

from mhc_diag.maths.namespace import namespace
from mhc_diag.records import Array

AT_ONCE = 8  # streams up to which one product with a matrix n^2 x (n-1)^2 is cheaper than two per matrix


def helmert(streams: int) -> list[list[float]]:
    """An orthonormal basis of the mean-free vectors, one a row: n - 1 rows of n.

    Formula: row k is (1, .., 1, -k, 0, .., 0) / sqrt(k (k + 1)), with k ones.

    Example:
        >>> [[round(x, 6) for x in row] for row in helmert(3)]
        [[0.707107, -0.707107, 0.0], [0.408248, 0.408248, -0.816497]]
    """
    return [
        [x / math.sqrt(k * (k + 1)) for x in [1.0] * k + [-float(k)] + [0.0] * (streams - k - 1)]
        for k in range(1, streams)
    ]


def mean_free(matrix: Array) -> Array:
    """Each matrix (*B, n, n) on the mean-free subspace (*B, n - 1, n - 1), in the basis of Helmert.

    Formula: Q A Q^T, Q the basis. NaN throughout where an entry is not finite.

    Example:
        >>> import numpy as np
        >>> mean_free(np.array([[0.75, 0.25], [0.25, 0.75]])).round(12).tolist()
        [[0.5]]
    """
    xp = namespace(matrix)
    n = matrix.shape[-1]
    finite = xp.isfinite(matrix)
    if not bool(xp.all(finite)):
        finite = xp.all(finite, axis=(-2, -1))[..., None, None]
        made = mean_free(xp.where(finite, matrix, xp.zeros_like(matrix)))
        return xp.where(finite, made, xp.full_like(made, float("nan")))
    basis = helmert(n)
    if n > AT_ONCE:
        q = xp.asarray(basis, dtype=matrix.dtype, device=matrix.device)
        return xp.matmul(xp.matmul(q, matrix), xp.matrix_transpose(q))
    pairs = [[p * q for p in row for q in column] for row in basis for column in basis]
    weights = xp.asarray(pairs, dtype=matrix.dtype, device=matrix.device)
    weights = xp.reshape(weights, ((n - 1) ** 2, n * n))  # of one stream too, where there are no rows
    made = xp.matmul(xp.reshape(matrix, (-1, n * n)), xp.matrix_transpose(weights))
    return xp.reshape(made, (*matrix.shape[:-2], n - 1, n - 1))
