"""The gain of every composite of sites l to k as a heat map: where in the stack a blow-up begins and ends.

The row l = 0 holds the prefixes, the last column the suffixes, the diagonal the single sites. What is
coloured is log10 of a gain: white is a gain of 1, and ten times as much is as far from it as a tenth.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mhc_diag.figures.axis import SMALLEST_SPAN, plain_ticks, printable, title
from mhc_diag.figures.saved import Kind, saved
from mhc_diag.figures.sheet import DPI, NARROW, WIDE, nothing
from mhc_diag.figures.theme import Theme, palette
from mhc_diag.figures.words import gain
from mhc_diag.records import COMPOSITE, DIRECTIONS, Direction, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

COLORS = "RdBu_r"
NOT_FINITE, ZERO = "#009E73", "black"
SAME = 1e-9
"""Decades: gains that differ by less are equal but for rounding."""
IN_WORDS = {"max": "largest over", "mean": "mean over", "p50": "median over", "p99": "p99 over"}
LONGEST = 40
"""Characters in a line of a title on a narrow page."""
MARK = 70.0  # square points

Floats = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One triangle and what its picture is made of."""

    log10: Floats
    """(L, L), entry [l, k]."""

    @property
    def above(self) -> Floats:
        """Which entries are composites."""
        return np.triu(np.ones(self.log10.shape, dtype=bool))

    @property
    def zero(self) -> Floats:
        """Which gains are 0."""
        return self.above & np.isneginf(self.log10)

    @property
    def broken(self) -> Floats:
        """Which gains are infinite or NaN."""
        return self.above & (np.isnan(self.log10) | np.isposinf(self.log10))

    @property
    def finite(self) -> Floats:
        """The gains that have a colour on the scale."""
        return self.log10[self.above & np.isfinite(self.log10)]

    @property
    def worst(self) -> tuple[int, int] | None:
        """First and last site of the largest finite gain, the first of equals; none if all read the same."""
        finite = self.finite
        alike = len(finite) == self.above.sum() and gain(finite.min()) == gain(finite.max())
        if not len(finite) or alike:
            return None
        first, last = np.argwhere(np.isfinite(self.log10) & (self.log10 > finite.max() - SAME))[0]
        return int(first), int(last)

    @property
    def in_words(self) -> str:
        """The largest gain and where it is."""
        finite = self.finite
        if not len(finite):
            return "no gain is finite and above 0"
        text = gain(finite.max())
        if self.worst is None:
            return f"{text} everywhere"
        first, last = self.worst
        where = f"site {first}" if first == last else f"sites {first} to {last}"
        return f"largest {'finite gain ' if self.broken.any() else ''}{text}, {where}"


def draw(reports: Sequence[Report], *, stacked: bool = False) -> Figure:
    """The heat maps of those reports that have triangles."""
    reason = missing(reports)
    shown = [report for report in reports if _has(report)]
    return nothing(reason, stacked=stacked) if reason else gain_triangles(shown, stacked=stacked)


def missing(reports: Sequence[Report]) -> str:
    """Why there is no heat map; empty where there is."""
    return "" if any(map(_has, reports)) else "The gains of all composites were not computed."


def in_words(reports: Sequence[Report]) -> str:
    """The largest composites and where they are."""
    told = [
        f"{printable(report.name)}, {direction}: {_panel(report, direction, 'max').in_words}."
        for report in reports
        if _has(report)
        for direction in DIRECTIONS
    ]
    return f"Composite gain of sites l to k. {' '.join(told)}"


def _has(report: Report) -> bool:
    return any((t.metric, t.statistic) == (COMPOSITE["forward"][0], "max") for t in report.triangles)


