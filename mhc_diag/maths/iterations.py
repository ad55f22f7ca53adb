"""How many of Sinkhorn's iterations exp(logits) needs: counted, or predicted where they are many."""

from __future__ import annotations

from mhc_diag.maths.limits import doubles, rate
from mhc_diag.maths.namespace import namespace
from mhc_diag.maths.planes import over_blocks
from mhc_diag.records import Array

COUNTED = 100  # iterations that are counted; more are predicted
ENOUGH = 1e-6  # largest error of a column sum that counts as converged
LINEAR_RANGE = 340.0  # of logits, up to which plain divisions lose no row or column


def iterations(logits: Array) -> Array:
    """How often both axes are normalised until no column sum is further than 1e-6 from 1 (*B), in float64.

    An iteration is columns, then rows, from exp(logits). Up to 100 are counted. Beyond, the error r of the
    hundredth is taken to go on as r' = -g r - a r^2, where g = -ln(rate) is known from the limit and a from
    the last two errors: nearly decoupled streams first converge as 1 / iterations, then geometrically. That
    is within a tenth for most logits of order 8 and less; where streams are decoupled at several scales it
    can be off by orders of magnitude. Infinite where neither g nor a is above rounding. NaN where a logit is
    not finite. No gradient passes.

    Example:
        >>> import numpy as np
        >>> float(iterations(np.array([[2.0, 0.0], [0.5, 1.0]])))
        11.0
    """
    return over_blocks(_count, doubles(logits))


def _count(logits: Array) -> Array:
    """Iterations of planes (n, n, B)."""
    xp = namespace(logits)
    wide = xp.max(logits, axis=(0, 1)) - xp.min(logits, axis=(0, 1)) > LINEAR_RANGE
    if not bool(xp.any(wide)):
        return _count_alike(logits, logarithmic=False)
    found = xp.zeros_like(logits[0, 0, :])
    for which, logarithmic in ((xp.logical_not(wide), False), (wide, True)):
        found[which] = _count_alike(logits[:, :, which], logarithmic)
    return found


def _count_alike(logits: Array, logarithmic: bool) -> Array:
    """The same by divisions or in logarithms. Those that are done leave the block."""
    xp = namespace(logits)
    found = xp.ones_like(logits[0, 0, :])
    place = xp.arange(found.shape[0], device=logits.device)
    needed = found
    state = logits if logarithmic else xp.exp(logits - xp.max(logits, axis=0, keepdims=True))
    error = left = found
    for _ in range(COUNTED):
        for axis in (0, 1):
            state = state - _log_sum(state, axis) if logarithmic else state / _sum(state, axis)
        sums = _sum(xp.exp(state) if logarithmic else state, 0)
        before, error = error, xp.max(xp.abs(sums - 1.0), axis=(0, 1))
        left = error > ENOUGH
        needed = needed + left
        remaining = int(xp.count_nonzero(left))
        if 8 * remaining < 7 * place.shape[0]:
            found[place] = needed
            state, place, needed = state[:, :, left], place[left], needed[left]
            error, before = error[left], before[left]
            left = left[left]
        if remaining == 0:
            return found
    found[place] = needed
    place = place[left]
    predicted = _predict(before[left], error[left], rate(xp.moveaxis(logits[:, :, place], -1, 0)))
    found[place] = COUNTED + predicted
    return found


def _predict(before: Array, error: Array, rate: Array) -> Array:
    """Further iterations until the error is below ENOUGH, given the last two errors."""
    xp = namespace(error)
    g = -xp.log(rate)
    a = xp.clip((xp.log(before / error) - g) / xp.sqrt(before * error), 0.0, None)
    slope = g / error + a
    stuck = slope <= 0
    hyperbolic = (1.0 / ENOUGH - 1.0 / error) / xp.where(stuck, xp.ones_like(slope), slope)
    geometric = xp.log1p(g * hyperbolic) / xp.where(g > 0, g, xp.ones_like(g))
    further = xp.ceil(xp.where(g > 0, geometric, hyperbolic))
    return xp.where(stuck, xp.full_like(further, float("inf")), further)


def _sum(planes: Array, axis: int) -> Array:
    return namespace(planes).sum(planes, axis=axis, keepdims=True)


def _log_sum(planes: Array, axis: int) -> Array:
    xp = namespace(planes)
    top = xp.max(planes, axis=axis, keepdims=True)
    return top + xp.log(_sum(xp.exp(planes - top), axis))
