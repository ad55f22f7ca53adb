"""What Sinkhorn adds to its denominators takes something off at every site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mhc_diag.findings import Evidence, seen
from mhc_diag.findings._middle import middle
from mhc_diag.records import Report
from mhc_diag.verdict import Level, Place

if TYPE_CHECKING:
    import numpy as np

ID = "MHC303"
TITLE = "eps in Sinkhorn's denominators attenuates"
LEVELS: Mapping[str, Level] = {"mhc": "error"}
WHAT = """
The sums of the side that is normalised last are all below 1 by the same amount, at nine in ten of the
sites: s / (s + eps) instead of 1. Entries add up the same by rows as by columns, so that both sides are
below 1 on average. Told is what is left after all sites, (1 + eps)^-L, where that is less than 0.95; less
than 0.8 is an error. It is looked for where Sinkhorn was promised, or nothing.
"""
WHY = """
What a site takes off, all sites take off: an eps of 1e-6 leaves 0.99988 after 122 sites and one of
0.001 leaves 0.94 after 60, but one of 0.02 leaves 0.305. Signals and gradients of the first layers fade
on a path that is there to keep them. Below 0.95 something is wrong with eps, since rounding to bfloat16
takes off and adds by chance; below 0.8 the path loses a fifth.
"""
FIX = """
Lower eps to 1e-6, or take the larger of the sum and eps, which changes nothing where sums are near 1. In
float16 an eps of 1e-6 is lost to rounding: do the iterations in float32.
"""
REFERENCES = (
    "tile-ai/TileOPs issue 172: an eps of 0.02",
    "definitions.md: structural bounds",
)
EXPLAINS = ("MHC102",)
LEFT, LITTLE = 0.95, 0.8
VISIBLE = 1e-5
"""Loss of a site below which nothing adds up."""
LARGEST = 0.2
EVEN = 0.1
"""By how much of the loss the sums of all rows and tokens may differ."""
MOST = 0.9
"""Share of the sites."""


def check(report: Report) -> Iterator[Evidence]:
    """The same loss in every sum of one side."""
    import numpy as np

    promise = report.provenance.promise
    if promise is not None and promise.manifold and promise.exact not in ("rows", "columns"):
        return
    if report.streams < 2 or not report.sites:
        return
    for side, way in (("rows", "forward"), ("columns", "backward")):
        loss = _loss(report, way)
        if loss is None or np.mean(loss > VISIBLE) < MOST:
            continue
        left = float(np.prod(1 - loss))
        if left >= LEFT:
            continue
        typical = float(middle(loss[loss > VISIBLE]))
        first = int(np.argmax(loss))
        place = Place(f"amin_{way}", "site", "min", 1 - float(loss[first]), float(np.log10(1 - loss[first])),
                      first, report.sites[first].label)  # fmt: skip
        eps = typical / (1 - typical)
        text = (
            f"the sums of all {side} are {1 - typical:.5g}, as with an eps of {eps:.2g}, which leaves "
            f"{left:.3g} after {len(report.sites)} sites"
        )
        yield Evidence(text, place, None if left < LITTLE else "warn")
        return


def _loss(report: Report, way: str) -> np.ndarray[Any, Any] | None:
    """(L,): how far all sums of a side are below 1; 0 where they are not, or not all as far."""
    import numpy as np

    high, low = seen(report, f"amax_{way}", "site", "max"), seen(report, f"amin_{way}", "site", "min")
    if high is None or low is None:
        return None
    least, most = 1 - high.value, 1 - low.value
    with np.errstate(invalid="ignore"):
        even = (least > 0) & (least <= LARGEST) & (most - least <= EVEN * least)
    return np.where(even, least, 0.0)
