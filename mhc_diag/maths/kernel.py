"""The depth kernel: with which weight the output of one branch reaches the input of a later one.

L sites, T tokens, n streams. It does not depend on the basis of the streams, as the gain of a composite does:
with x -> A x, h -> h A^-1, p -> A p and M -> A M A^-1 it stays what it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from mhc_diag.maths.blocks import total
from mhc_diag.maths.namespace import namespace
from mhc_diag.maths.products import rescale
from mhc_diag.maths.statistics import log10, plain
from mhc_diag.records import Array, MetricCard

CARD = MetricCard(
    name="depth_kernel",
    title="Depth kernel",
    formula="abs(K_kj), K_kj = h_k M_{k-1} ... M_{j+1} p_j: weight with which what branch j puts out reaches "
    "what branch k takes in",
    ideal=1.0,
    degree=None,
    reference="gauge-invariant: the same in every basis of the streams",
)
STATISTICS = ("mean", "max")
SAFE = 2.0**400
"""Columns up to here, and down to its inverse, go on as they are."""

Pair = tuple[Array, Array]


def depth_kernel(matrices: Array, pre: Array, post: Array, reads_from: Sequence[int] = ()) -> Pair:
    """The whole kernel of every token, for stacks of moderate depth; `kernel_rows` gives it row by row.

    Args:
        matrices: (L, T, n, n), out x in.
        pre: (L, T, n), h: how branches read the streams.
        post: (L, T, n), p: how they are written to them.
        reads_from: (L), the site whose incoming streams each branch reads; its own if empty.

    Returns:
        (value, exponent), each (T, L, L), for K_kj = value[:, k, j] * 2**exponent[:, k, j]; 0 where no path
        leads from j to k. NaN where h_k or p_j is.

    Example:
        >>> import numpy as np
        >>> ones = np.ones((3, 1, 1))
        >>> value, exponent = depth_kernel(np.full((3, 1, 1, 1), 2.0), ones, ones)
        >>> (value * 2.0**exponent)[0].tolist()
        [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [2.0, 1.0, 0.0]]
    """
    xp = namespace(matrices)
    depth, tokens = matrices.shape[:2]
    kind = {"dtype": xp.float64, "device": matrices.device}
    value, exponent = xp.zeros((tokens, depth, depth), **kind), xp.zeros((tokens, depth, depth), **kind)
    for k, (mantissas, exponents) in kernel_rows(matrices, pre, post, reads_from):
        value[:, k, :k] = xp.permute_dims(mantissas, (1, 0))
        exponent[:, k, :k] = xp.permute_dims(exponents, (1, 0))
    return value, exponent


def kernel_rows(
    matrices: Array, pre: Array, post: Array, reads_from: Sequence[int] = ()
) -> Iterator[tuple[int, Pair]]:
    """The rows of the kernel, in the order in which the branches read.

    The columns M_{k-1} ... M_{j+1} p_j of all j go from site to site together, n^2 operations each; powers of
    two are kept apart so that none over- or underflows. What lies 300 orders of magnitude below another
    stream of the same column may be lost.

    Args:
        matrices: see `depth_kernel`.
        pre: likewise.
        post: likewise.
        reads_from: likewise.

    Yields:
        k, and (value, exponent), each (k, T), of K_k0 to K_k(k-1).

    Example:
        >>> import numpy as np
        >>> ones = np.ones((2000, 1, 1))
        >>> *_, (k, (value, exponent)) = kernel_rows(np.full((2000, 1, 1, 1), 2.0), ones, ones)
        >>> k, float(np.log2(value[0, 0]) + exponent[0, 0])  # 2**1998 does not fit a float64
        (1999, 1998.0)
    """
    xp = namespace(matrices)
    depth = int(matrices.shape[0])
    columns = _Columns(matrices)
    readers: dict[int, list[int]] = {}
    for k in range(depth):
        readers.setdefault(reads_from[k] if len(reads_from) else k, []).append(k)
    for site in range(depth):
        for k in readers.get(site, ()):
            yield k, columns.read(pre[k, ...], site, k)
        own = rescale(xp.astype(matrices[site, ...], xp.float64))
        columns.step(own.mantissa, own.exponent, site)
        columns.put(post[site, ...], site)


class _Columns:
    """The columns of all branches so far, with streams first and tokens last, as mantissas and exponents."""

    def __init__(self, matrices: Array) -> None:
        self.xp = xp = namespace(matrices)
        depth, tokens, n, _ = matrices.shape
        kind = {"dtype": xp.float64, "device": matrices.device}
        self.vectors = xp.zeros((n, depth, tokens), **kind)
        self.exponents = xp.zeros((depth, tokens), **kind)
        self.unknown = xp.zeros((depth, tokens), dtype=xp.bool, device=matrices.device)

    def put(self, post: Array, site: int) -> None:
        """Begin the column of a site; an unknown one is 0 on its way and NaN where it is read."""
        xp = self.xp
        column = xp.astype(post, xp.float64)
        unknown = xp.any(xp.isnan(column), axis=-1)
        column = rescale(xp.where(unknown[:, None], xp.zeros_like(column), column)[:, None, :])
        self.vectors[:, site, :] = xp.permute_dims(column.mantissa[:, 0, :], (1, 0))
        self.exponents[site, :] = column.exponent
        self.unknown[site, :] = unknown

    def step(self, matrix: Array, exponent: Array, count: int) -> None:
        """Multiply the matrices of a site (T, n, n) onto the first so many columns."""
        xp = self.xp
        if not count:
            return
        planes, old = xp.permute_dims(matrix, (1, 2, 0)), self.vectors[:, :count, :]
        new = xp.stack(
            [
                total([planes[i, j, :][None, :] * old[j, ...] for j in range(planes.shape[1])])
                for i in range(planes.shape[0])
            ]
        )
        self.exponents[:count, :] += exponent[None, :]
        largest = xp.max(xp.abs(new), axis=0)
        if bool(xp.any((largest > SAFE) | ((largest < 1 / SAFE) & (largest > 0)))):
            scaled = rescale(xp.permute_dims(new, (1, 2, 0))[..., None, :], self.exponents[:count, :])
            new = xp.permute_dims(scaled.mantissa[..., 0, :], (2, 0, 1))
            self.exponents[:count, :] = scaled.exponent
        self.vectors[:, :count, :] = new

    def read(self, pre: Array, written: int, count: int) -> Pair:
        """What a row (T, n) reads of the columns written so far, and 0 of those from there to `count`."""
        xp = self.xp
        row = rescale(xp.astype(pre, xp.float64)[:, None, :])
        planes = xp.permute_dims(row.mantissa[:, 0, :], (1, 0))
        value = total([planes[i, :][None, :] * self.vectors[i, :written, :] for i in range(planes.shape[0])])
        value = xp.where(self.unknown[:written, :], xp.full_like(value, math.nan), value)
        exponent = self.exponents[:written, :] + row.exponent[None, :]
        rest = xp.zeros((count - written, value.shape[1]), dtype=xp.float64, device=value.device)
        rest = rest + 0 * planes[0, :][None, :]  # NaN where the row is
        return xp.concat([value, rest], axis=0), xp.concat([exponent, xp.zeros_like(rest)], axis=0)


def over_tokens(matrices: Array, pre: Array, post: Array, reads_from: Sequence[int] = ()) -> dict[str, Array]:
    """log10 of abs(K) over the tokens for which h and p are known.

    Args:
        matrices: see `depth_kernel`.
        pre: likewise; NaN where it is not known.
        post: likewise; NaN where it is not known.
        reads_from: likewise.

    Returns:
        By statistic (mean, max): (L, L), entry [j, k] for K_kj; -inf for 0, NaN where j >= k and where h_k or
        p_j is not known for any token. A matrix with a NaN on the way makes it NaN too.

    Example:
        >>> import numpy as np
        >>> ones = np.ones((3, 1, 1))
        >>> over_tokens(np.full((3, 1, 1, 1), 10.0), ones, ones)["max"].round(12)
        array([[nan,  0.,  1.],
               [nan, nan,  0.],
               [nan, nan, nan]])
    """
    xp = namespace(matrices)
    depth = int(matrices.shape[0])
    kind = {"dtype": xp.float64, "device": matrices.device}
    found = {name: xp.full((depth, depth), math.nan, **kind) for name in STATISTICS}
    no_row, no_column = xp.any(xp.isnan(pre), axis=-1), xp.any(xp.isnan(post), axis=-1)
    for k, (value, exponent) in kernel_rows(matrices, pre, post, reads_from):
        known = xp.logical_not(no_row[k, ...][None, :] | no_column[:k, :])
        for name, row in _summaries(xp.abs(value), exponent, known).items():
            found[name][:k, k] = row
    return found


def _summaries(value: Array, exponent: Array, known: Array) -> dict[str, Array]:
    """log10 of mean and largest of value * 2**exponent (k, T) over the known ones of each line."""
    xp = namespace(value)
    count = xp.sum(xp.astype(known, xp.float64), axis=-1)
    value = xp.where(known, value, xp.zeros_like(value))
    usable = xp.isfinite(value) & (value > 0)
    bits = xp.floor(xp.log2(xp.where(usable, value, xp.ones_like(value))))
    sizes = xp.where(usable, bits + exponent, xp.full_like(bits, -math.inf))
    top = xp.max(sizes, axis=-1)
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    near = plain(plain(value, -bits), xp.where(usable, sizes - top[:, None], xp.zeros_like(bits)))
    made = {"mean": xp.sum(near, axis=-1) / xp.where(count > 0, count, 1.0), "max": xp.max(near, axis=-1)}
    logs = {name: log10(number, top) for name, number in made.items()}
    return {name: xp.where(count > 0, log, xp.full_like(log, math.nan)) for name, log in logs.items()}
