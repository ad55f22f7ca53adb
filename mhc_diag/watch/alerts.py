"""Alerts: what a watch says when a number leaves what is allowed, and which site is to blame."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mhc_diag.analyse import analyse
from mhc_diag.errors import MhcDiagError
from mhc_diag.magnitude import magnitude
from mhc_diag.records import Direction, MixingStack, Report
from mhc_diag.verdict import Level, Limit
from mhc_diag.watch.expected import NONFINITE, RISES, Expected

OnAlert = Literal["warn", "stop"] | Callable[["Alert"], Any]


CALM = 10
"""Records in a row within a limit after which a crossing of it is told again: a number that sways about its
limit is told once."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A number of a record left what is allowed."""

    step: int
    metric: str
    """Its name among the metrics, such as `mhc/forward_max`."""
    value: float
    limit: str
    """What is allowed: `at most 4`."""
    site: str
    """Label of the site to blame: the one whose own matrix is worst in that respect."""
    text: str
    """All of it in one sentence without a full stop."""
    level: Level = "error"
    """`warn` never stops a run."""


class Alarm:
    """Holds what is expected against one record after the other, and tells a crossing once.

    Args:
        expected: of every record.
        on_alert: what to do otherwise.
        warns: whether this is the process that gives warnings; of several ranks one does.
    """

    def __init__(self, expected: tuple[Expected, ...], on_alert: OnAlert, *, warns: bool = True) -> None:
        if not callable(on_alert) and on_alert not in {"warn", "stop"}:
            raise MhcDiagError(f"on_alert is {on_alert!r}", hint="give 'warn', 'stop' or a function")
        self.expected = expected
        self.crossed: dict[str, int] = {}
        """Numbers that were told, and for how many records in a row they have been allowed since."""
        self.should_stop = False
        self._on_alert, self._warns = on_alert, warns

    def hold(self, step: int, row: Mapping[str, float], stack: Callable[[], MixingStack]) -> list[Alert]:
        """The alerts of a record.

        Args:
            step: its step.
            row: its numbers.
            stack: gives its operators, if anybody is to blame.
        """
        broken = [e for e in self.expected if not e.holds(row.get(f"mhc/{e.name}", _fine(e.limit)))]
        new = [e for e in broken if e.name not in self.crossed]
        calmer = {name: calm + 1 for name, calm in self.crossed.items() if calm + 1 < CALM}
        self.crossed = calmer | {e.name: 0 for e in broken}
        if not new:
            return []
        report = analyse(stack(), metrics=("uniformity",))
        return [_alert(step, e, row, report) for e in new]

    def tell(self, alert: Alert) -> None:
        """Warn, ask for a stop, or call whoever wants to know."""
        if callable(self._on_alert):
            self._on_alert(alert)
            return
        self.should_stop |= self._on_alert == "stop" and alert.level == "error"
        if self._warns:
            warnings.warn(alert.text, RuntimeWarning, stacklevel=2)


def _fine(limit: Limit) -> float:
    """A value of what is not recorded, as the uniformity of one stream."""
    return limit.at_most if limit.at_most is not None else limit.at_least or 0.0


def _alert(step: int, expected: Expected, row: Mapping[str, float], report: Report) -> Alert:
    name, limit = f"mhc/{expected.name}", expected.limit
    value, log10 = row[name], row.get(f"mhc/log10_{expected.name}", math.nan)
    site, where = _blame(expected.name, report)
    label = report.sites[site].label
    told = magnitude(value, log10) if f"mhc/log10_{expected.name}" in row else f"{value:.4g}"
    text = f"step {step}: {expected.name} is {told}, allowed is {limit.allowed}; {where}"
    return Alert(step, name, value, limit.allowed, label, text, limit.level)


def _blame(name: str, report: Report) -> tuple[int, str]:
    """The site whose own matrix is worst, and that in words."""
    if name == NONFINITE or any(report.nonfinite):
        site = next((i for i, count in enumerate(report.nonfinite) if count), 0)
        return site, f"the first matrix that is not finite is at {_place(site, report)}"
    if name == "uniformity_mean":
        site = _extreme(report, "uniformity", "mean", lowest=True)
        return site, f"the site that averages most is {_place(site, report)}"
    direction: Direction = "forward" if "forward" in name else "backward"
    lowest = name.endswith("_min")
    site = _extreme(report, f"amax_{direction}", "min" if lowest else "max", lowest=lowest)
    curve = report.curve(f"amax_{direction}", "site", "min" if lowest else "max")
    gain = magnitude(float(curve.value[site]), float(curve.log10[site]))
    own = (
        f"{'smallest' if lowest else 'largest'} {direction} gain of one site {gain} at {_place(site, report)}"
    )
    if lowest or name not in {f"{direction}_max", f"{direction}_mean", *RISES}:
        return site, own
    worst = report.worst(direction, "mean" if name.endswith("_mean") else "max").site
    word = "through" if direction == "forward" else "from"
    return site, f"worst {word} {_place(worst, report)}, {own}"


def _extreme(report: Report, metric: str, statistic: str, *, lowest: bool) -> int:
    values = report.curve(metric, "site", statistic).log10.round(12)
    return int(values.argmin() if lowest else values.argmax())


def _place(site: int, report: Report) -> str:
    label = report.sites[site].label
    return f"site {site}" + (f" ({label})" if label else "")
