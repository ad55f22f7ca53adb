"""What no input, or none of those measured, can exceed: bounds as curves beside the gains, and in numbers.

A site whose matrix depends on its input has bounds on its row and column sums where the layout of its
parameters is known (`Caps`); of any other stack the matrices themselves are the bounds.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from mhc_diag.maths.caps import composite_bound, largest_product
from mhc_diag.records import Caps, Curve, Direction, Report, Scalar, Scope

STATISTIC = "bound"
LARGEST = math.log(sys.float_info.max)
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
    logs = dict(zip(SIDES, _logs(caps), strict=True))
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


def scalars(report: Report, caps: Caps | None) -> Iterator[Scalar]:
    """What the gain of no composite of neighbouring sites exceeds, wherever it begins and ends.

    Args:
        report: of matrices that were drawn or measured.
        caps: bounds that hold for every input; without them the matrices of the report are the bounds, if
            their norms were measured.
    """
    axis = report.provenance.token_axis
    if caps is not None:
        logs, what_for = _logs(caps), "every input"
    else:
        what_for = "these matrices" if axis == "none" else f"these {axis}s"
        try:
            norms = [report.curve(m, "site", "max").log10 for m in ("inf_norm", "one_norm")]
        except KeyError:
            return
        logs = norms[0] * math.log(10), norms[1] * math.log(10)
    rows, columns = (largest_product(x) for x in logs)
    for direction, first, other in (("forward", rows, columns), ("backward", columns, rows)):
        one, two = ("row", "column") if direction == "forward" else ("column", "row")
        bound = float(composite_bound(first, other, report.streams))
        if not bound < LARGEST:  # which says nothing
            continue
        yield Scalar(
            f"bound_{direction}",
            f"Bound on every composite's {direction} gain, for {what_for}",
            f"least of prod max {one} sum of abs(M) and n prod max {two} sum, over the worst run of sites",
            math.exp(bound),
        )


def _logs(caps: Caps) -> tuple[Any, Any]:
    with np.errstate(divide="ignore"):
        return np.log(caps.rows), np.log(caps.columns)
