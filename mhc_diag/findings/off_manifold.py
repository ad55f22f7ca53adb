"""Matrices that are not what they were promised to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mhc_diag.findings import Evidence, seen
from mhc_diag.findings._middle import middle
from mhc_diag.records import Report
from mhc_diag.verdict import Level, Place

if TYPE_CHECKING:
    import numpy as np

ID = "MHC304"
TITLE = "mixing is not on the manifold that is promised"
LEVELS: Mapping[str, Level] = {"mhc": "error", "hc": "error"}
WHAT = """
The code of the parameters, or the simulation, promises doubly stochastic matrices, and at some site the
matrix of the typical token is none: an entry is negative or above 1 by more than a tenth, or the sums of
rows and of columns are both further than a tenth from 1. Sinkhorn that was cut off leaves one side at 1
and no entry above it, so this is something else.
"""
WHY = """
Every bound that makes mHC stable rests on that promise: without it composites of 60 sites can amplify by
thousands. The usual cause is that a fused projection, [pre | post | mixing] of 2 n + n^2 rows, is split in
another order: n entries of the matrix are then weights between 0 and 2 that were meant for the branch.
"""
FIX = """
Compare the order in which the projection is split with that of the code that wrote the weights. In
DeepSeek's it is pre (n), post (n), mixing (n x n, by rows).
"""
REFERENCES = (
    "Kernel ports of DeepSeek-V4, whose split orders differ",
    "Xie et al., mHC: Manifold-Constrained Hyper-Connections, arXiv 2512.24880, section 4.1",
)
EXPLAINS = ("MHC101", "MHC102", "MHC103", "MHC104", "MHC203", "MHC301", "MHC302")
NEAR = 0.1
"""What the profile mhc takes for nearly doubly stochastic, too."""


def check(report: Report) -> Iterator[Evidence]:
    """Entries out of range, and sums of which neither side is near 1."""
    import numpy as np

    promise = report.provenance.promise
    if promise is None or promise.manifold != "doubly stochastic" or report.streams < 2:
        return
    sums, entries = _sums(report), _entries(report)
    bad = sums | (np.zeros_like(sums) if entries is None else entries[0] > NEAR)
    if not bad.any():
        return
    first = int(np.argmax(bad))
    label = report.sites[first].label
    where = f"site {first}" + (f" ({label})" if label else "")
    text = f"M is not doubly stochastic at {int(bad.sum())} of {len(bad)} sites, first {where}"
    if entries is not None and entries[0][first] > NEAR:
        text += f", where entries of the typical token reach {entries[1][first]:.3g}"
    value = seen(report, "marginal_drift", "site", "p50")
    drift = None if value is None else float(value.value[first])
    yield Evidence(
        f"{text}; {promise.origin or 'the code'} promises that it is",
        Place("marginal_drift", "site", "p50", drift, None, first, label),
    )


def _sums(report: Report) -> np.ndarray[Any, Any]:
    """(L,): whether both sides are off, where anything is left at all."""
    import numpy as np

    off = [seen(report, f"{side}_residual", "site", "p50") for side in ("row", "column")]
    gain = seen(report, "amax_forward", "site", "p50")
    if off[0] is None or off[1] is None or gain is None:
        return np.zeros(len(report.sites), dtype=bool)
    with np.errstate(invalid="ignore"):
        return np.asarray((np.minimum(off[0].value, off[1].value) > NEAR) & (gain.value > 0))


def _entries(report: Report) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
    """Of the typical token of each site, how far entries are out of [0, 1], and the entry furthest out."""
    import numpy as np

    if report.sample is None or not report.sample.size:
        return None
    flat = np.asarray(report.sample, dtype=np.float64).reshape(*report.sample.shape[:2], -1)
    low, high = flat.min(-1), flat.max(-1)
    low, high = middle(low, axis=1), middle(high, axis=1)
    return np.maximum(-low, high - 1), np.where(-low > high - 1, low, high)
