"""What a layout's code promises of M, from how it projects."""

from __future__ import annotations

from typing import Literal

from mhc_diag.records import Promise

IDENTITY = Promise("identity", "both", applied="direct")
Side = Literal["rows", "columns"]
OTHER: dict[Side, Side] = {"rows": "columns", "columns": "rows"}


def sinkhorn(last: Side, *, transposed: bool, iterations: int, eps: float = 0.0) -> Promise:
    """Of M = H or H^T, where the sums of H's rows or columns are what is normalised last.

    Example:
        >>> sinkhorn("columns", transposed=True, iterations=20).exact
        'rows'
    """
    exact = OTHER[last] if transposed else last
    applied: Literal["direct", "transposed"] = "transposed" if transposed else "direct"
    return Promise("doubly stochastic", exact, iterations, eps, applied=applied)


def doubly_stochastic(exact: Literal["both", ""]) -> Promise:
    """Of M = H^T that no iteration projects, or one of another kind.

    Example:
        >>> doubly_stochastic("both").iterations
        0
    """
    return Promise("doubly stochastic", exact, applied="transposed")
