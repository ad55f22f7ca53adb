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

    Formula: sums along the axis normalised last are at most 1. Let D be the largest of
    z_ij + z_kl - z_il - z_kj over all indices and the whole box. One pair of normalisations contracts
    Hilbert's distance between successive scalings by k^2, k = tanh(D / 4), and the first is at most D
    (Birkhoff 1957; Franklin and Lorenz 1989), so the largest sum along the other axis is at most
    exp(D k^(2 (iterations - 1))), and never more than n. An eps in the denominators moves each scaling by at
    most ln(1 + eps exp(D)), which adds 2 ln(1 + eps exp(D)) / (1 - k^2) to the exponent. Where eps is added
    to a softmax, the positive parts of z_ij - z_il and z_kl - z_kj take their place in D.

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
        1.5328
    """
    z = np.asarray(logits, np.float64) / temperature
    r = np.broadcast_to(np.asarray(reach, np.float64), z.shape) / temperature
    n = z.shape[-1]
    distance = _diameter(z + r, z - r, by_parts=start == "softmax" and eps > 0)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        contraction = np.tanh(distance / 4) ** 2
        exponent = distance * contraction ** (iterations - 1)
        if eps and eps_as == "term":
            exponent = exponent + 2 * np.log1p(eps * np.exp(distance)) / (1 - contraction)
        elif eps:
            exponent = np.where(np.exp(-distance) > eps, exponent, np.inf)
        other = np.fmin(np.exp(exponent), n)
    exact = np.ones(len(z))
    return Caps(exact, other) if last == "rows" else Caps(other, exact)


def _diameter(high: Any, low: Any, *, by_parts: bool) -> np.ndarray[Any, Any]:
    """The largest of z_ij - z_il + z_kl - z_kj for low <= z <= high (L,)."""
    n = high.shape[-1]
    found = np.zeros(len(high))
    for j in range(n):
        for k in range(n):
            if j != k:
                one = (high[:, :, j] - low[:, :, k]).max(axis=-1)
                other = (high[:, :, k] - low[:, :, j]).max(axis=-1)
                if by_parts:
                    one, other = np.maximum(one, 0), np.maximum(other, 0)
                found = np.maximum(found, one + other)
    return found
