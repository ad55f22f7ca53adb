"""The composite gains of a training run over its steps, with limits and alerts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mhc_diag.figures.axis import COLORS, Floats, gain_axis, limits, printable
from mhc_diag.figures.marks import edges
from mhc_diag.figures.saved import Kind, saved
from mhc_diag.figures.sheet import DPI, NARROW, WIDE, below, nothing
from mhc_diag.figures.theme import Theme, palette
from mhc_diag.magnitude import magnitude
from mhc_diag.records import DIRECTIONS, Direction
from mhc_diag.sources.runs import Point, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DRAWN = {"max": "-", "mean": "--"}
"""Statistics over tokens, and their lines."""
GRADIENTS = {
    "gradient_gain": ("gradient, observed", "-"),
    "gradient_gain_predicted": ("gradient, of mixing alone", "--"),
}
"""Gains of the gradient, what they are called, and their lines."""
MOST = 4000
"""Points of a curve; of longer runs the largest gain of as many stretches is drawn."""


def picture(run: Run, kind: Kind, *, theme: Theme = "light", stacked: bool = False) -> bytes:
    """The picture of a run as a file that is the same, byte for byte, for the same run.

    Args:
        run: what it shows.
        kind: form of the file.
        theme: for a light or a dark page.
        stacked: for a narrow page, without a title.
    """
    return saved(lambda: draw(run, stacked=stacked), kind, theme)


def draw(run: Run, *, stacked: bool = False) -> Figure:
    """Largest and mean composite gains over the steps, forward and backward, on a logarithmic axis.

    Gains of the gradient are drawn beside them, if there are any.
    A limit is a dotted line, an alert a triangle at the upper edge, and a gain that is infinite or NaN a
    cross there.
    """
    from matplotlib.figure import Figure

    if not run.records:
        return nothing("The run has no record yet.", stacked=stacked)
    figure = Figure(figsize=(NARROW, 3.8) if stacked else (WIDE, 4.5), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    if not stacked:
        figure.suptitle(title(run), fontsize=11, parse_math=False)
    steps = np.array([record.step for record in run.records], dtype=np.float64)
    curves = {(d, s): np.array(run.curve(f"log10_{d}_{s}")) for d in DIRECTIONS for s in DRAWN}
    gradients = {name: course for name in GRADIENTS if (course := run.course(name))}
    logs = [np.array([point.log10 for point in course]) for course in gradients.values()]
    bounds = [math.log10(b) for d in DIRECTIONS if (b := run.limit(f"{d}_max")) is not None and b > 0]
    gain_axis(axes, *limits([*curves.values(), *logs, np.array(bounds)]))
    axes.set(xlabel="step", ylabel="gain" if gradients else "Amax gain magnitude")
    shown = [*_curves(axes, steps, curves), *_gradients(axes, gradients)]
    shown += [*_limits(axes, run), *_alerts(axes, run)]
    below(axes, shown, columns=3)
    return figure


def title(run: Run) -> str:
    """What was watched, in one line."""
    last = f", to step {run.records[-1].step}" if run.records else ""
    return printable(f"{run.name}: {run.model}, n = {run.streams}, L = {len(run.sites)}{last}")


def in_words(run: Run) -> str:
    """Where the gains began, where they were largest and where they ended, and every alert's step."""
    if not run.records:
        return "The run has no record yet."
    told = []
    for direction in DIRECTIONS:
        logs = run.curve(f"log10_{direction}_max")
        top = max(range(len(logs)), key=lambda i: math.inf if math.isnan(logs[i]) else logs[i])
        first, most, last = (magnitude(_plain(logs[i]), logs[i]) for i in (0, top, -1))
        peak = f"largest at step {run.records[top].step} with {most}"
        told.append(f"{direction} from {first} at step {run.records[0].step}, {peak}, {last} in the end")
    alerts = ", ".join(f"{a['metric']} at step {a['step']}" for a in run.alerts[:20])
    more = f" and {len(run.alerts) - 20} more" if len(run.alerts) > 20 else ""
    told.append(f"alerts: {alerts}{more}" if alerts else "no alert")
    return printable(f"Composite gains over training: {'; '.join(told)}.")


def _plain(log10: float) -> float:
    return 10**log10 if log10 < 300 else math.inf


def _curves(axes: Axes, steps: Floats, curves: dict[tuple[Direction, str], Floats]) -> Iterator[Any]:
    for (direction, statistic), log10 in curves.items():
        index = DIRECTIONS.index(direction)
        at, values = _thinned(steps, log10)
        name = f"{direction}, {'largest' if statistic == 'max' else 'mean'} over tokens"
        yield from axes.plot(
            at, np.where(np.isfinite(values), values, np.nan),
            color=COLORS[index], linestyle=DRAWN[statistic], linewidth=1.6, label=name,
            marker="." if len(at) < 30 else None,
        )  # fmt: skip
        if statistic == "max":
            broken = np.isnan(values) | np.isposinf(values)
            zero = np.isneginf(values)
            yield from edges(axes, index, direction, broken=broken, zero=zero, at=at, unit="step")


def _gradients(axes: Axes, gradients: dict[str, list[Point]]) -> Iterator[Any]:
    for name, course in gradients.items():
        label, style = GRADIENTS[name]
        steps, logs = (np.array([getattr(p, of) for p in course], dtype=float) for of in ("step", "log10"))
        at, values = _thinned(steps, logs)
        yield from axes.plot(
            at, np.where(np.isfinite(values), values, np.nan),
            color=COLORS[2], linestyle=style, linewidth=1.3, label=label,
            marker="." if len(at) < 30 else None,
        )  # fmt: skip


def _thinned(steps: Floats, log10: Floats) -> tuple[Floats, Floats]:
    """At most `MOST` points: of each stretch of steps the largest, a NaN before any number."""
    if len(steps) <= MOST:
        return steps, log10
    parts = np.array_split(np.arange(len(steps)), MOST)
    ranks = np.where(np.isnan(log10), np.inf, log10)
    kept = np.array([part[ranks[part].argmax()] for part in parts])
    return steps[kept], log10[kept]


def _limits(axes: Axes, run: Run) -> Iterator[Any]:
    for value in sorted({b for d in DIRECTIONS if (b := run.limit(f"{d}_max")) is not None and b > 0}):
        line = axes.axhline(math.log10(value), color=palette().ink, linewidth=1, linestyle=(0, (1, 1)))
        line.set_label(f"limit {value:g}")
        yield line


def _alerts(axes: Axes, run: Run) -> Iterator[Any]:
    steps = sorted({alert["step"] for alert in run.alerts})
    if steps:
        yield from axes.plot(
            steps, np.full(len(steps), 0.98), transform=axes.get_xaxis_transform(), linestyle="none",
            marker="v", color=COLORS[3], markersize=7, label=f"alert ({len(steps)})", clip_on=False, zorder=6,
        )  # fmt: skip
