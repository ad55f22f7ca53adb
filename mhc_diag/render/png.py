"""PNG: the gain curves as a picture of 11 x 4.5 inches at 150 dots per inch.

One report: single-site gains and composite gains, forward and backward, over the site index. Several reports:
their composite gains, forward and backward, side by side.
"""

from __future__ import annotations

from collections.abc import Sequence

from mhc_diag import figures
from mhc_diag.records import Report
from mhc_diag.verdict import Verdict

SUFFIX = ".png"


def render(reports: Sequence[Report], verdict: Verdict | None = None) -> bytes:
    """The gain curves as a PNG file."""
    return figures.picture(reports, "png")
