"""Lyapunov exponents: growth rates of a product over depth, in nats per site, the whole spectrum.

Formula: Q_0 = I; Q_{l+1} R_l = M_l Q_l with R_l upper triangular, its diagonal positive; the k-th rate is the
mean over sites of ln (R_l)_kk (Benettin et al. 1980). Their sum is the mean of ln|det M_l|.

L sites, T tokens, n streams. Tokens are on the last axis, in planes (n, n, T), where a step of Gram-Schmidt
is one operation on whole planes: for many tokens several times as fast as one small QR after another. einsum
is not in the array API standard; both libraries have it, and saying it in the words of the standard takes
twice as long.
"""

from __future__ import annotations

import math

from mhc_diag.maths.meanfree import helmert
from mhc_diag.maths.namespace import contiguous, namespace
from mhc_diag.maths.products import rescale
from mhc_diag.records import Array

BLOCK = 32_768  # entries (n, n, T) at a time: they stay in cache
SITES = 8  # sites at a time: so many share the cost of a look at the result
STEEP = 1e-6  # a column that is a smaller share of its matrix lost digits that care gives back
EPSILON = 2.0**-52


def rates(matrices: Array, *, mean_first: bool = False) -> Array:
    """Growth rates of each token's own stack, in nats per site: (L, T, n, n) to (T, n), in float64.

    They fall from first to last but for the noise of a finite depth. A direction that the product does not
    carry, to the rounding of the entries that cancel in it, has -inf, and stands last. NaN where a token has
    an entry that is not finite.

    Example:
        >>> import numpy as np
        >>> stack = np.broadcast_to(np.array([[2.0, 3.0], [0.0, 0.5]]), (7, 1, 2, 2))
        >>> (rates(stack) / np.log(2)).round(12).tolist()
        [[1.0, -1.0]]
    """
    import numpy as np

    xp = namespace(matrices)
    tokens, n = int(matrices.shape[1]), int(matrices.shape[-1])
    step = max(64, BLOCK // n**2)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        starts = range(0, tokens, step)
        blocks = [_of_block(matrices[:, start : start + step, ...], mean_first) for start in starts]
    found = xp.concat(blocks, axis=0)
    lost = xp.isinf(found)
    if not bool(xp.any(lost)):
        return found
    order = xp.argsort(xp.astype(lost, xp.int8), axis=-1, stable=True)
    return found[xp.arange(tokens, device=found.device)[:, None], order]


def spectrum(rates: Array) -> tuple[Array, Array]:
    """Mean rates over tokens and their standard errors: (T, n) to twice (n).

    The errors are those of independent tokens; NaN for a single token, and where the mean is not finite.

    Example:
        >>> import numpy as np
        >>> mean, error = spectrum(np.array([[1.0, -1.0], [3.0, -np.inf]]))
        >>> mean.tolist(), error.tolist()
        ([2.0, -inf], [1.0, nan])
    """
    xp = namespace(rates)
    tokens = int(rates.shape[0])
    mean = xp.mean(rates, axis=0)
    usable = xp.isfinite(mean) & (tokens > 1)
    apart = xp.where(usable, rates, 0.0) - xp.where(usable, mean, 0.0)
    error = xp.sqrt(xp.sum(apart * apart, axis=0) / max(tokens - 1, 1) / tokens)
    return mean, xp.where(usable, error, math.nan)


def _of_block(matrices: Array, mean_first: bool) -> Array:
    """`rates` of as many tokens as fit the cache."""
    xp = namespace(matrices)
    depth, tokens, n, _ = matrices.shape
    like = {"dtype": xp.float64, "device": matrices.device}
    basis = xp.eye(n, **like)
    if mean_first:
        basis = xp.matrix_transpose(xp.asarray([[1 / math.sqrt(n)] * n, *helmert(n)], **like))
    basis = basis[:, :, None] + xp.zeros(tokens, **like)
    total = xp.zeros_like(basis[0, ...])
    for start in range(0, depth, SITES):
        sites = xp.astype(matrices[start : start + SITES, ...], xp.float64)
        after, logarithms, good = _quickly(sites, basis)
        if not good:
            after, logarithms = _with_care(sites, basis)
        basis, total = after, total + logarithms
    return xp.matrix_transpose(total) / depth


def _quickly(sites: Array, basis: Array) -> tuple[Array, Array, bool]:
    """Some sites (s, T, n, n): the basis after them, the sum of ln R_kk (n, T), and whether all went well.

    One Gram-Schmidt is enough: what a column keeps of those before it changes no later R_kk to first order.
    """
    xp = namespace(sites)
    planes, lengths = _planes(sites), []
    for i in range(sites.shape[0]):
        basis = xp.einsum("ijt,jkt->ikt", planes[i, ...], basis)
        for k in range(basis.shape[1]):
            column, later = basis[:, k, :], basis[:, k + 1 :, :]
            length = xp.sqrt(xp.einsum("it,it->t", column, column))
            column /= length
            if k + 1 < basis.shape[1]:
                later -= column[:, None, :] * xp.einsum("it,ikt->kt", column, later)
            lengths.append(length)
    found = xp.reshape(xp.stack(lengths), (sites.shape[0], *basis.shape[1:]))
    largest = xp.max(xp.abs(planes), axis=(1, 2))[:, None, :]
    good = (found > STEEP * largest) & (found > 1e-100) & (found < math.inf)  # squares fit, and no NaN
    return basis, xp.sum(xp.log(found), axis=0), bool(xp.all(good))


def _with_care(sites: Array, basis: Array) -> tuple[Array, Array]:
    """The same for entries of any size and columns that all but vanish.

    Columns are orthogonalised twice. One of which no entry is larger than the rounding of the terms that
    cancelled in it is lost: it becomes zero, and the columns after it go on without it.
    """
    xp = namespace(sites)
    scaled = rescale(sites)
    total = math.log(2) * xp.sum(scaled.exponent, axis=0)
    for planes in _planes(scaled.mantissa):
        rounding = basis.shape[0] * EPSILON * xp.einsum("ijt,jkt->ikt", xp.abs(planes), xp.abs(basis))
        basis = xp.einsum("ijt,jkt->ikt", planes, basis)
        lengths = _orthonormalise(basis, rounding)
        again = _orthonormalise(basis, xp.zeros_like(rounding))
        total = total + xp.log(lengths) + xp.log(again)
    return basis, total


def _orthonormalise(columns: Array, rounding: Array) -> Array:
    """Gram-Schmidt in place on the columns [:, k, :], of any length; those within `rounding` become zero."""
    xp = namespace(columns)
    lengths = []
    for k in range(columns.shape[1]):
        column, later = columns[:, k, :], columns[:, k + 1 :, :]
        top = xp.max(xp.abs(column), axis=0)
        unit = column / xp.where(top > 0, top, 1.0)
        length = top * xp.sqrt(xp.einsum("it,it->t", unit, unit))
        lost = xp.all(xp.abs(column) <= rounding[:, k, :], axis=0)
        column[...] = xp.where(lost, 0.0, unit * top / length)
        shares = xp.einsum("it,ikt->kt", column, later)
        later -= column[:, None, :] * shares
        error = xp.where(lost, 0.0, rounding[:, k, :] / length)
        rounding[:, k + 1 :, :] += error[:, None, :] * xp.abs(shares)
        lengths.append(xp.where(lost, 0.0, length))
    return xp.stack(lengths)


def _planes(matrices: Array) -> Array:
    """(s, T, n, n) to (s, n, n, T), in that order of memory."""
    xp = namespace(matrices)
    sites, tokens, n, _ = matrices.shape
    flat = xp.matrix_transpose(xp.reshape(matrices, (sites, tokens, n * n)))
    return xp.reshape(contiguous(flat), (sites, n, n, tokens))
