"""How well Sinkhorn has converged at each site: what it left over, from which logits, and what it needs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mhc_diag.figures.axis import COLORS, LINES, MARKERS, Floats, grid, named, printable, site_axis
from mhc_diag.figures.marks import edges
from mhc_diag.figures.sheet import below, nothing, sheet
from mhc_diag.figures.theme import palette
from mhc_diag.figures.words import worst
from mhc_diag.records import Curve, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DEAD = 30.0
"""Range of the logits from which on the gradient through the projection underflows."""
MOST = 4
"""Reports that are drawn."""
FEWEST_DECADES = 2.0


@dataclass(frozen=True, slots=True)
class Panel:
    """Metrics of single sites that share an axis."""

    title: str
    metrics: dict[str, str]
    """Name of the metric, and what the legend calls it."""
    unit: str
    logarithmic: bool = False


PANELS = (
    Panel(
        "Residual of the sums",
        {"row_residual": "rows", "column_residual": "columns"},
        "largest abs(sum - 1)",
        logarithmic=True,
    ),
    Panel("Range of the logits", {"log_nu": "logits"}, "max - min"),
    Panel("Iterations needed for 1e-6", {"sinkhorn_iterations": "needed"}, "iterations", logarithmic=True),
)


def draw(reports: Sequence[Report], *, stacked: bool = False) -> Figure:
    """The worst over tokens at every site, in a panel for each kind of number that is known."""
    reason = missing(reports)
    if reason:
        return nothing(reason, stacked=stacked)
    shown = list(reports)[:MOST]
    panels = [p for p in PANELS if any(list(_curves(r, p)) for r in shown)]
    figure, grid_of = sheet(shown, len(panels), stacked=stacked)
    for axes, panel in zip(grid_of, panels, strict=True):
        _panel(axes, panel, shown)
    return figure


def missing(reports: Sequence[Report]) -> str:
    """Why there is nothing to show; empty where there is."""
    if any(list(_curves(report, panel)) for report in reports for panel in PANELS):
        return ""
    return "Residuals were not measured: choose all metrics."


def in_words(reports: Sequence[Report]) -> str:
    """The worst site of each number."""
    told = []
    for report in reports:
        parts = []
        for panel in PANELS:
            for name, curve in _curves(report, panel):
                number, site = worst(curve)
                what = panel.title.lower() if len(panel.metrics) == 1 else f"{name} residual"
                parts.append(f"{what} at most {number}, at site {site}")
        if parts:
            told.append(f"{printable(report.name)}: {'; '.join(parts)}.")
    return f"Convergence of Sinkhorn over the sites. {' '.join(told)}"


def _curves(report: Report, panel: Panel) -> Iterator[tuple[str, Curve]]:
    for metric, name in panel.metrics.items():
        with contextlib.suppress(KeyError):
            yield name, report.curve(metric, "site", "max")


def _panel(axes: Axes, panel: Panel, reports: Sequence[Report]) -> None:
    found = [(r, name, curve) for r in reports for name, curve in _curves(r, panel)]
    site_axis(axes, max(len(curve.value) for *_, curve in found))
    axes.set(title=panel.title, ylabel=panel.unit)
    handles: list[Any] = []
    drawn: list[Floats] = []
    for i, (report, name, curve) in enumerate(found):
        values = curve.log10 if panel.logarithmic else curve.value
        finite = np.where(np.isfinite(values), values, np.nan)
        drawn.append(finite)
        label = name if len(reports) == 1 else f"{named(report.name)[:24]}: {name}"
        style: dict[str, Any] = {"color": COLORS[i % len(COLORS)], "linestyle": LINES[i % len(LINES)]}
        every = max(1, len(values) // 20)
        handles += axes.plot(
            np.arange(len(values)), finite, label=label, marker=MARKERS[i % len(MARKERS)], markersize=4,
            markevery=(i * every // len(found), every), linewidth=1.4, **style,
        )  # fmt: skip
        broken = np.isnan(values) | np.isposinf(values)
        handles += edges(axes, i, label, broken=broken, zero=np.isneginf(values) & panel.logarithmic)
    for place, label in _reference(panel, reports):
        look: dict[str, Any] = {"color": palette().ink, "linewidth": 1, "linestyle": (0, (4, 3))}
        handles.append(axes.axhline(place, label=label, **look))
        drawn.append(np.array([place]))
    _scale(axes, panel, np.concatenate(drawn))
    below(axes, handles, columns=2)


def _reference(panel: Panel, reports: Sequence[Report]) -> Iterator[tuple[float, str]]:
    """What a number should stay below: its place on the axis, and what it is."""
    if "log_nu" in panel.metrics:
        yield DEAD, f"gradient underflows ({DEAD:g})"
    if "sinkhorn_iterations" in panel.metrics:
        promises = [r.provenance.promise for r in reports if r.provenance.promise is not None]
        for count in sorted({promise.iterations for promise in promises} - {0}):
            yield math.log10(count), f"iterations made ({count})"


def _scale(axes: Axes, panel: Panel, values: Floats) -> None:
    """Limits and ticks: plain numbers, or powers of ten."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    grid(axes)
    if not panel.logarithmic:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        return
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    pad = max(FEWEST_DECADES - (high - low), 0.0) / 2 + 0.05 * (high - low)
    low, high = low - pad, high + pad
    ticks = MaxNLocator(nbins=7, steps=[1, 2, 5, 10], integer=True).tick_values(low, high)
    axes.set_ylim(low, high)
    inside = [int(t) for t in ticks if low <= t <= high]
    axes.yaxis.set_major_locator(FixedLocator(inside))
    short = max(map(abs, inside), default=0) <= 3
    axes.set_yticks(inside, [f"{10.0**p:g}" if short else f"$10^{{{p}}}$" for p in inside])
