"""Where Sinkhorn's iteration on exp(logits) goes, and how fast.

The limit is found by Newton's method on the dual, not by iterating: an iteration that needs a million sweeps
to converge, as that of nearly decoupled streams does, takes a few dozen steps.
"""

from __future__ import annotations

from mhc_diag.maths.meanfree import mean_free
from mhc_diag.maths.namespace import namespace
from mhc_diag.maths.planes import over_blocks
from mhc_diag.maths.singular import singular_values
from mhc_diag.records import Array

STEPS = 300  # of Newton's method; some ten are enough for logits of order 1, fifty for +-1e4
COOL = 8.0  # range of logits that is solved at once; a wider one is approached by doublings
LOOSE, TIGHT = 0.1, 1e-14  # largest error of a column sum, on the way and at the end
CAUTION = 0.5  # at a fifth of it, steps begin to overshoot and some matrices never settle
TINY = 1e-300


def doubles(logits: Array) -> Array:
    """The same numbers in float64, where no gradient passes.

    Example:
        >>> import numpy as np
        >>> doubles(np.ones(2, dtype=np.float32)).dtype
        dtype('float64')
    """
    xp = namespace(logits)
    return xp.astype(logits.detach() if hasattr(logits, "detach") else logits, xp.float64)


def limit(logits: Array) -> Array:
    """The doubly stochastic matrix diag(u) exp(logits) diag(v) of each (*B, n, n), in float64.

    Newton's method on the columns' logarithms, rows normalised exactly after each step, each matrix until its
    column sums are 1 to rounding. Logits whose range is above 8 are first divided until it is not, and then
    doubled step by step. What has not converged after 300 steps is returned as it is then; no finite logits
    up to +-1e4 are known to need half of them. NaN where a logit is not finite. No gradient passes.

    Example:
        >>> import numpy as np
        >>> limit(np.array([[2.0, 0.0], [0.5, 1.0]])).round(10).tolist()
        [[0.7772998612, 0.2227001388], [0.2227001388, 0.7772998612]]
    """
    xp = namespace(logits)
    n = logits.shape[-1]

    def balanced(planes: Array) -> Array:
        return xp.reshape(_balance(planes), (n * n, -1))

    return xp.reshape(over_blocks(balanced, doubles(logits)), logits.shape)


def rate(logits: Array) -> Array:
    """sigma_2^2 of the limit (*B): by what an iteration multiplies the error in the end (Knight 2008).

    In float64. 1 to rounding where the limit is decoupled to rounding; 0 for a single stream.

    Example:
        >>> import numpy as np
        >>> round(float(rate(np.array([[2.0, 0.0], [0.5, 1.0]]))), 10)
        0.307580852
    """
    found = limit(logits)
    xp = namespace(found)
    if logits.shape[-1] == 1:
        return found[..., 0, 0] - 1.0  # NaN stays NaN
    return xp.clip(singular_values(mean_free(found))[..., 0] ** 2, 0.0, 1.0)


def _balance(logits: Array) -> Array:
    """The limit of planes (n, n, B). Those that have converged leave the block, so that the rest is cheap."""
    xp = namespace(logits)
    found = xp.zeros_like(logits)
    place = xp.arange(logits.shape[-1], device=logits.device)
    spread = xp.max(logits, axis=(0, 1)) - xp.min(logits, axis=(0, 1))
    tight = TIGHT * (logits.shape[0] + spread)  # the logits' own rounding sets the end
    heat = COOL / xp.clip(spread, COOL, None)
    shift = xp.zeros_like(logits[0, ...])
    for step in range(STEPS):
        mixing = _rows(logits * heat + shift)
        excess = 1.0 - xp.sum(mixing, axis=0)
        error = xp.max(xp.abs(excess), axis=0)
        left = (heat < 1.0) | (error > tight)
        remaining = int(xp.count_nonzero(left))
        if remaining == 0 or step == STEPS - 1:
            found[:, :, place] = mixing
            break
        if 8 * remaining < 7 * place.shape[0]:
            found[:, :, place] = mixing
            place, logits, mixing = place[left], logits[:, :, left], mixing[:, :, left]
            shift, excess = shift[:, left], excess[:, left]
            heat, error, tight = heat[left], error[left], tight[left]
        shift = shift + _newton(mixing, excess, error)
        hotter = xp.where(error <= LOOSE, xp.clip(2.0 * heat, None, 1.0), heat)
        shift, heat = shift * (hotter / heat), hotter
    return found


def _rows(logits: Array) -> Array:
    """Softmax over the columns of planes (n, n, B)."""
    xp = namespace(logits)
    made = xp.exp(logits - xp.max(logits, axis=1, keepdims=True))
    return made / xp.sum(made, axis=1, keepdims=True)


def _newton(mixing: Array, excess: Array, error: Array) -> Array:
    """Solve (L + error I / 2) x = excess, L = diag(column sums) - M^T M: planes (n, n, B) to (n, B).

    L is the Laplacian of a graph whose weights are products of probabilities. Elimination that keeps the
    weights and what is on top of them apart (Grassmann, Taksar and Heyman 1985) subtracts nothing, so that
    couplings far below rounding still count. The added error bounds the step where they are too weak to say.
    """
    xp = namespace(mixing)
    n = mixing.shape[0]
    weights = [xp.sum(mixing[:, k : k + 1, :] * mixing[:, :k, :], axis=0) for k in range(n)]
    top, right = xp.zeros_like(excess) + CAUTION * error + TINY, excess + 0.0
    shares, pivots = [], []
    for k in range(n - 1, 0, -1):
        pivot = xp.sum(weights[k], axis=0) + top[k, :]
        share = weights[k] / pivot
        for i in range(1, k):
            weights[i] = weights[i] + share[i, :] * weights[k][:i, :]
        top[:k, :] += share * top[k, :]
        right[:k, :] += share * right[k, :]
        shares.append(share)
        pivots.append(pivot)
    found = [right[0, :] / top[0, :]]
    for k, share, pivot in zip(range(1, n), reversed(shares), reversed(pivots), strict=True):
        found.append(right[k, :] / pivot + xp.sum(share * xp.stack(found), axis=0))
    return xp.stack(found)
