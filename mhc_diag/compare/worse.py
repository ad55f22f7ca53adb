"""How far a number is from ideal, on the side that matters: what `worse` means, for every metric.

Formula, in decades:

    gains and norms          max(log10 g, 0)                 amplification; the next line sees attenuation
    least gains, uniformity,
    ranks                    min(max(log10 ideal/x, 0), G)   G = 24 log10 2, a factor of 6e-8
    natural logarithms       x / ln 10                       marginal drift, range of the logits
    ideal 0                  log10(1 + x)                    residuals: the factor by which a sum is off
    half-life h of L sites   min(max(log10 L/h, 0), G)       a half-life beyond the depth is no loss
    anything else            abs(log10 x/ideal), below the ideal G at most

So a change of log10 1.01 is one per cent of a signal in each of them. Beyond G float32 holds nothing of a
signal beside what it is added to: what is gone does not become worse, and the noise that is left is not
compared.
NaN stays NaN, and an infinite gain is infinitely far.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

Floats = np.ndarray[Any, Any]
Side = Literal["above", "below", "natural", "both"]

GONE = 24 * math.log10(2)
"""Decades: the precision of float32."""
SAME = 1e-9
"""Decades: numbers that differ by less are equal but for rounding."""
SIDES: dict[str, Side] = {
    "amax_forward": "above",
    "amax_backward": "above",
    "inf_norm": "above",
    "one_norm": "above",
    "spectral_norm": "above",
    "amin_forward": "below",
    "amin_backward": "below",
    "uniformity": "below",
    "sigma_min_meanfree": "below",
    "second_eigenvalue": "below",
    "effective_rank": "below",
    "half_life": "below",
    "marginal_drift": "natural",
    "log_nu": "natural",
}
"""By metric; of all others both sides matter."""


def distance(metric: str, ideal: float, value: Floats, log10: Floats) -> Floats:
    """Decades from ideal, of numbers of one metric; 0 at the ideal and on the side that does not matter.

    Args:
        metric: its name.
        ideal: of its card; for `half_life` the depth L.
        value: any shape.
        log10: of the values, also where these leave float64; the same shape.

    Example:
        >>> gains = np.array([0.5, 1.0, 100.0])
        >>> distance("amax_forward", 1.0, gains, np.log10(gains)).tolist()
        [0.0, 0.0, 2.0]
        >>> distance("amin_forward", 1.0, gains, np.log10(gains)).round(3).tolist()
        [0.301, 0.0, 0.0]
    """
    side = SIDES.get(metric, "both")
    with np.errstate(all="ignore"):
        if side == "natural":
            return np.abs(value) / math.log(10)
        if ideal == 0:
            return np.where(np.isposinf(value), log10, np.log10(1 + np.abs(value)))
        above = log10 - math.log10(ideal)
        lost = np.minimum(-above, GONE)
        if side == "above":
            return np.maximum(above, 0.0)
        return np.maximum(lost, 0.0) if side == "below" else np.where(above < 0, lost, above)


def worsening(before: Floats, after: Floats) -> Floats:
    """Decades by which distances from ideal grew: above 0 is worse.

    Infinite where a number that was one no longer is, as NaN or infinity; minus infinite the other way round;
    NaN where it was none before either, so that nobody can tell.

    Example:
        >>> worsening(np.array([0.0, 0.0, np.nan]), np.array([0.5, np.nan, np.nan])).tolist()
        [0.5, inf, nan]
    """
    lost, found = ~np.isfinite(after), ~np.isfinite(before)
    with np.errstate(invalid="ignore"):
        grown = np.where(lost, np.inf, np.where(found, -np.inf, after - before))
    return np.where(lost & found, np.nan, grown)


def allowance(tolerance: float) -> float:
    """Decades that a relative tolerance allows, with room for rounding.

    Example:
        >>> round(allowance(0.01), 6)
        0.004321
    """
    return math.log10(1 + tolerance) + SAME
