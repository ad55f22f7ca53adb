"""Which sites of a report are meant, in words, and what they were measured at."""

from __future__ import annotations

from mhc_diag.findings import seen
from mhc_diag.records import Report


def named(report: Report, site: int) -> str:
    """As in `site 3 (layers.1.mlp)`."""
    label = report.sites[site].label
    return f"site {site}" + (f" ({label})" if label else "")


def at_of(report: Report, count: int) -> str:
    """As in `at 5 of 60 sites`, or `at all 60 sites`."""
    depth = len(report.sites)
    return f"at all {depth} sites" if count == depth else f"at {count} of {depth} sites"


def at_zero_input(report: Report) -> bool:
    """Whether the matrices are those of zero input, and others at every real one.

    Bounds for every input are there only where the matrices depend on it.
    """
    return report.provenance.method == "static" and seen(report, "amax_forward", "site", "bound") is not None
