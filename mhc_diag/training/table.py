"""A run as a table: where its numbers began, how far they went, where they are, and what was told."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console, Group
from rich.text import Text

from mhc_diag.magnitude import magnitude
from mhc_diag.render.table.look import Look, marked
from mhc_diag.sources.runs import Point, Run
from mhc_diag.training.sparkline import sparkline

ROWS = {
    "forward_max": "composite forward, largest",
    "forward_mean": "composite forward, mean",
    "backward_max": "composite backward, largest",
    "backward_mean": "composite backward, mean",
    "site_forward_max": "one site forward",
    "site_backward_max": "one site backward",
    "uniformity_mean": "uniformity, lowest",
    "gradient_gain": "gradient, observed",
    "gradient_gain_predicted": "gradient, of mixing alone",
}
"""What is shown, and what it is called."""
ALERTS = 8
"""The latest that are shown."""
TAKEN = 26 + 4 * 10 + 5 * 3
"""Width of everything but the course, which is left out where less than `SHORTEST` is left."""
SHORTEST = 8


def render(run: Run, *, width: int, color: bool, unicode: bool) -> str:
    """The table as text that ends in a newline."""
    file = io.StringIO()
    system: Any = {"force_terminal": color, "color_system": "standard" if color else None}
    console = Console(file=file, width=width, legacy_windows=False, highlight=False, **system)
    console.print(shown(run, Look(width, unicode)))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def shown(run: Run, look: Look) -> Group:
    """The table, for a terminal."""
    head = Text(look.text(f"{run.name}: {run.model}"), "bold")
    if not run.records:
        return Group(head, Text("no record yet"))
    first, last = run.records[0], run.records[-1]
    steps = f"{count(run.records, 'record')}, steps {first.step} to {last.step}; gains over them:"
    table = look.table()
    table.add_column("number")
    for name in ("first", "largest", "at step", "latest"):
        table.add_column(name, justify="right")
    room = look.width - TAKEN
    if room >= SHORTEST:
        table.add_column("over the steps", no_wrap=True, overflow="crop")
    for name, what in ROWS.items():
        course = run.course(name)
        if course:
            table.add_row(what, *list(_told(course, look, room))[: len(table.columns) - 1])
    broken = [r.step for r in run.records if r.metrics.get("mhc/nonfinite_tokens", 0) != 0]
    told = f"not finite at {count(broken, 'step')}, first at {broken[0]}" if broken else ""
    return Group(head, Text(steps), Text(), table, Text(told, "bold red"), *_alerts(run, look))


def largest(course: Sequence[Point]) -> Point:
    """The largest of a course, the first NaN before any number.

    Example:
        >>> largest([Point(1, 10.0, 1.0), Point(2, math.nan, math.nan), Point(3, 100.0, 2.0)]).step
        2
    """
    return max(course, key=lambda point: math.inf if math.isnan(point.log10) else point.log10)


def _told(course: Sequence[Point], look: Look, width: int) -> Iterator[str | Text]:
    top = largest(course)
    yield marked(magnitude(course[0].value, course[0].log10))
    yield marked(magnitude(top.value, top.log10))
    yield str(top.step)
    yield marked(magnitude(course[-1].value, course[-1].log10))
    yield sparkline([point.log10 for point in course], width, unicode=look.unicode)


def count(things: Sequence[object], name: str) -> str:
    """How many, as in `1 alert`.

    Example:
        >>> count(["a"], "alert"), count([], "step")
        ('1 alert', '0 steps')
    """
    return f"{len(things)} {name}{'s' if len(things) != 1 else ''}"


def _alerts(run: Run, look: Look) -> Iterator[Text]:
    alerts = run.alerts
    if not alerts:
        held = ", ".join(sorted({x["metric"] for x in run.limits}))
        yield Text(look.text(f"no alert (held against a limit: {held})" if held else "no alert"))
        return
    older = len(alerts) - ALERTS
    yield Text(count(alerts, "alert") + (f", the latest {ALERTS}:" if older > 0 else ":"), "bold")
    for alert in alerts[-ALERTS:]:
        style = "red" if alert.get("level") == "error" else "yellow"
        yield Text(look.text(f"- {alert['text']}"), style)
