"""Two models over each other: composite gains above, and below what became of each site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mhc_diag.compare.comparison import Comparison
from mhc_diag.compare.worse import SAME
from mhc_diag.figures.axis import (
    COLORS,
    LINES,
    MARKERS,
    Floats,
    gain_axis,
    limits,
    named,
    plain,
    printable,
    site_axis,
)
from mhc_diag.figures.marks import edges
from mhc_diag.figures.saved import Kind, saved
from mhc_diag.figures.sheet import DPI, WIDE
from mhc_diag.figures.theme import Theme
from mhc_diag.records import DIRECTIONS, Direction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES: dict[Direction, str] = {
    "forward": "Composite gain, forward (sites 0 to l)",
    "backward": "Composite gain, backward (sites l to the last)",
}
LESS, MORE = COLORS[5], COLORS[3]
"""Of gains that became smaller and larger."""


def comparison(comparisons: Sequence[Comparison]) -> Figure:
    """Composite gains of both models, and the ratio of their gains at each site; two rows for each pair.

    Above, the largest composite gain of any token at each site, before and after.
    Below, the gain after over the gain before, of single sites as bars and of the composites as a line, at
    the sites that are in both; above 1 the gain became larger. A gain that is infinite or NaN is a cross at
    the top edge, one of 0 at the bottom edge; the legend counts both.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDE, 0.4 + 7.4 * len(comparisons)), dpi=DPI, layout="constrained")
    rows = figure.subplots(2 * len(comparisons), 2, squeeze=False)
    first = comparisons[0]
    names = dict.fromkeys(printable(r.name) for r in (first.before, first.after))
    text = " and ".join(n if len(n) <= 40 else f"{n[:18]} ... {n[-18:]}" for n in names)
    figure.suptitle(f"{text}: n = {first.after.streams}", fontsize=11, parse_math=False)
    for k, found in enumerate(comparisons):
        above, below = rows[2 * k], rows[2 * k + 1]
        spans = [_both(found, direction) for direction in DIRECTIONS]
        span = limits([curve for pair in spans for curve in pair])
        for axes, direction, curves in zip(above, DIRECTIONS, spans, strict=True):
            _curves(axes, found, direction, curves, span)
        changes = [_ratios(found, direction) for direction in DIRECTIONS]
        span = limits([ratio for pair in changes for ratio in pair])
        for axes, direction, pair in zip(below, DIRECTIONS, changes, strict=True):
            _change(axes, found, direction, pair, span)
    return figure


def drawn(comparisons: Sequence[Comparison], kind: Kind, *, theme: Theme = "light") -> bytes:
    """`comparison` as a file that is the same, byte for byte, for the same reports."""
    return saved(lambda: comparison(comparisons), kind, theme)


def _both(found: Comparison, direction: Direction) -> list[Floats]:
    return [report.composite(direction).log10 for report in (found.before, found.after)]


def _ratios(found: Comparison, direction: Direction) -> tuple[Floats, Floats]:
    """log10 of after over before, of single sites and of composites, at the sites that are in both."""
    i, j = (np.array([pair[side] for pair in found.sites.pairs], dtype=int) for side in (0, 1))
    single = [r.curve(f"amax_{direction}", "site", "max").log10 for r in (found.before, found.after)]
    with np.errstate(invalid="ignore"):
        ratios = (np.where(a[i] == b[j], 0.0, b[j] - a[i]) for a, b in (single, _both(found, direction)))
        return next(ratios), next(ratios)


def _curves(
    axes: Axes, found: Comparison, direction: Direction, curves: Sequence[Floats], span: tuple[float, float]
) -> None:
    gain_axis(axes, *span)
    site_axis(axes, max(map(len, curves)))
    axes.set(title=TITLES[direction], ylabel="Amax gain, largest")
    handles: list[Any] = []
    for k, (word, report, log10) in enumerate(
        zip(("before", "after"), (found.before, found.after), curves, strict=True)
    ):
        label = f"{word}: {_short(named(report.name))}"
        lonely = len(log10) == 1 or not np.isfinite(log10).all()
        handles += axes.plot(
            np.where(np.isfinite(log10), log10, np.nan),
            color=COLORS[k], linestyle=LINES[k], linewidth=1.8, marker=MARKERS[k] if lonely else "",
            markersize=4, label=label, zorder=3 + k,
        )  # fmt: skip
        broken = np.isnan(log10) | np.isposinf(log10)
        handles += edges(axes, k, word, broken=broken, zero=np.isneginf(log10))
    plain(axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.15), fontsize=9))


def _change(
    axes: Axes,
    found: Comparison,
    direction: Direction,
    ratios: tuple[Floats, Floats],
    span: tuple[float, float],
) -> None:
    sites = np.array([j for _, j in found.sites.pairs], dtype=int)
    single, composite = ratios
    gain_axis(axes, *span)
    site_axis(axes, len(found.after.sites))
    axes.set(title=f"After over before, {direction}", ylabel="ratio of gains")
    handles: list[Any] = []
    for ok, color, hatch, word in (
        (single > SAME, MORE, "", "larger"),
        (single < -SAME, LESS, "////", "smaller"),
    ):
        at = ok & np.isfinite(single)
        look: dict[str, Any] = {"color": color, "hatch": hatch, "edgecolor": "white", "linewidth": 0}
        if at.any():
            bars = axes.bar(sites[at], single[at], width=0.8, label=f"single site, {word}", zorder=2, **look)
            handles.append(bars)
    handles += axes.plot(
        sites, np.where(np.isfinite(composite), composite, np.nan),
        color=COLORS[2], linewidth=1.6, marker="o" if len(sites) == 1 else "", label="composite", zorder=4,
    )  # fmt: skip
    for k, (ratio, word) in enumerate(((single, "single site"), (composite, "composite"))):
        broken = np.isnan(ratio) | np.isposinf(ratio)
        handles += edges(axes, 2 * k, word, broken=broken, zero=np.isneginf(ratio), at=sites)
    plain(axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.15), fontsize=9, ncols=2))


def _short(name: str) -> str:
    return name if len(name) <= 44 else f"{name[:20]} ... {name[-20:]}"
