"""One file = one kind of residual path, and what is expected of it.

Its file provides

    TITLE              what it is, in a few words
    PLACE              the order in which profiles are tried
    fits(report)       whether a report is of that kind

What is expected, each finding says by the profile's name (see `mhc_diag.findings`).
"""

from __future__ import annotations

from typing import Protocol, cast

from mhc_diag import plugins
from mhc_diag.records import Report

PACKAGE = "mhc_diag.profiles"
NAMES = ("hc", "mhc", "residual")


class Profile(Protocol):
    """What the file of a profile provides."""

    TITLE: str
    PLACE: int

    def fits(self, report: Report) -> bool:
        """Whether a report is of that kind."""


def choose(report: Report) -> str:
    """The name of the first profile that fits.

    Example:
        >>> from mhc_diag.records import Provenance
        >>> path = Provenance("example", "simulated", "made by hand", "direct", "none")
        >>> choose(Report("one stream", 1, 1, (), (), (), path))
        'residual'
    """
    known = cast("dict[str, Profile]", plugins.load_all(PACKAGE))
    ordered = sorted(known.items(), key=lambda item: item[1].PLACE)
    return next(name for name, profile in ordered if profile.fits(report))
