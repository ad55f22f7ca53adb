"""A curve in one line of characters."""

from __future__ import annotations

import math
from collections.abc import Sequence

BARS, ASCII_BARS = "▁▂▃▄▅▆▇█", "_.-~=+*#"
BROKEN = "x"
"""Where a stretch has a value that is infinite or NaN."""


def sparkline(values: Sequence[float], width: int, *, unicode: bool = True) -> str:
    """The largest value of each stretch of a curve, from its lowest to its highest.

    Args:
        values: along the curve, logarithms where they are gains.
        width: in characters, at most.
        unicode: whether blocks can be shown.

    Example:
        >>> sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8), sparkline([1, 1, math.nan], 8), sparkline(range(16), 4)
        ('▁▂▃▄▅▆▇█', '▁▁x', '▁▃▆█')
    """
    width = max(1, min(width, len(values)))
    bounds = [round(i * len(values) / width) for i in range(width + 1)]
    parts = [values[low:high] for low, high in zip(bounds, bounds[1:], strict=False) if high > low]
    tops = [math.nan if any(_broken(v) for v in part) else max(part) for part in parts]
    finite = [v for v in tops if math.isfinite(v)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    bars = BARS if unicode else ASCII_BARS
    return "".join(_bar(v, low, high, bars) for v in tops)


def _broken(value: float) -> bool:
    return math.isnan(value) or value == math.inf


def _bar(value: float, low: float, high: float, bars: str) -> str:
    if math.isnan(value):
        return BROKEN
    if value == -math.inf or high - low < 1e-9:
        return bars[0]
    return bars[round((value - low) / (high - low) * (len(bars) - 1))]
