"""The pattern of the mHC paper's Fig. 3: a blow-up that comes from the first and the last layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mhc_diag.findings import Evidence, seen
from mhc_diag.findings._sites import named
from mhc_diag.records import DIRECTIONS, Report
from mhc_diag.verdict import Level, Place

ID = "MHC104"
TITLE = "end layers dominate the gain"
LEVELS: Mapping[str, Level] = {"mhc": "off", "hc": "warn", "residual": "off"}
WHAT = """
A single site in the first or the last tenth of the depth amplifies the typical token by 3 or more, and
by 3 times as much as any site in the middle half. Of constrained mixing it is not looked for: there no
single site can amplify, and MHC101 and MHC304 tell when one does.
"""
WHY = """
This is how Hyper-Connections of 27B parameters blow up: sites in the middle have gains of 0.7 to 1.7,
but the first 18 forward and 7 backward, and the last 22 and 12. The two ends alone make a factor of 400
of the 3,000 in all. An average over sites hides it, and so does a look at a layer in the middle.
"""
FIX = """
Constrain the mixing of the first and last layers first, or leave their streams unmixed. The gain of the
other sites is what the model would have then.
"""
REFERENCES = (
    "Xie et al., mHC: Manifold-Constrained Hyper-Connections, arXiv 2512.24880, Fig. 3",
    "Zhu et al., Hyper-Connections, arXiv 2409.19606",
)
EXPLAINS = ("MHC103",)
FEWEST_SITES = 10
"""Of fewer there is no tenth."""
GAIN, TIMES = 3.0, 3.0


def check(report: Report) -> Iterator[Evidence]:
    """The end site that stands out most."""
    import numpy as np

    depth = len(report.sites)
    if depth < FEWEST_SITES:
        return
    tenth, quarter = depth // 10, depth // 4
    found = []
    for direction in DIRECTIONS:
        curve = seen(report, f"amax_{direction}", "site", "p50")
        if curve is None or not np.isfinite(curve.value).all():
            continue
        middle = float(curve.value[quarter : depth - quarter].max())
        ends = [*range(tenth), *range(depth - tenth, depth)]
        site = max(ends, key=curve.value.tolist().__getitem__)
        gain = float(curve.value[site])
        if gain >= GAIN and gain >= TIMES * middle:
            text = (
                f"{direction} gain {gain:.4g} of {named(report, site)} alone, "
                f"and {middle:.4g} at most in the middle half"
            )
            label = report.sites[site].label
            place = Place(curve.metric, "site", "p50", gain, float(np.log10(gain)), site, label)
            found.append((gain / max(middle, 1e-300), Evidence(text, place)))
    if found:
        yield max(found, key=lambda pair: pair[0])[1]
