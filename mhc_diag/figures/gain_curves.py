"""The gain curves as a figure, laid out as Fig. 3 of arXiv 2512.24880: Amax gains over the sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mhc_diag.figures.axis import (
    COLORS,
    LINES,
    MARKERS,
    Floats,
    gain_axis,
    limits,
    named,
    printable,
    site_axis,
)
from mhc_diag.figures.marks import edges
from mhc_diag.figures.sheet import below, key, sheet
from mhc_diag.figures.theme import palette
from mhc_diag.figures.words import worst
from mhc_diag.records import COMPOSITE, DIRECTIONS, Direction, Report, Scope

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

GAIN = "Amax gain magnitude"
SIGNALS: dict[Direction, tuple[str, Scope]] = {
    "forward": ("activation_rms", "prefix"),
    "backward": ("gradient_rms", "suffix"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """log10 of one gain at every site, under the statistics that are drawn."""

    label: str
    line: Floats
    band: tuple[Floats, Floats] | None
    largest: Floats | None
    broken: Floats
    """Sites where a statistic, drawn or not, is infinite or NaN."""

    @property
    def drawn(self) -> list[Floats]:
        """All curves that need a place on the axis."""
        return [x for x in (self.line, *(self.band or ()), self.largest) if x is not None]

    @property
    def zero(self) -> Floats:
        """Sites where the line is at a gain of 0."""
        return np.isneginf(self.line) & ~self.broken


def draw(reports: Sequence[Report], *, stacked: bool = False) -> Figure:
    """The gain curves, or the dial where reports differ by their number of Sinkhorn iterations."""
    from mhc_diag.figures.dial import dial, turned

    return (dial if turned(reports) else gain_curves)(reports, stacked=stacked)


def missing(reports: Sequence[Report]) -> str:
    """Nothing: every report has the Amax gains."""
    return ""


def in_words(reports: Sequence[Report]) -> str:
    """The largest gains and where they are."""
    return " ".join(_largest(report) for report in reports)


def _largest(report: Report) -> str:
    parts = []
    for what, where in (
        ("single-site", ("at site", "at site")),
        ("composite", ("through site", "from site")),
    ):
        for direction, preposition in zip(DIRECTIONS, where, strict=True):
            metric, composite = COMPOSITE[direction]
            curve = report.curve(metric, "site" if what == "single-site" else composite, "max")
            number, site = worst(curve)
            parts.append(f"{what} {direction} {number} {preposition} {site}")
    broken = sum(1 for count in report.nonfinite if count)
    lost = f"; {broken} of {len(report.sites)} sites hold numbers that are not finite" if broken else ""
    return f"Largest gains of {printable(report.name)}: {', '.join(parts)}{lost}."


def gain_curves(reports: Sequence[Report], *, stacked: bool = False) -> Figure:
    """The gain curves of one report, or the composite gains of several.

    One report: single-site gains on the left and composite gains on the right, forward and backward; a line
    for the mean over tokens, a band from p05 to p95 and a thin line for the largest. Several reports:
    composite gains, forward on the left and backward on the right; a line for the median and the same band,
    and below that the RMS of random signals and gradients where they were simulated.
    A gain that is infinite or NaN is a cross at the top edge, a gain of 0 one at the bottom edge; the legend
    counts both. Stacked, the panels stand one below the other, without a title.
    """
    signals = all(_has_signals(r) for r in reports)
    figure, panels = sheet(reports, 2, stacked=stacked, rows=2 if signals else 1)
    if len(reports) == 1:
        traces = [_trace(reports[0], d, f"amax_{d}", "site", "mean") for d in DIRECTIONS]
        _panel(panels[0], "Single-site mapping", traces, _limits(traces))
        traces = [_trace(reports[0], d, *COMPOSITE[d], "mean") for d in DIRECTIONS]
        lines = _panel(panels[1], "Composite mapping", traces, _limits(traces))
    else:
        titles = (
            "Composite mapping, forward (sites 0 to l)",
            "Composite mapping, backward (sites l to the last)",
        )
        lines, traces = _pair(panels[:2], titles, reports, COMPOSITE, GAIN)
    if signals:
        titles = ("Random signals, after site l", "Random gradients, at the input of site l")
        _pair(panels[2:], titles, reports, SIGNALS, "RMS")
    statistic = "mean" if len(reports) == 1 else "median"
    key(figure, *_entries(lines, traces, statistic), stacked=stacked)
    return figure


def _pair(
    panels: Sequence[Axes],
    titles: Sequence[str],
    reports: Sequence[Report],
    curves: Mapping[Direction, tuple[str, Scope]],
    unit: str,
) -> tuple[list[Line2D], list[Trace]]:
    """Medians of all reports, forward and backward, on one scale."""
    forward, backward = ([_trace(r, r.name, *curves[d], "p50") for r in reports] for d in DIRECTIONS)
    span = _limits([*forward, *backward])
    lines = _panel(panels[0], titles[0], forward, span, unit)
    _panel(panels[1], titles[1], backward, span, unit)
    return lines, forward


def _has_signals(report: Report) -> bool:
    return SIGNALS["forward"][0] in {card.name for card in report.cards}


def _trace(report: Report, label: str, metric: str, scope: Scope, center: str) -> Trace:
    line, low, high, largest = (
        report.curve(metric, scope, statistic).log10 for statistic in (center, "p05", "p95", "max")
    )
    broken = np.any([np.isnan(x) | np.isposinf(x) for x in (line, low, high, largest)], axis=0)
    varies = report.tokens > 1 and report.provenance.token_axis != "none"
    return Trace(
        label=named(label),
        line=line,
        band=(low, high) if varies else None,
        largest=largest if varies and center == "mean" else None,
        broken=broken,
    )


def _limits(traces: Sequence[Trace]) -> tuple[float, float]:
    return limits([x for t in traces for x in t.drawn])


def _panel(
    axes: Axes, heading: str, traces: Sequence[Trace], span: tuple[float, float], unit: str = GAIN
) -> list[Line2D]:
    gain_axis(axes, *span)
    site_axis(axes, max(len(t.line) for t in traces))
    axes.set(title=heading, ylabel=unit)
    lines = [_draw(axes, i, len(traces), trace, span) for i, trace in enumerate(traces)]
    marks = [
        mark for i, t in enumerate(traces) for mark in edges(axes, i, t.label, broken=t.broken, zero=t.zero)
    ]
    below(axes, marks, columns=2)
    return lines


def _draw(axes: Axes, index: int, count: int, trace: Trace, span: tuple[float, float]) -> Line2D:
    sites = np.arange(len(trace.line))
    look: dict[str, Any] = {"color": COLORS[index % len(COLORS)], "linestyle": LINES[index % len(LINES)]}
    every = max(1, len(sites) // 20)
    staggered = (index * every // count, every)  # so that curves that lie on each other all show
    lonely = len(sites) == 1 or trace.broken.any() or trace.zero.any()  # points that no line leads to
    (line,) = axes.plot(
        sites,
        np.where(np.isfinite(trace.line), trace.line, np.nan),
        marker=MARKERS[index % len(MARKERS)],
        markersize=4,
        markevery=1 if lonely else staggered,
        linewidth=1.6,
        label=trace.label,
        zorder=3,
        **look,
    )
    if trace.largest is not None:
        thin = np.where(np.isfinite(trace.largest), trace.largest, np.nan)
        axes.plot(sites, thin, marker="_" if lonely else "", markersize=4, linewidth=0.7, **look)
    if trace.band is not None:
        low, high = (np.clip(x, *span) for x in trace.band)
        ok, pale = ~trace.broken, {"color": look["color"], "alpha": 0.2}
        if len(sites) == 1:
            axes.vlines(sites[ok], low[ok], high[ok], linewidth=4 + 8 * (count - index), **pale)
        else:
            axes.fill_between(sites, low, high, where=ok, linewidth=0, **pale)
    return line


def _entries(lines: Sequence[Line2D], traces: Sequence[Trace], statistic: str) -> tuple[list[Any], list[str]]:
    """What the legend shows, and the names of it."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    shown: list[Any] = [*lines]
    names = [t.label for t in traces]
    if any(t.band is not None for t in traces):
        shown.append(Patch(color="0.5", alpha=0.3))
        names = [f"{name} ({statistic})" for name in names] + ["p05 to p95"]
    if any(t.largest is not None for t in traces):
        shown.append(Line2D([], [], color=palette().faint, linewidth=0.7))
        names.append("largest")
    return shown, names
