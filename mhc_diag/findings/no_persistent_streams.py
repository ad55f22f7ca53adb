"""Streams that are one again before the next site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mhc_diag.findings import Evidence
from mhc_diag.records import Report
from mhc_diag.verdict import Level

ID = "MHC402"
TITLE = "no streams persist from site to site"
LEVELS: Mapping[str, Level] = {"mhc": "error", "hc": "error", "residual": "error"}
WHAT = """
The streams are collapsed to one and expanded again on their way: within each site before the branch is
added, or between sites, which leaves matrices of rank one to within 1e-6. Composites then reach over the
sites of one block at most, whatever the depth.
"""
WHY = """
Hyper-Connections are n residual paths with connections; collapsed at every block they are 1 path with a
block that is n times as wide. Stable composites prove nothing then: their depth is 1 or 2 and not 60.
"""
FIX = """
Expand the streams once, after the embedding, and reduce them once, before the final norm. Blocks take and
return all n streams.
"""
REFERENCES = (
    "Kolasinski, reproduction log of mHC: streams expanded and reduced in every block",
    "Zhu et al., Hyper-Connections, arXiv 2409.19606, section 2",
)
EXPLAINS = ("MHC101", "MHC102", "MHC103", "MHC104", "MHC201", "MHC204", "MHC301", "MHC302", "MHC304")


def check(report: Report) -> Iterator[Evidence]:
    """What the probe saw of it."""
    for remark in report.provenance.remarks:
        if remark.check == "not-persistent":
            yield Evidence(remark.sentence)
            return
