"""Numbers in strict JSON, which lacks infinity and NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def number_out(value: Any) -> Any:
    """A value that JSON can hold.

    Example:
        >>> number_out(math.inf), number_out(2.0), number_out("text")
        ('inf', 2.0, 'text')
    """
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def number_in(value: Any) -> Any:
    """The number that was made such a value.

    Example:
        >>> number_in("-inf"), number_in(2.0)
        (-inf, 2.0)
    """
    return float(value) if isinstance(value, str) else value


def plain(value: Any) -> Any:
    """Nested values that JSON can hold.

    Example:
        >>> plain({"gains": (1.0, math.nan)})
        {'gains': [1.0, 'nan']}
    """
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else number_out(value)
