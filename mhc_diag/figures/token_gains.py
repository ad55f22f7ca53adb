"""How the tokens' worst composite gains over all depths are distributed, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mhc_diag.figures.axis import COLORS, LINES, Floats, gain_axis, limits, named, printable
from mhc_diag.figures.sheet import key, nothing, sheet
from mhc_diag.figures.words import gain
from mhc_diag.records import COMPOSITE, DIRECTIONS, Direction, Histogram, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DECADES = 2.5
FARTHEST = 4.0
"""How many times as high as all bins together the axis may be."""
MOST = 8
"""Reports that are drawn."""


def draw(reports: Sequence[Report], *, stacked: bool = False) -> Figure:
    """Histograms of log10 of the gains, which stand on the vertical axis as in the gain curves.

    Several reports are outlines over each other. Tokens that are zero or not finite have no bin; the title
    counts them.
    """
    from matplotlib.ticker import MaxNLocator

    reason = missing(reports)
    if reason:
        return nothing(reason, stacked=stacked)
    shown = [r for r in reports if r.histograms][:MOST]
    figure, panels = sheet(shown, 2, stacked=stacked)
    unit = shown[0].provenance.token_axis
    for axes, direction in zip(panels, DIRECTIONS, strict=True):
        found = {i: h for i, r in enumerate(shown) if (h := _of(r, direction)) is not None}
        gain_axis(axes, *_span([_edges(h) for h in found.values()]))
        for i, histogram in found.items():
            _bars(axes, i, shown[i].name, histogram, alone=len(shown) == 1)
        heading = f"Worst composite gain of each {unit}, {direction}"
        axes.set_title(heading + _lost(list(found.values())), fontsize=11 if stacked else 12)
        axes.set(xlabel=f"{unit}s", ylabel="Amax gain magnitude")
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10], integer=True))
    if len(shown) > 1:
        key(figure, *panels[0].get_legend_handles_labels(), stacked=stacked)
    return figure


def missing(reports: Sequence[Report]) -> str:
    """Why there is no distribution; empty where there is."""
    if any(report.histograms for report in reports):
        return ""
    if all(report.tokens == 1 for report in reports):
        return "All tokens have the same matrices, so that there is no distribution over them."
    return "The report does not say how gains are distributed over tokens."


def in_words(reports: Sequence[Report]) -> str:
    """Where the tokens lie: the range of all, and of the fullest bin."""
    told = [
        f"{printable(report.name)}, {direction}: {_read(histogram)}."
        for report in reports
        for direction in DIRECTIONS
        if (histogram := _of(report, direction)) is not None
    ]
    return f"Worst composite gain of each token. {' '.join(told)}"


def _of(report: Report, direction: Direction) -> Histogram | None:
    return next((h for h in report.histograms if (h.metric, h.scope) == COMPOSITE[direction]), None)


def _edges(histogram: Histogram) -> Floats:
    return histogram.low + histogram.width * np.arange(len(histogram.counts) + 1)


def _span(edges: Sequence[Floats]) -> tuple[float, float]:
    """Limits of the axis; a gain of 1 is in sight unless the bins would have no room beside it."""
    low, high = (float(f([f(e) for e in edges if len(e) > 1] or [0.0])) for f in (np.min, np.max))
    reach = max(high, 0.0) - min(low, 0.0)
    if reach <= FARTHEST * (high - low):
        return limits(edges)
    pad = max(0.07 * (high - low), (DECADES - (high - low)) / 2)  # so that powers of ten are in sight
    return low - pad, high + pad


def _read(histogram: Histogram) -> str:
    edges, parts = _edges(histogram), []
    if histogram.counts:
        top = int(np.argmax(histogram.counts))
        total = sum(histogram.counts)
        parts.append(f"{total} between {gain(edges[0])} and {gain(edges[-1])}")
        bin_of_most = f"from {gain(edges[top])} to {gain(edges[top + 1])}"
        parts.append(f"the fullest bin {bin_of_most} with {max(histogram.counts)}")
    parts += [f"{histogram.nonfinite} not finite"] if histogram.nonfinite else []
    parts += [f"{histogram.zero} zero"] if histogram.zero else []
    return ", ".join(parts)


def _lost(found: Sequence[Histogram]) -> str:
    counts = (("not finite", sum(h.nonfinite for h in found)), ("zero", sum(h.zero for h in found)))
    told = [f"{count} {what}" for what, count in counts if count]
    return f"\n({', '.join(told)})" if told else ""


def _bars(axes: Axes, index: int, name: str, histogram: Histogram, *, alone: bool) -> None:
    if not histogram.counts:
        return
    outline = {"linestyle": LINES[index % len(LINES)], "linewidth": 1.6}
    look: dict[str, Any] = {"fill": True, "alpha": 0.8} if alone else outline
    look |= {"color": COLORS[index % len(COLORS)], "label": named(name)}
    axes.stairs(histogram.counts, _edges(histogram), orientation="horizontal", **look)
