"""Gains over the number of Sinkhorn iterations: how many are enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mhc_diag.figures.axis import COLORS, MARKERS, gain_axis, limits, printable
from mhc_diag.figures.sheet import key, sheet
from mhc_diag.records import DIRECTIONS, Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEWEST = 3
STATISTICS = {"p50": "median", "p99": "p99", "max": "largest"}


def turned(reports: Sequence[Report]) -> bool:
    """Whether reports differ by their number of iterations, so that a curve over it can be drawn."""
    return len({r.provenance.settings["sinkhorn_iters"] for r in _on_dial(reports)}) >= FEWEST


def dial(reports: Sequence[Report], *, stacked: bool = False) -> Figure:
    """Worst composite gains over all depths, forward and backward, by the number of iterations.

    Median, p99 and largest over the stacks. Reports without iterations, such as unconstrained mixing, are
    lines at their median. What is not finite is left out and counted in the title.
    """
    on, off = _on_dial(reports), [r for r in reports if r not in _on_dial(reports)]
    figure, panels = sheet(reports, 2, stacked=stacked)
    iterations = [int(r.provenance.settings["sinkhorn_iters"]) for r in on]
    curves = {
        (d, statistic): np.array([r.worst(d, statistic).log10 for r in on])
        for d in DIRECTIONS
        for statistic in STATISTICS
    }
    levels = {(d, r.name): np.array([r.worst(d, "p50").log10]) for d in DIRECTIONS for r in off}
    span = limits([*curves.values(), *levels.values()])
    for axes, direction in zip(panels, DIRECTIONS, strict=True):
        shown = {s: values for (d, s), values in curves.items() if d == direction}
        for index, (statistic, values) in enumerate(shown.items()):
            finite = np.where(np.isfinite(values), values, np.nan)
            look: dict[str, Any] = {"color": COLORS[index], "marker": MARKERS[index], "markersize": 4}
            axes.plot(iterations, finite, label=STATISTICS[statistic], **look)
        named = {name: level for (d, name), level in levels.items() if d == direction and np.isfinite(level)}
        for index, (name, level) in enumerate(named.items(), start=len(STATISTICS)):
            color = COLORS[index % len(COLORS)]
            axes.axhline(level[0], color=color, linestyle="--", label=f"{printable(name)} (median)")
        lost = sum(int((~np.isfinite(values)).sum()) for values in shown.values())
        missing = f" ({lost} not finite or 0)" if lost else ""
        axes.set(title=f"Worst composite gain, {direction}{missing}", xlabel="Sinkhorn iterations")
        gain_axis(axes, *span)
        axes.set_xticks(iterations if len(iterations) <= 25 else iterations[:: len(iterations) // 12])
    for axes in panels if stacked else panels[:1]:
        axes.set_ylabel("Amax gain magnitude")
    key(figure, *figure.axes[0].get_legend_handles_labels(), stacked=stacked)
    return figure


def _on_dial(reports: Sequence[Report]) -> list[Report]:
    return [r for r in reports if "sinkhorn_iters" in r.provenance.settings]