def gain_triangles(reports: Sequence[Report], *, statistic: str = "max", stacked: bool = False) -> Figure:
    """Heat maps of the gains of all composites: a row for each report, forward on the left.

    All panels have one colour scale. A thin ring is around the largest finite gain. Gains that are infinite
    or NaN and gains of 0 have colours that are not on the scale, and a key that counts them. Stacked, the
    panels stand one below the other, without a title.

    Raises:
        KeyError: a report does not have the triangles of that statistic.
    """
    from matplotlib.figure import Figure

    rows = [[_panel(report, direction, statistic) for direction in DIRECTIONS] for report in reports]
    size = (NARROW, 4.2 * 2 * len(rows)) if stacked else (WIDE, 0.5 + 5.2 * len(rows))
    figure = Figure(figsize=size, dpi=DPI)
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    shape = (2 * len(rows), 1) if stacked else (len(rows), len(DIRECTIONS))
    grid = figure.subplots(*shape, squeeze=False).reshape(len(rows), len(DIRECTIONS))
    varied = [r.provenance.token_axis for r in reports if r.tokens > 1 and r.provenance.token_axis != "none"]
    over = f", {IN_WORDS.get(statistic, statistic)} {varied[0]}s" if varied else ""
    if not stacked:
        figure.suptitle(f"Amax gain of the composite of sites l to k{over}", fontsize=12)
    low, high = _limits([panel for row in rows for panel in row])
    for report, row, panels in zip(reports, grid, rows, strict=True):
        for direction, axes, panel in zip(DIRECTIONS, row, panels, strict=True):
            scale = _draw(axes, panel, max(-low, high))
            heading = f"{direction}: {panel.in_words}"
            if stacked:
                named = f"{printable(report.name)[:LONGEST]}, " if len(rows) > 1 else ""
                heading = textwrap.fill(named + heading, LONGEST)
            elif direction == DIRECTIONS[0]:
                heading = f"{title([report])}\n{heading}"
            axes.set_title(heading, loc="left", fontsize=10.5, parse_math=False)
    aside: dict[str, Any] = {"location": "bottom", "aspect": 40} if stacked else {"aspect": 30}
    shrink = 0.9 if stacked else 1 / len(rows) ** 0.5
    bar = figure.colorbar(scale, ax=grid, label="gain", shrink=shrink, pad=0.02, **aside)
    (bar.ax.set_xlim if stacked else bar.ax.set_ylim)(low, high)
    places, labels = _ticks(low, high)
    bar.set_ticks(places, labels=labels)
    bar.ax.minorticks_off()
    return figure


def heat_map(
    reports: Sequence[Report], kind: Kind, *, statistic: str = "max", theme: Theme = "light"
) -> bytes:
    """`gain_triangles` as a file that is the same, byte for byte, for the same reports."""
    return saved(lambda: gain_triangles(reports, statistic=statistic), kind, theme)


def _panel(report: Report, direction: Direction, statistic: str) -> Panel:
    metric, _ = COMPOSITE[direction]
    for triangle in report.triangles:
        if (triangle.metric, triangle.statistic) == (metric, statistic):
            return Panel(triangle.log10)
    raise KeyError((metric, statistic))


def _limits(panels: Sequence[Panel]) -> tuple[float, float]:
    finite = np.concatenate([[0.0], *(panel.finite for panel in panels)])  # a gain of 1 is always in sight
    low, high = float(finite.min()), float(finite.max())
    missing = max(SMALLEST_SPAN - (high - low), 0.0) / 2
    return low - missing, high + missing


def _draw(axes: Axes, panel: Panel, reach: float) -> ScalarMappable:
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch
    from matplotlib.ticker import MaxNLocator

    axes.set_facecolor(palette().blank)
    hidden = ~(panel.above & np.isfinite(panel.log10))
    image = axes.imshow(np.ma.masked_array(panel.log10, hidden), cmap=COLORS, vmin=-reach, vmax=reach)
    key = []
    for which, color, what in ((panel.broken, NOT_FINITE, "not finite"), (panel.zero, ZERO, "zero")):
        if which.any():
            axes.imshow(np.ma.masked_array(which, ~which), cmap=ListedColormap([color]), vmin=0, vmax=1)
            key.append(
                Patch(
                    facecolor=color,
                    edgecolor=palette().faint,
                    label=f"{what} ({which.sum()} of {panel.above.sum()})",
                )
            )
    if key:
        axes.legend(handles=key, loc="lower left", frameon=False)
    if panel.worst is not None:
        first, last = panel.worst
        for color, width in (("white", 2.4), ("black", 0.9)):
            axes.scatter(
                last, first, s=MARK, marker="o", facecolors="none", edgecolors=color, linewidths=width,
                clip_on=False, zorder=5,
            )  # fmt: skip
    depth = len(panel.log10)
    nice = MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True)
    sites = [x for x in nice.tick_values(0, max(depth - 1, 1)) if 0 <= x < depth]
    axes.set(xlabel="last site k", ylabel="first site l", xticks=sites, yticks=sites)
    return image


def _ticks(low: float, high: float) -> tuple[list[float], list[str]]:
    from matplotlib.ticker import MaxNLocator

    if high - low < 2:
        places, labels = plain_ticks(10**low, 10**high)
    else:
        places = list(MaxNLocator(nbins=9, steps=[1, 2, 5, 10], integer=True).tick_values(low, high))
        short = max(-places[0], places[-1]) <= 5
        labels = [f"{10.0**p:g}" if short or p == 0 else f"$10^{{{p:.0f}}}$" for p in places]
    inside = [i for i, place in enumerate(places) if low - SAME <= place <= high + SAME]
    return [places[i] for i in inside], [labels[i] for i in inside]
