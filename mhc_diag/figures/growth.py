"""The composite gain over depth with its rate of growth, that rate's error, and what theory expects."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mhc_diag.figures.axis import (
    COLORS,
    LINES,
    Floats,
    gain_axis,
    limits,
    named,
    printable,
    site_axis,
)
from mhc_diag.figures.marks import edges
from mhc_diag.figures.sheet import below, key, nothing, sheet
from mhc_diag.figures.theme import palette
from mhc_diag.records import DIRECTIONS, Direction, Report, Scalar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ERRORS = 2.0
"""Standard errors to either side of the line: about 95 of 100 such bands hold the true rate."""
MOST = 8
"""Reports that are drawn."""
DECADES = math.log10(math.e)
"""Of a nat."""


def draw(reports: Sequence[Report], *, stacked: bool = False) -> Figure:
    """Median composite gains, forward and backward, each with a line of the rate that was fitted.

    The rate is that of the half of the sites that is farthest from where the composite begins, and the line
    starts at the median half-way. Its band is two standard errors wide to either side, where the tokens are
    independent stacks; the dashed line has the rate that theory expects.
    """
    reason = missing(reports)
    if reason:
        return nothing(reason, stacked=stacked)
    shown = [r for r in reports if _rate(r, "forward") is not None][:MOST]
    figure, panels = sheet(shown, 2, stacked=stacked)
    lines = {d: [r.composite(d, "p50").log10 for r in shown] for d in DIRECTIONS}
    fits = [curve for report in shown for d in DIRECTIONS for curve in _fit(report, d).values()]
    span = limits([*fits, *(curve for both in lines.values() for curve in both)])
    for axes, direction in zip(panels, DIRECTIONS, strict=True):
        gain_axis(axes, *span)
        site_axis(axes, max(map(len, lines[direction])))
        axes.set(title=f"Growth of the composite gain, {direction}", ylabel="Amax gain magnitude")
        handles: list[Any] = []
        for i, (report, median) in enumerate(zip(shown, lines[direction], strict=True)):
            handles += _one(axes, i, report, direction, median)
        # a legend of its own, because each direction has rates of its own
        below(axes, handles)
    key(figure, *_key(shown), stacked=stacked)
    return figure


def missing(reports: Sequence[Report]) -> str:
    """Why no rate can be drawn; empty where one can."""
    if any(_rate(report, "forward") is not None for report in reports):
        return ""
    return "No rate of growth was fitted, for which at least four sites are needed."


def in_words(reports: Sequence[Report]) -> str:
    """The rates, their errors, and what theory expects."""
    told = [
        f"{printable(report.name)}: {direction} {read(rate)}."
        for report in reports
        for direction in DIRECTIONS
        if (rate := _rate(report, direction)) is not None
    ]
    return f"Growth of the composite gain. {' '.join(told)}"


def read(rate: Scalar) -> str:
    """A rate with its error and what theory expects.

    Example:
        >>> read(Scalar("growth_forward", "Growth", "ln", 0.1334, 0.0021, 0.13344))
        '0.1334 ± 0.0021 nats per site (theory 0.1334)'
    """
    if not math.isfinite(rate.value):
        return "not finite"
    error, value = rate.standard_error, round(rate.value, 4) + 0.0  # never -0.0000
    around = f" ± {error:.4f}" if error is not None and math.isfinite(error) else ""
    theory = f" (theory {rate.expected:.4f})" if rate.expected is not None else ""
    return f"{value:.4f}{around} nats per site{theory}"


def _rate(report: Report, direction: Direction) -> Scalar | None:
    return report.scalar(f"growth_{direction}")


def _half(report: Report, direction: Direction) -> Floats:
    """The sites whose growth was fitted."""
    depth = len(report.sites)
    return np.arange(depth // 2, depth) if direction == "forward" else np.arange(depth // 2 + 1)


def _fit(report: Report, direction: Direction) -> dict[str, Floats]:
    """log10 over those sites of the fitted line, the ends of its band and theory, as far as known."""
    rate, middle = _rate(report, direction), len(report.sites) // 2
    start = float(report.composite(direction, "p50").log10[middle])
    if rate is None or not math.isfinite(start):
        return {}
    error, slopes = rate.standard_error, {"line": rate.value}
    if error is not None:
        slopes |= {"low": rate.value - ERRORS * error, "high": rate.value + ERRORS * error}
    if rate.expected is not None:
        slopes["theory"] = rate.expected
    passed = abs(_half(report, direction) - middle)
    return {what: start + slope * DECADES * passed for what, slope in slopes.items() if math.isfinite(slope)}


def _one(axes: Axes, index: int, report: Report, direction: Direction, median: Floats) -> Iterator[Any]:
    """One report's curve, line and band; yields what the legend shows."""
    color, style = COLORS[index % len(COLORS)], LINES[index % len(LINES)]
    rate, half, fit = _rate(report, direction), _half(report, direction), _fit(report, direction)
    axes.plot(
        np.where(np.isfinite(median), median, np.nan),
        color=color, linestyle="none", marker=".", markersize=4, alpha=0.7,
    )  # fmt: skip
    if rate is not None:
        name = f"{named(report.name)}: {read(rate)}"
        label = name if len(name) <= 64 else f"{name[:12]} ... {name[-48:]}"
        line = fit.get("line", np.full(len(half), np.nan))
        yield from axes.plot(half, line, color=color, linestyle=style, linewidth=2, label=label)
    if "low" in fit:
        axes.fill_between(half, fit["low"], fit["high"], color=color, alpha=0.25, linewidth=0)
    if "theory" in fit:
        axes.plot(half, fit["theory"], color=palette().ink, linestyle=(0, (2, 2)), linewidth=1)
    broken = np.isnan(median) | np.isposinf(median)
    yield from edges(axes, index, named(report.name), broken=broken, zero=np.isneginf(median))


def _key(reports: Sequence[Report]) -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    rates = [rate for r in reports for d in DIRECTIONS if (rate := _rate(r, d)) is not None]
    shown: list[Any] = [Line2D([], [], color="0.5", linestyle="none", marker=".", markersize=5)]
    names = ["median"]
    shown.append(Line2D([], [], color="0.5", linewidth=2))
    names.append("fitted rate")
    if any(rate.standard_error is not None and math.isfinite(rate.standard_error) for rate in rates):
        shown.append(Patch(color="0.5", alpha=0.3))
        names.append("± 2 standard errors")
    if any(rate.expected is not None for rate in rates):
        shown.append(Line2D([], [], color=palette().ink, linestyle=(0, (2, 2)), linewidth=1))
        names.append("theory")
    return shown, names
