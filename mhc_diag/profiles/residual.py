"""One stream: an ordinary residual path, which should carry what enters it unchanged."""

from __future__ import annotations

from mhc_diag.records import Report

TITLE = "an ordinary residual path of one stream"
PLACE = 0


def fits(report: Report) -> bool:
    """Whether there is one stream."""
    return report.streams == 1
