"""The median, without what numpy's own takes to start: numpy.ma, which costs as much as reading a file."""

from __future__ import annotations

from typing import Any


def middle(values: Any, axis: int = -1) -> Any:
    """Median along an axis; NaN where there is one, or nothing.

    Example:
        >>> import numpy as np
        >>> float(middle(np.array([3.0, 1.0, 2.0, 10.0])))
        2.5
    """
    import numpy as np

    ordered = np.moveaxis(np.sort(values, axis=axis), axis, -1)  # NaN comes last
    count = ordered.shape[-1]
    if not count:
        return np.full(ordered.shape[:-1], np.nan)[()]
    between = (ordered[..., (count - 1) // 2] + ordered[..., count // 2]) / 2
    return np.where(np.isnan(ordered[..., -1]), np.nan, between)[()]
