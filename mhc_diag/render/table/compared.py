"""Many reports, one line each."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group as Stacked
from rich.text import Text

from mhc_diag.magnitude import magnitude
from mhc_diag.records import DIRECTIONS, Direction, Report
from mhc_diag.render.table.columns import Group
from mhc_diag.render.table.look import Look, marked

SIDE_BY_SIDE = 4
"""Reports that have room for curves beside each other; more are compared by line."""
NAME_WIDTH = 28


def compared(reports: Sequence[Report], look: Look) -> Stacked:
    """The worst composite gain over all depths of every report: median, p99 and largest."""
    groups = [_group(reports, direction) for direction in DIRECTIONS]
    table = look.table()
    table.add_column("", no_wrap=True, vertical="bottom")
    for group in groups:
        table.add_column(group.head, no_wrap=True)
    for report, *cells in zip(reports, *(g.rows() for g in groups), strict=True):
        table.add_row(look.shorten(report.name, NAME_WIDTH), *map(marked, cells))
    return Stacked(Text("Worst composite gain over all depths", "bold"), Text(), table)


def _group(reports: Sequence[Report], direction: Direction) -> Group:
    peaks = {
        title: [report.worst(direction, statistic) for report in reports]
        for title, statistic in (("median", "p50"), ("p99", "p99"), ("largest", "max"))
    }
    columns = {title: [magnitude(p.value, p.log10) for p in found] for title, found in peaks.items()}
    return Group(direction, columns)
