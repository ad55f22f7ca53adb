"""Which sums of the matrices are 1 to rounding and which are not: what Sinkhorn's last step leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mhc_diag.findings import seen
from mhc_diag.records import Report

if TYPE_CHECKING:
    import numpy as np

CLEAR = 30.0
"""How much further than the exact sums from 1 the others are, to be called inexact: rounding and an eps of
1e-6 leave both sides alike to within a factor of 3."""
ROUNDING = 2.2e-16
MEASURED_ROUNDING = 1.2e-7
"""In a live model, which computes in float32 at best."""


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """How far the sums of the typical or of the worst token are from 1, at each of L sites."""

    rows: np.ndarray[Any, Any]
    """(L,)"""
    columns: np.ndarray[Any, Any]
    """(L,)"""
    rounding: float

    def inexact(self, side: str) -> np.ndarray[Any, Any]:
        """(L,): whether the sums of a side are off and those of the other are not."""
        import numpy as np

        here, other = (self.rows, self.columns) if side == "rows" else (self.columns, self.rows)
        with np.errstate(invalid="ignore"):
            return np.asarray(here >= CLEAR * np.maximum(other, self.rounding))


def sides(report: Report, statistic: Literal["p50", "max"]) -> Sides | None:
    """Both sides, where the report has them and there is more than one stream."""
    rows, columns = (seen(report, f"{side}_residual", "site", statistic) for side in ("row", "column"))
    if rows is None or columns is None or report.streams < 2:
        return None
    rounding = MEASURED_ROUNDING if report.provenance.method == "observed" else ROUNDING
    return Sides(rows.value, columns.value, rounding)
