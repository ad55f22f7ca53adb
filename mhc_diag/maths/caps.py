"""What the row and column sums of a mixing matrix cannot exceed, whatever the input.

A dynamic site computes its logits from the streams, so its matrix is not known before. But each logit stays
within a known distance of its static part, and that bounds the sums, and with them the gains of composites.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from mhc_diag.records import Caps


def identity_caps(sites: int) -> Caps:
    """The bounds of sites that do not mix.

    Example:
        >>> identity_caps(2).rows.tolist()
        [1.0, 1.0]
    """
    return Caps(np.ones(sites), np.ones(sites))


def doubly_stochastic_caps(sites: int) -> Caps:
    """The bounds of matrices that are doubly stochastic by construction, without iterations.

    Example:
        >>> doubly_stochastic_caps(2).columns.tolist()
        [1.0, 1.0]
    """
    return Caps(np.ones(sites), np.ones(sites))


def composite_bound(log_first: Any, log_other: Any, streams: int) -> np.ndarray[Any, Any]:
    """Bounds on the gain of every composite in a scope, in natural logarithms.

    Formula: the product of the bounds of its sites; or n times the product of their bounds along the other
    axis, as no row sum exceeds n times the largest column sum; whichever is smaller.

    Args:
        log_first: (L,), sums over the sites of each composite of ln of their bounds along one axis.
        log_other: (L,), the same along the other axis.
        streams: n.

    Example:
        >>> composite_bound(np.array([9.0]), np.array([0.0]), 4).round(4).tolist()
        [1.3863]
    """
    return np.fmin(log_first, math.log(streams) + log_other)


def largest_product(logs: Any) -> float:
    """The largest product of neighbouring bounds: what no composite of any part of the stack exceeds.

    Args:
        logs: (L,), their natural logarithms.

    Returns:
        Its natural logarithm; 0 where the empty product is the largest.

    Example:
        >>> round(math.exp(largest_product(np.log([2.0, 0.25, 3.0, 1.5]))), 6)
        4.5
    """
    best = running = 0.0
    for step in np.asarray(logs, np.float64).tolist():
        running = max(0.0, running + step) if running < math.inf else running
        best = max(best, running)
    return best


def entrywise_caps(matrices: Any, reach: Any) -> Caps:
    """The bounds of matrices each of whose entries lies within a distance of a known one.

    Formula: rows = max_i sum_j (abs(A_ij) + r_ij), columns likewise.

    Args:
        matrices: (L, n, n), A.
        reach: (L, n, n) or a number, r.

    Example:
        >>> caps = entrywise_caps(np.array([[[1.0, 0.0], [0.5, -1.0]]]), 0.25)
        >>> caps.rows.tolist(), caps.columns.tolist()
        ([2.0], [2.0])
    """
    most = np.abs(np.asarray(matrices, np.float64)) + np.asarray(reach, np.float64)
    return Caps(most.sum(axis=-1).max(axis=-1), most.sum(axis=-2).max(axis=-1))


def sinkhorn_caps(
    logits: Any,
    reach: Any,
    *,
    iterations: int = 20,
    start: Literal["exp", "softmax"] = "exp",
    last: Literal["rows", "columns"] = "rows",
    eps: float = 0.0,
    eps_as: Literal["term", "floor"] = "term",
    temperature: float = 1.0,
) -> Caps:
    """The bounds of what Sinkhorn's iteration makes of logits in a box; arguments as in its `project`.

    Formula: sums along the axis normalised last are at most 1. Say that these are columns, R is the largest
    z_ij - z_il and D the largest z_ij + z_kl - z_il - z_kj, over all indices and the whole box, and
    k = tanh(D / 4). Let a and b be the spreads of the row and of the column sums that are found, ln of their
    ratios. Normalising one side spreads the sums of the other by at most k times as much (Birkhoff 1957;
    Franklin and Lorenz 1989), so from one pair of normalisations to the next

        a = min(D, k R),  b = R;    b <- k a,  a <- k b

    The mean of the row sums is at most 1, so the largest is at most exp(a), and never more than n.

    An eps in the denominators leaves a share d = eps / (s + eps) of every spread, b <- d b + k a and
    a <- d a + k b, and adds ln(1 + eps) to the first a. No sum is below s = exp(-D - 2 e) with
    e = ln(1 + eps / s). An eps that is the least that a sum can be does nothing while exp(-D) > eps. Where
    eps is added to a softmax, the positive parts of z_ij - z_il and z_kl - z_kj take their place in D and R.

    Args:
        logits: (L, n, n), the middle of the box.
        reach: (L, n, n) or a number: how far each logit can move either way.
        iterations: pairs of normalisations, at least 1.
        start: `exp` or `softmax`.
        last: the axis normalised last.
        eps: what guards the denominators.
        eps_as: `term` or `floor`.
        temperature: divides logits and reach.

    Example:
        >>> sinkhorn_caps(np.zeros((1, 4, 4)), 0.0).columns.tolist()
        [1.0]
        >>> round(float(sinkhorn_caps(np.zeros((1, 4, 4)), 0.5, iterations=2).columns[0]), 4)
        1.1037
    """
    z = np.asarray(logits, np.float64) / temperature
    r = np.broadcast_to(np.asarray(reach, np.float64), z.shape) / temperature
    n = z.shape[-1]
    if last == "rows":
        z, r = np.swapaxes(z, -1, -2), np.swapaxes(r, -1, -2)
    distance, spread = _diameter(z + r, z - r, by_parts=start == "softmax" and eps > 0)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        k = np.tanh(distance / 4)
        left = _share_left(distance, eps, eps_as)
        rows = np.fmin(distance, k * spread) + (math.log1p(eps) if eps_as == "term" else 0.0)
        columns = spread
        for _ in range(iterations - 1):
            columns = left * columns + k * rows
            rows = left * rows + k * columns
        other = np.fmin(np.exp(np.where(left < 1, rows, np.inf)), n)  # n too where they are not numbers
    exact = np.ones(len(z))
    return Caps(exact, other) if last == "rows" else Caps(other, exact)


def _share_left(distance: np.ndarray[Any, Any], eps: float, eps_as: str) -> np.ndarray[Any, Any]:
    """What share of a spread an eps leaves (L,): 1 where nothing is known."""
    if eps_as == "floor":
        return np.where(np.exp(-distance) > eps, 0.0, 1.0)
    least = eps * np.exp(distance)  # x = exp(e) solves least x^2 - x + 1 = 0, and the share is 1 - 1 / x
    return np.where(4 * least < 1, (1 - np.sqrt(np.fmax(1 - 4 * least, 0))) / 2, 1.0)


def _diameter(high: Any, low: Any, *, by_parts: bool) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """D (L,), the largest z_ij - z_il + z_kl - z_kj, and R (L,), of its first half, for low <= z <= high."""
    n = high.shape[-1]
    found, half = np.zeros(len(high)), np.zeros(len(high))
    for j in range(n):
        for k in range(n):
            if j != k:
                one = (high[:, :, j] - low[:, :, k]).max(axis=-1)
                other = (high[:, :, k] - low[:, :, j]).max(axis=-1)
                if by_parts:
                    one, other = np.maximum(one, 0), np.maximum(other, 0)
                found, half = np.maximum(found, one + other), np.maximum(half, one)
    return found, half
