"""Axes of gains and sites: titles, limits and ticks.

What is plotted is log10 of a gain on a linear axis, so that gains beyond float64 have a place like any other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mhc_diag.figures.theme import palette
from mhc_diag.records import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette, which colour-blind readers can tell apart."""
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P")
SMALLEST_SPAN = 0.02
"""Decades: on a smaller range, rounding errors would look like mountains."""
Floats = np.ndarray[Any, Any]


def title(reports: Sequence[Report]) -> str:
    """What was measured, in one line."""
    names = ", ".join(printable(r.name) for r in reports)
    names = names if len(names) <= 80 else f"{names[:38]} ... {names[-38:]}"
    first = next((r for r in reports if r.provenance.token_axis != "none"), reports[0])
    text = f"{names}: n = {first.streams}, L = {len(first.sites)}"
    unit = first.provenance.token_axis
    return text if unit == "none" else f"{text}, T = {first.tokens} {unit}{'s' if first.tokens > 1 else ''}"


def printable(text: str) -> str:
    """Text without anything that a font cannot show."""
    return "".join(c if c.isprintable() else " " for c in text)


def named(text: str) -> str:
    """A curve's name for a legend, which would leave out one that begins with an underscore."""
    return " " * text.startswith("_") + printable(text)


def plain(legend: Legend) -> None:
    """Texts of a legend as they are, without a frame."""
    legend.set_frame_on(False)
    for text in legend.get_texts():
        text.set_parse_math(False)


def limits(curves: Sequence[Floats]) -> tuple[float, float]:
    """Lowest and highest place that these curves of log10 need; a gain of 1 is always in sight."""
    everything = np.concatenate(curves)
    finite = np.append(everything[np.isfinite(everything)], 0.0)
    low, high = float(finite.min()), float(finite.max())
    missing = max(SMALLEST_SPAN - (high - low), 0.0)
    pad = 0.07 * (high - low + missing) + missing / 2
    return low - pad, high + pad


def gain_axis(axes: Axes, low: float, high: float) -> None:
    """Limits, a line at a gain of 1, and ticks with gains on them."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator

    axes.set_ylim(low, high)
    axes.axhline(0.0, color=palette().faint, linewidth=1, linestyle=(0, (1, 3)), zorder=1)
    if high - low < 2:
        places, labels = plain_ticks(10**low, 10**high)
    else:
        nice = MaxNLocator(nbins=9, steps=[1, 2, 5, 10], integer=True)
        powers = [int(p) for p in nice.tick_values(low, high)]
        places, labels = [float(p) for p in powers], [f"$10^{{{p}}}$" for p in powers]
        if powers[1] - powers[0] == 1:
            minor = [p + math.log10(d) for p in powers for d in range(2, 10)]
            axes.yaxis.set_minor_locator(FixedLocator(minor))
    axes.yaxis.set_major_locator(FixedLocator(places))
    axes.yaxis.set_major_formatter(FixedFormatter(labels))
    grid(axes)


def grid(axes: Axes) -> None:
    """Thin lines behind everything."""
    axes.grid(visible=True, color=palette().grid, linewidth=0.6)
    axes.set_axisbelow(True)


def site_axis(axes: Axes, length: int) -> None:
    """Limits and ticks for the sites."""
    from matplotlib.ticker import MaxNLocator

    margin = max(0.5, 0.02 * length)
    axes.set_xlabel("site index l")
    axes.set_xlim(-margin, length - 1 + margin)
    nice = MaxNLocator(nbins=9, steps=[1, 2, 5, 10], integer=True)
    axes.set_xticks([x for x in nice.tick_values(0, max(length - 1, 1)) if 0 <= x < length])


def plain_ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    """Places (log10) and labels of ticks for gains that need no powers of ten."""
    from matplotlib.ticker import MaxNLocator

    if high < 3 * low:
        nice = MaxNLocator(nbins=7, steps=[1, 2, 5, 10])
        values = [float(v) for v in nice.tick_values(low, high) if v > 0]
        digits = max(0, -math.floor(math.log10(values[1] - values[0]) + 1e-9))
        return [math.log10(v) for v in values], [f"{v:.{digits}f}" for v in values]
    marks = (1, 1.5, 2, 3, 5, 7) if high < 10 * low else (1, 2, 5)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [mark * 10.0**power for power in powers for mark in marks]
    return [math.log10(v) for v in values], [f"{v:g}" for v in values]
