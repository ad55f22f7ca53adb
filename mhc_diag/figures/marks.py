"""What has no place on a logarithmic axis: crosses at its edges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mhc_diag.figures.axis import COLORS, Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


def edges(
    axes: Axes,
    index: int,
    label: str,
    *,
    broken: Floats,
    zero: Floats,
    at: Floats | None = None,
    unit: str = "site",
) -> Iterator[Line2D]:
    """Crosses of one curve: at the top where it is infinite or NaN, at the bottom where it is zero.

    Args:
        axes: where to draw.
        index: which curve it is, so that crosses of several do not hide each other.
        label: its name.
        broken: (L,) where it is no finite number.
        zero: (L,) where it is 0.
        at: (L,) places along the axis; none means 0, 1, 2.
        unit: what a place is.
    """
    for which, edge, inward, what in ((broken, 1.0, -1, "not finite"), (zero, 0.0, 1, "zero")):
        sites = np.flatnonzero(which)
        if len(sites):
            yield from axes.plot(
                sites if at is None else at[sites],
                np.full(len(sites), edge + inward * 0.035 * index),
                transform=axes.get_xaxis_transform(),
                linestyle="none",
                marker="x",
                markersize=6,
                markeredgewidth=1.6,
                color=COLORS[index % len(COLORS)],
                clip_on=False,
                label=f"{label}: {what} ({len(sites)} {unit}{'s' if len(sites) > 1 else ''})",
                zorder=5,
            )
