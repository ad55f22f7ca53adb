"""The depth kernel: with which weight each branch's output reaches the input of each later branch.

L sites, T tokens, n streams. Unlike a composite gain it does not change if the streams are expressed in
another basis, x -> A x: then M becomes A M A^-1, h becomes h A^-1 and p becomes A p.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mhc_diag.maths import statistics
from mhc_diag.maths.namespace import namespace
from mhc_diag.maths.products import (
    BITS_BETWEEN_RESCALINGS,
    SITES_BETWEEN_RESCALINGS,
    bits_lost,
    rescale,
)
from mhc_diag.records import Array, Scaled


def depth_kernel(matrices: Array, pre: Array, post: Array, reads_from: Sequence[int] = ()) -> Array:
    """The whole kernel of every token, in float64: infinite or 0 where a number does not fit.

    Formula: K[k, j] = h_k M_{k-1} ... M_{j+1} p_j for j < k, and 0 elsewhere.

    Args:
        matrices: (L, T, n, n), out x in.
        pre: h, (L, T, n), how each branch reads the streams.
        post: p, (L, T, n), how its output is written to them.
        reads_from: (L), the site whose incoming streams each branch reads, none after its own; its own if
            empty. Where branch k reads those of site r, K[k, j] is h_k M_{r-1} ... M_{j+1} p_j for j < r.

    Returns:
        (T, L, L), NaN where h or p is.

    Example:
        >>> import numpy as np
        >>> half, ones = np.full((3, 1, 1, 1), 0.5), np.ones((3, 1, 1))
        >>> depth_kernel(half, ones, ones)[0].tolist()
        [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, 1.0, 0.0]]
    """
    xp = namespace(matrices)
    depth, tokens = int(matrices.shape[0]), int(matrices.shape[1])
    made = xp.zeros((tokens, depth, depth), dtype=xp.float64, device=matrices.device)
    for k, value, exponent in kernel_rows(matrices, pre, post, reads_from):
        made[:, k, : value.shape[1]] = statistics.plain(value, exponent)
    return made


def kernel_rows(
    matrices: Array, pre: Array, post: Array, reads_from: Sequence[int] = ()
) -> Iterator[tuple[int, Array, Array]]:
    """The same branch by branch, as numbers and exponents that no depth can overflow.

    The directions of all branches so far are carried from site to site side by side.

    Yields:
        k, and K[k, j] for all j that can reach it as value * 2**exponent, each (T, j).

    Example:
        >>> import numpy as np
        >>> double, ones = np.full((2000, 1, 1, 1), 2.0), np.ones((2000, 1, 1))
        >>> *_, (k, value, exponent) = kernel_rows(double, ones, ones)
        >>> k, float(value[0, 0]), float(exponent[0, 0])  # 2**1998 does not fit a float64
        (1999, 1.0, 1998.0)
    """
    xp = namespace(matrices)
    depth = int(matrices.shape[0])
    sources = list(reads_from) or list(range(depth))
    carried: Scaled | None = None  # (T, j, n, 1) and (T, j)
    since, bits = 0, 0.0
    for site in range(depth):
        for k in (k for k in range(depth) if sources[k] == site and carried is not None):
            assert carried is not None
            yield k, *_read(xp.astype(pre[k, ...], xp.float64), carried)
        own = rescale(xp.astype(matrices[site, ...], xp.float64))
        written = rescale(xp.astype(post[site, ...], xp.float64)[:, None, :, None])
        if carried is None:
            carried = written
            continue
        since, bits = since + 1, bits + bits_lost(own.mantissa[None, ...])[0]
        if since >= SITES_BETWEEN_RESCALINGS or bits >= BITS_BETWEEN_RESCALINGS:
            carried, since, bits = rescale(carried.mantissa, carried.exponent), 0, 0.0
        mixed = xp.matmul(own.mantissa[:, None, ...], carried.mantissa)
        carried = Scaled(
            xp.concat([mixed, written.mantissa], axis=1),
            xp.concat([carried.exponent + own.exponent[:, None], written.exponent], axis=1),
        )


def _read(row: Array, carried: Scaled) -> tuple[Array, Array]:
    """H v for rows h (T, n) and columns v (T, j, n, 1)."""
    own = rescale(row[:, None, :])
    even = rescale(carried.mantissa, carried.exponent)
    xp = namespace(row)
    value = xp.matmul(own.mantissa[:, None, ...], even.mantissa)[..., 0, 0]
    return value, even.exponent + own.exponent[:, None]
