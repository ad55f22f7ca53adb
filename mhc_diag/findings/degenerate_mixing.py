"""Mixing of rank one: all ones, or copies of one stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mhc_diag.findings import Evidence, seen
from mhc_diag.findings._sites import at_of, at_zero_input, named
from mhc_diag.records import Report
from mhc_diag.verdict import Level, Place

ID = "MHC204"
TITLE = "mixing of rank one"
LEVELS: Mapping[str, Level] = {"mhc": "error", "hc": "error", "residual": "off"}
WHAT = """
At half of the sites or more, M of the typical token has an effective rank of 1.01 or less, and is not
the average 1/n (of which MHC201 tells): all ones, which adds up the streams, or a single column that is
not 0, which makes every stream a copy of one of them, or a single row.
"""
WHY = """
What comes out of such a site is one signal, so that the other n - 1 streams are paid for and carry
nothing. All ones amplify besides, by n at every site: with 4 streams a factor of 4^60 = 1e36 at 60
sites, which is what hyper-connections 0.3.10 and 0.3.11 apply when told to sum. Mixing that is meant to
be nearly uniform is far from this: Megatron-LM's at initialisation has an effective rank of 1.1.
"""
FIX = """
Look at how the matrix is made and applied at the site that is named. Candidates are a softmax over the
wrong axis or over logits that are far apart in one column, a reduction of the streams (a sum, or an index)
that runs at every site and not only at the end, and a missing `keepdim`.
"""
REFERENCES = (
    "hyper-connections 0.3.10 and 0.3.11: residual streams are summed at every site",
    "Roy and Vetterli, The effective rank, 2007",
)
EXPLAINS = ("MHC101", "MHC102", "MHC103", "MHC104", "MHC201", "MHC203", "MHC301", "MHC302", "MHC304")
RANK = 1.01
AVERAGE = 1e-3
"""Uniformity up to which it is MHC201."""
MOST = 0.5
"""Share of the sites."""


def check(report: Report) -> Iterator[Evidence]:
    """Sites of rank one."""
    import numpy as np

    rank, even = seen(report, "effective_rank", "site", "p50"), seen(report, "uniformity", "site", "p50")
    if report.streams < 2 or rank is None or even is None:
        return
    bad = (rank.value > 0) & (rank.value <= RANK) & (even.value > AVERAGE)  # 0 of a matrix of zeros
    if np.mean(bad) < MOST:
        return
    site = int(np.argmin(np.where(bad, rank.value, np.inf)))
    value = float(rank.value[site])
    place = Place("effective_rank", "site", "p50", value, float(np.log10(value)), site,
                  report.sites[site].label)  # fmt: skip
    count = at_of(report, int(bad.sum()))
    yield Evidence(
        f"M has an effective rank of {value:.3g} of {report.streams} {count}, as at {named(report, site)}",
        place,
        "warn" if at_zero_input(report) else None,
    )
