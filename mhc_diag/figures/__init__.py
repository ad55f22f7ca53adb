"""Reports as pictures: what is drawn for which reports."""

from __future__ import annotations

from collections.abc import Sequence

from mhc_diag.figures.saved import Kind, saved
from mhc_diag.records import Report

__all__ = ["Kind", "picture"]


def picture(reports: Sequence[Report], kind: Kind) -> bytes:
    """The picture of some reports as a file that is the same, byte for byte, for the same reports.

    Reports that differ by their number of Sinkhorn iterations, three and more, are drawn over that number,
    all others over the sites.
    """
    from mhc_diag.figures.dial import dial, turned
    from mhc_diag.figures.gain_curves import gain_curves

    return saved(lambda: (dial if turned(reports) else gain_curves)(reports), kind)
