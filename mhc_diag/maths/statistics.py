"""Statistics over tokens of gains given as value * 2**exponent, so that none can overflow.

A NaN is never passed over: mean and maximum are NaN too, and in quantiles it counts as the largest.
"""

from __future__ import annotations

import math

from mhc_diag.maths.namespace import namespace
from mhc_diag.records import Array

QUANTILES = {"p01": 0.01, "p05": 0.05, "p50": 0.5, "p95": 0.95, "p99": 0.99}
NAMES = ("mean", "min", *QUANTILES, "max")
LOG10_2 = math.log10(2)
AT_A_GLANCE = 400  # bits: numbers and exponents within that need no further look
BITS_APART = 900.0  # beyond this the smaller of two numbers would underflow beside the larger


def plain(value: Array, exponent: Array) -> Array:
    """The number value * 2**exponent in float64: infinite or 0 where it does not fit.

    Example:
        >>> import numpy as np
        >>> plain(np.array([1.5, 0.0]), np.array([3.0, 2000.0])).tolist()
        [12.0, 0.0]
    """
    xp = namespace(value)
    capped = xp.clip(exponent, -2100.0, 2100.0)
    half = xp.floor(capped / 2)
    base = xp.full_like(capped, 2.0)
    made = value * xp.pow(base, half) * xp.pow(base, capped - half)
    return xp.where(value == 0, xp.zeros_like(made), made)


def log10(value: Array, exponent: Array) -> Array:
    """Logarithm of value * 2**exponent to base 10, whatever the exponent; -inf for 0, NaN for NaN.

    Example:
        >>> import numpy as np
        >>> log10(np.array([1.0, 0.0]), np.array([10000.0, 3.0])).round(6).tolist()
        [3010.299957, -inf]
    """
    xp = namespace(value)
    logarithm = xp.log10(xp.where(value > 0, value, xp.ones_like(value))) + LOG10_2 * exponent
    logarithm = xp.where(value == 0, xp.full_like(logarithm, -math.inf), logarithm)
    return xp.where(xp.isnan(value), value, logarithm)


def over_tokens(value: Array, exponent: Array) -> dict[str, tuple[Array, Array]]:
    """Mean, minimum, quantiles and maximum over the last axis, each as (plain value, log10).

    Formula: quantiles interpolate linearly between the two neighbours in the order, as numpy.quantile does.

    Args:
        value: (L, T), non-negative.
        exponent: (L, T), whole numbers.

    Returns:
        By name (mean, min, p01, p05, p50, p95, p99, max), two arrays (L).

    Example:
        >>> import numpy as np
        >>> found = over_tokens(np.array([[1.0, 2.0, 6.0]]), np.zeros((1, 3)))
        >>> {name: float(v[0]) for name, (v, _) in found.items() if name in {"mean", "p50", "max"}}
        {'mean': 3.0, 'p50': 2.0, 'max': 6.0}
    """
    xp = namespace(value)
    near = _beside_each_other(value, exponent)
    if near is not None:
        return _of_near(*near)
    positive = xp.isfinite(value) & (value > 0)
    bits = xp.floor(xp.log2(xp.where(positive, value, xp.ones_like(value))))
    value, exponent = plain(value, -bits), exponent + bits
    top = xp.max(xp.where(positive, exponent, xp.full_like(exponent, -math.inf)), axis=-1)
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    exponent = xp.where(positive, exponent, top[..., None])  # 0, infinity and NaN are what they are
    apart = top - xp.min(exponent, axis=-1) > BITS_APART
    side_by_side = _by_value(value, xp.where(apart[..., None], top[..., None], exponent), top)
    if not bool(xp.any(apart)):
        return side_by_side
    far = _by_logarithm(log10(value, exponent))
    return {
        name: (xp.where(apart, far[name][0], v), xp.where(apart, far[name][1], logarithm))
        for name, (v, logarithm) in side_by_side.items()
    }


def token_of_largest(value: Array, exponent: Array) -> Array:
    """Which number of each row is the largest, the first of several; a NaN counts as that: (L, T) to (L).

    Example:
        >>> import numpy as np
        >>> token_of_largest(np.array([[6.0, 1.0, 2.0]]), np.array([[0.0, 4.0, 3.0]])).tolist()
        [1]
    """
    near = _beside_each_other(value, exponent)
    return namespace(value).argmax(log10(value, exponent) if near is None else near[0], axis=-1)


