"""Numbers of a figure in words, for readers who do not see it."""

from __future__ import annotations

import math

from mhc_diag.figures.axis import Floats
from mhc_diag.magnitude import magnitude
from mhc_diag.records import Curve


def gain(log10: float) -> str:
    """A gain of which only the logarithm is at hand.

    Example:
        >>> gain(0.0), gain(412.3)
        ('1.000', '1.995e+412')
    """
    value = 10.0 ** float(log10) if abs(log10) < 300 else 0.0 if log10 < 0 else math.inf
    return magnitude(math.nan if math.isnan(log10) else value, float(log10))


def worst(curve: Curve) -> tuple[str, int]:
    """The largest number of a curve, nothing being larger than a NaN, and the first site that has it."""
    site = worst_site(curve.log10)
    return magnitude(float(curve.value[site]), float(curve.log10[site])), site


def worst_site(log10: Floats) -> int:
    """The first site of the largest gain; those that differ by rounding only are equal."""
    ranks = [math.inf if math.isnan(x) else round(x, 12) for x in log10.tolist()]
    return max(range(len(ranks)), key=ranks.__getitem__)
