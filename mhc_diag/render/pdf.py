"""PDF: the gain curves as a scalable picture for papers.

One report: single-site gains and composite gains, forward and backward, over the site index. Several reports:
their composite gains, forward and backward, side by side. The same reports give the same file, byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence

from mhc_diag import figures
from mhc_diag.records import Report
from mhc_diag.verdict import Verdict

SUFFIX = ".pdf"


def render(reports: Sequence[Report], verdict: Verdict | None = None) -> bytes:
    """The gain curves as a PDF file."""
    return figures.picture(reports, "pdf")