def _beside_each_other(value: Array, exponent: Array) -> tuple[Array, Array] | None:
    """The numbers of each row over 2**top, and top, where that is safe at a glance; else None.

    Top is the whole part of log2 of the row's largest number. numpy alone; the standard has no ldexp.
    """
    xp = namespace(value)
    if xp.__name__ != "numpy" or value.size == 0:
        return None
    least, most = value.min(), value.max()
    if not (least >= 2.0**-AT_A_GLANCE and most <= 2.0**AT_A_GLANCE):  # neither for NaN
        return None
    top = exponent.max(axis=-1)
    if (top - exponent.min(axis=-1)).max() > AT_A_GLANCE:
        return None
    near = xp.ldexp(value, (exponent - top[..., None]).astype(xp.int32))
    bits = xp.frexp(near.max(axis=-1))[1] - 1
    return xp.ldexp(near, -bits[..., None]), top + bits


def _by_value(value: Array, exponent: Array, top: Array) -> dict[str, tuple[Array, Array]]:
    """The statistics of numbers that fit beside each other in float64 once 2**top is taken out."""
    xp = namespace(value)
    return _of_near(value * xp.pow(xp.full_like(exponent, 2.0), exponent - top[..., None]), top)


def _of_near(near: Array, top: Array) -> dict[str, tuple[Array, Array]]:
    """The statistics of near * 2**top."""
    xp = namespace(near)
    if near.shape[-1] == 1:
        line = near[..., 0]
        return dict.fromkeys(NAMES, (plain(line, top), log10(line, top)))
    ordered = xp.sort(near, axis=-1)
    found = {"mean": xp.mean(near, axis=-1), "min": ordered[..., 0]}
    for name, q in QUANTILES.items():
        low, high, weight = _neighbours(ordered, q)
        found[name] = low if weight == 0 else xp.where(low == high, low, low + (high - low) * weight)
    found["max"] = xp.max(near, axis=-1)
    together = xp.stack(list(found.values()))
    values, logs = plain(together, xp.broadcast_to(top, together.shape)), log10(together, top)
    return {name: (values[i, ...], logs[i, ...]) for i, name in enumerate(found)}


def _by_logarithm(logs: Array) -> dict[str, tuple[Array, Array]]:
    """The same from log10 alone, for numbers too far apart to stand beside each other in float64."""
    xp = namespace(logs)
    top = xp.max(logs, axis=-1)
    shift = xp.where(xp.isfinite(top), top, xp.zeros_like(top))
    total = xp.mean(xp.pow(xp.full_like(logs, 10.0), logs - shift[..., None]), axis=-1)
    found = {"mean": xp.where(xp.isfinite(top), shift + xp.log10(xp.where(total > 0, total, 1.0)), top)}
    ordered = xp.sort(logs, axis=-1)
    found["min"] = ordered[..., 0]
    for name, q in QUANTILES.items():
        low, high, weight = _neighbours(ordered, q)
        found[name] = low if weight == 0 else between(low, high, weight)
    found["max"] = top
    return {name: (xp.pow(xp.full_like(v, 10.0), v), v) for name, v in found.items()}


def _neighbours(ordered: Array, q: float) -> tuple[Array, Array, float]:
    last = int(ordered.shape[-1]) - 1
    below = int(q * last)
    return ordered[..., below], ordered[..., min(below + 1, last)], q * last - below


def between(low: Array, high: Array, weight: float) -> Array:
    """log10 of what lies between two numbers low <= high that are given by log10, at `weight` of the way.

    Example:
        >>> import numpy as np
        >>> round(float(10 ** between(np.array(0.0), np.array(1.0), 0.5)), 12)  # half-way from 1 to 10
        5.5
    """
    xp = namespace(low)
    usable = xp.isfinite(high)
    top = xp.where(usable, high, xp.zeros_like(high))
    ratio = xp.pow(xp.full_like(top, 10.0), xp.where(usable, low - top, xp.zeros_like(top)))
    return xp.where(usable, top + xp.log10(weight + (1 - weight) * ratio), high)
