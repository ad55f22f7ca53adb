"""What no input, or none of those measured, can exceed: bounds as curves beside the gains, and in numbers.

A site whose matrix depends on its input has bounds on its row and column sums where the layout of its
parameters is known (`Caps`); of any other stack the matrices themselves are the bounds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from mhc_diag.maths.caps import composite_bound, largest_product
from mhc_diag.records import Caps, Curve, Direction, Report, Scalar, Scope

STATISTIC = "bound"
SIDES: dict[Direction, tuple[str, str]] = {
    "forward": ("amax_forward", "inf_norm"),
    "backward": ("amax_backward", "one_norm"),
}
"""The metrics that a bound on row sums, and one on column sums, holds for."""


def curves(caps: Caps, streams: int) -> Iterator[Curve]:
    """The bounds of every site, prefix and suffix, as the statistic `bound` of four metrics.

    Example:
        >>> caps = Caps(np.ones(3), np.full(3, 2.0))
        >>> found = {(c.metric, c.scope): c.value.round(6).tolist() for c in curves(caps, 4)}
        >>> found["amax_forward", "prefix"], found["amax_backward", "suffix"]
        ([1.0, 1.0, 1.0], [4.0, 4.0, 2.0])
    """
    with np.errstate(divide="ignore"):
        logs = {"forward": np.log(caps.rows), "backward": np.log(caps.columns)}
    for direction, metrics in SIDES.items():
        other = logs["backward" if direction == "forward" else "forward"]
        for scope, first, second in _summed(logs[direction], other):
            bound = composite_bound(first, second, streams)
            with np.errstate(over="ignore"):
                value = np.exp(bound)
            for metric in metrics:
                yield Curve(metric, scope, STATISTIC, value, bound / math.log(10))


def _summed(first: Any, other: Any) -> Iterator[tuple[Scope, Any, Any]]:
    yield "site", first, other
    yield "prefix", np.cumsum(first), np.cumsum(other)
    yield "suffix", np.cumsum(first[::-1])[::-1], np.cumsum(other[::-1])[::-1]


def scalars(caps: Caps, streams: int, what_for: str) -> Iterator[Scalar]:
    """What the gain of no composite of neighbouring sites exceeds, wherever it begins and ends.

    Args:
        caps: bounds of every site.
        streams: n.
        what_for: for which inputs they hold, as in `every input`.

    Example:
        >>> [round(s.value, 6) for s in scalars(Caps(np.ones(9), np.full(9, 1.5)), 4, "every input")]
        [1.0, 4.0]
    """
    rows, columns = largest_product(caps.rows), largest_product(caps.columns)
    for direction, first, other in (("forward", rows, columns), ("backward", columns, rows)):
        axis = "row" if direction == "forward" else "column"
        bound = float(composite_bound(first, other, streams))
        yield Scalar(
            f"bound_{direction}",
            f"Bound on every composite's {direction} gain, for {what_for}",
            f"least of prod max {axis} sum of abs(M) and n prod max "
            f"{'column' if axis == 'row' else 'row'} sum, over the worst run of sites",
            math.exp(bound) if bound < 700 else math.inf,
        )


def observed(report: Report) -> Caps | None:
    """The bounds that the matrices of a report are themselves, where their norms were measured."""
    try:
        rows, columns = (report.curve(m, "site", "max").value for m in ("inf_norm", "one_norm"))
    except KeyError:
        return None
    return Caps(rows, columns)
