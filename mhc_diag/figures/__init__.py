"""Reports as pictures, one file each.

The file of a picture provides

    draw(reports, stacked=False)
                       the figure: panels side by side, or for a narrow page one below the other; of reports
                       that lack what it shows, a figure that says so
    missing(reports)   why there is nothing to show; empty where there is
    in_words(reports)  its numbers in words, for readers who do not see it
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, cast

from mhc_diag.figures.saved import Kind, saved
from mhc_diag.figures.theme import Theme
from mhc_diag.records import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PICTURES", "Kind", "Theme", "picture"]

PICTURES = {
    "curves": "gain_curves",
    "triangle": "heatmap",
    "matrices": "site_matrices",
    "sinkhorn": "sinkhorn_health",
    "growth": "growth",
    "tokens": "token_gains",
}
"""What can be drawn: the name for users, and the file."""


class Picture(Protocol):
    """What the file of a picture provides."""

    def draw(self, reports: Sequence[Report], *, stacked: bool = False) -> Figure:
        """The figure."""

    def missing(self, reports: Sequence[Report]) -> str:
        """Why there is nothing to show; empty where there is."""

    def in_words(self, reports: Sequence[Report]) -> str:
        """Its numbers in words."""


def load(name: str) -> Picture:
    """The file of a picture.

    Example:
        >>> load("tokens").missing([])
        'All tokens have the same matrices, so that there is no distribution over them.'
    """
    return cast("Picture", importlib.import_module(f"{__name__}.{PICTURES[name]}"))


def picture(
    reports: Sequence[Report],
    kind: Kind,
    name: str = "curves",
    *,
    theme: Theme = "light",
    stacked: bool = False,
) -> bytes:
    """The picture of some reports as a file that is the same, byte for byte, for the same reports.

    Args:
        reports: what it shows.
        kind: form of the file.
        name: which of `PICTURES`. The gain curves of reports that differ by their number of Sinkhorn
            iterations, three and more, are drawn over that number, all others over the sites.
        theme: for a light or a dark page.
        stacked: for a narrow page.
    """
    return saved(lambda: load(name).draw(reports, stacked=stacked), kind, theme)
