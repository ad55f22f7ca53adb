"""What a reader is told about sites that were fitted to values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

from mhc_diag.sources.probe.codes import Fit


def undetermined(fits: Sequence[Fit], certificate: float) -> str:
    """Why a fit is too weak to count as measured, and what would help."""
    names = ", ".join(dict.fromkeys(fit.operation for fit in fits))
    condition = max(fit.condition for fit in fits)
    if math.isinf(condition):
        why = "the streams are copies or combinations of one another there, which hides how they are mixed"
    else:
        why = (
            f"the values of the streams there (condition number {condition:.1e}) "
            f"tell M only to within {certificate:.1e}"
        )
    return (
        f"{names} is opaque, and {why}; what would help is the same operation in plain torch or with its "
        "coefficients as arguments, or streams that differ where they begin"
    )


def fitted_notes(fits: Iterable[Sequence[Fit]]) -> tuple[str, ...]:
    """A line for each operation that sites were fitted to, given the fits of each site in order."""
    found: dict[tuple[str, str], list[tuple[int, Fit]]] = {}
    for number, fit in ((number, fit) for number, of_site in enumerate(fits) for fit in of_site):
        found.setdefault((fit.operation, fit.how), []).append((number, fit))
    return tuple(
        f"{sites(number for number, _ in pairs)}: {operation} is opaque: {how}; "
        f"residual at most {max(f.residual for _, f in pairs):.1e}, "
        f"condition number at most {max(f.condition for _, f in pairs):.1e}"
        for (operation, how), pairs in found.items()
    )


def sites(numbers: Iterable[int]) -> str:
    """Sites by number, runs of them shortened.

    Example:
        >>> sites([3]), sites([1, 2, 3, 7])
        ('site 3', 'sites 1-3, 7')
    """
    unique = sorted(set(numbers))
    runs = [
        [number for _, number in run]
        for _, run in itertools.groupby(enumerate(unique), key=lambda pair: pair[1] - pair[0])
    ]
    names = (f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
    return f"{'site' if len(unique) == 1 else 'sites'} {', '.join(names)}"
