"""Two targets compared, as text for a terminal: what changed most first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mhc_diag.compare.comparison import Change, Comparison
from mhc_diag.compare.definitions import SETTINGS
from mhc_diag.compare.lots import Lots
from mhc_diag.compare.words import by
from mhc_diag.magnitude import magnitude
from mhc_diag.records import Report
from mhc_diag.render.table import NARROWEST, printed, wrapped
from mhc_diag.render.table.head import grid
from mhc_diag.render.table.look import Look, marked
from mhc_diag.render.table.numbers import aligned, real
from mhc_diag.verdict import Place

ROWS = 12
WIDE = 110
"""Columns from which on there is room for the change in words, or for where a number was and is."""
WIDEST = 140
"""For both."""
LISTED = 8


def differences(
    lots: Lots, *, width: int = 120, color: bool = False, unicode: bool = True, all_sites: bool = False
) -> str:
    """A comparison as text.

    Args:
        lots: what was compared.
        width: columns of the terminal.
        color: with ANSI colours.
        unicode: draw with more than ASCII.
        all_sites: show every change at every site.
    """
    look = Look(max(width, NARROWEST), unicode)
    parts = [part for found in lots.comparisons for part in _one(found, look, all_sites)]
    lines = "".join(f"{wrapped(look.text(line), look.width)}\n" for line in lots.lines)
    return (printed(parts, look, color) + "\n" if parts else "") + lines


def _one(found: Comparison, look: Look, all_sites: bool) -> Iterator[RenderableType]:
    yield _head(found, look)
    yield _worst(found, look)
    changed = [c for c in found.changes if not c.same]
    if changed:
        changed.sort(key=_size, reverse=True)
        yield _sites(changed if all_sites else changed[:ROWS], len(changed), len(found.changes), look)


def _size(change: Change) -> tuple[bool, float, bool, float]:
    """Rank of a change: no number in either first, then by decades either way, sites before composites."""
    at_site = change.measure.scope == "site" and not math.isfinite(change.decades)
    if change.untold:
        return True, 0.0, at_site, 0.0
    return False, abs(change.decades), at_site, abs(change.log10_ratio)


def _head(found: Comparison, look: Look) -> RenderableType:
    sites = found.sites
    lines = [
        ("before", Text(look.text(_about(found.before)))),
        ("after", Text(look.text(_about(found.after)))),
        ("sites", Text(f"{len(sites.pairs)} are in both, matched by {sites.by}")),
    ]
    for where, report, numbers in (
        ("before", found.before, sites.only_before),
        ("after", found.after, sites.only_after),
    ):
        names = [report.sites[k].label or f"site {k}" for k in numbers]
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        if names:
            lines.append(("", Text(look.text(f"only {where}: {', '.join(names[:LISTED])}{more}"))))
    lines += [("settings", Text(look.text(text))) for text in _settings(found)]
    lines += [("differs", Text(look.text(text))) for text in found.differences]
    return grid(lines)


def _settings(found: Comparison) -> Iterator[str]:
    """Settings that belong to the model and changed."""
    before, after = found.before.provenance.settings, found.after.provenance.settings
    for name in {**before, **after}:
        if name not in SETTINGS and before.get(name) != after.get(name):
            yield f"{name} was {before.get(name, 'not given')}, is {after.get(name, 'not given')}"


def _about(report: Report) -> str:
    where = report.provenance
    name = report.name if where.target.endswith(report.name) else f"{report.name} of {where.target}"
    unit = where.token_axis
    tokens = "one static matrix a site" if unit == "none" else f"T = {report.tokens} {unit}s"
    size = f"n = {report.streams}, L = {len(report.sites)}, {tokens}"
    return f"{name if name == report.name else where.target}: {where.method}, {size}"


def _worst(found: Comparison, look: Look) -> Group:
    """Each measure's worst number, what changed most first."""
    ordered = sorted(found.worst, key=_size, reverse=True)
    places, words = look.width >= WIDE, look.width >= WIDEST
    table = look.table()
    table.add_column("worst of all sites", no_wrap=True)
    for name in ("before", "after"):
        table.add_column(name, justify="right", no_wrap=True)
        if places:
            table.add_column("at", no_wrap=True)
    _change_columns(table, words)
    room = (look.width - (112 if words else 82)) // 2
    for change, *numbers, decades in zip(ordered, *_cells(ordered), strict=True):
        at = [look.shorten(p.label or _number_of(p), room) for p in (change.before, change.after)]
        cells = [c for pair in zip(numbers, at, strict=True) for c in pair] if places else numbers
        said = [by(change.decades)] if words else []
        table.add_row(_name(change), *map(marked, [*cells, decades, *said]))
    return Group(Text("Largest changes of the worst numbers", "bold"), Text(), table)


def _sites(shown: Sequence[Change], changed: int, compared: int, look: Look) -> Group:
    """The changes at single sites, and of the composites that end or begin there."""
    labels, words = look.width >= WIDE, look.width >= WIDEST
    table = look.table()
    table.add_column("#", justify="right", no_wrap=True)
    if labels:
        table.add_column("site", no_wrap=True)
    table.add_column("number", no_wrap=True)
    for name in ("before", "after"):
        table.add_column(name, justify="right", no_wrap=True)
    _change_columns(table, words)
    room = look.width - (110 if words else 78)
    for change, before, after, decades in zip(shown, *_cells(shown), strict=True):
        site = [Text(look.shorten(change.after.label, room))] if labels else []
        said = [by(change.decades)] if words else []
        numbers = map(marked, [before, after, decades, *said])
        table.add_row(str(change.after.site), *site, _name(change), *numbers)
    count = f"{changed} of {compared} numbers changed"
    count += f", the {len(shown)} largest" if len(shown) < changed else ""
    return Group(Text(f"Site by site: {count}", "bold"), Text(), table)


def _change_columns(table: Table, wide: bool) -> None:
    table.add_column("worse, log10", justify="right", no_wrap=True)
    if wide:
        table.add_column("", no_wrap=True)


def _cells(changes: Sequence[Change]) -> tuple[list[str], list[str], list[str]]:
    before, after = [_number(c.before) for c in changes], [_number(c.after) for c in changes]
    return aligned(before), aligned(after), [_decades(c.decades) for c in changes]


def _number_of(place: Place) -> str:
    return "" if place.site is None else str(place.site)


def _decades(decades: float) -> str:
    return "0" if abs(decades) < 5e-7 else ("+" if decades > 0 else "") + real(decades, 3)


def _number(place: Place) -> str:
    assert place.value is not None and place.log10 is not None
    return magnitude(place.value, place.log10)


def _name(change: Change) -> str:
    at = change.measure
    if at.scope == "stack":
        return at.metric
    return f"{at.metric} {at.scope}" + (f" {at.statistic}" if at.statistic == "mean" else "")
