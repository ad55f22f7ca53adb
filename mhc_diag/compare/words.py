"""A change in words."""

from __future__ import annotations

import math

from mhc_diag.compare.worse import SAME
from mhc_diag.magnitude import magnitude


def by(decades: float) -> str:
    """How much worse a number is than another.

    Example:
        >>> by(math.log10(1.032)), by(math.log10(20.0)), by(-math.log10(1.5)), by(0.0)
        ('3.2 % worse', 'worse by a factor of 20.00', '50 % better', 'as good')
        >>> by(math.inf), by(-math.inf), by(math.nan)
        ('no number any more', 'a number again', 'no number in either')
    """
    if math.isnan(decades):
        return "no number in either"
    if math.isinf(decades):
        return "no number any more" if decades > 0 else "a number again"
    if abs(decades) <= SAME:
        return "as good"
    way, size = ("worse", decades) if decades > 0 else ("better", -decades)
    if size < math.log10(2):
        return f"{100 * (10**size - 1):.3g} % {way}"
    return f"{way} by a factor of {magnitude(10**size if size < 300 else math.inf, size)}"
