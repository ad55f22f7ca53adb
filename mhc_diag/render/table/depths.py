"""Reports side by side: composite gains by depth."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Group as Stacked
from rich.text import Text

from mhc_diag.magnitude import magnitude
from mhc_diag.records import COMPOSITE, DIRECTIONS, Curve, Direction, Report, Scope
from mhc_diag.render.table.columns import Group
from mhc_diag.render.table.look import GAP, Look, marked

ROWS = 9
SIGNALS: dict[Direction, tuple[str, Scope]] = {
    "forward": ("activation_rms", "prefix"),
    "backward": ("gradient_rms", "suffix"),
}
NAME_WIDTH = 24
WHAT: dict[Direction, str] = {
    "forward": "forward: the first k sites",
    "backward": "backward: the last k sites",
}


def depths(length: int) -> list[int]:
    """Depths to show: powers of two, or of a larger power of two where there would be too many, and the last.

    Example:
        >>> depths(60), depths(10_000)
        ([1, 2, 4, 8, 16, 32, 60], [1, 4, 16, 64, 256, 1024, 4096, 10000])
    """
    step: int = 2 ** math.ceil(max(math.log2(length), 1) / ROWS)
    return [*(step**i for i in range(ROWS) if step**i < length), length]


def depth_tables(reports: Sequence[Report], look: Look) -> Iterator[Stacked]:
    """Composite gains of every report by depth, then what they did to signals where that was simulated."""
    yield from _tables("Composite gain", {d: COMPOSITE[d] for d in DIRECTIONS}, reports, look)
    if all(card in {c.name for c in r.cards} for r in reports for card, _ in SIGNALS.values()):
        yield from _tables("RMS of random signals and gradients", SIGNALS, reports, look)


def _tables(
    title: str, curves: Mapping[Direction, tuple[str, Scope]], reports: Sequence[Report], look: Look
) -> Iterator[Stacked]:
    """Median and p05..p95 of every report by depth; one table where the width allows, else several."""
    ks = depths(max(len(r.sites) for r in reports))
    forward, backward = (
        [_group(r, d, curves[d], look.shorten(r.name, NAME_WIDTH), ks) for r in reports] for d in DIRECTIONS
    )
    room = look.width - len(str(ks[-1]))
    if sum(g.width + GAP for g in forward + backward) <= room:
        titled = [
            Group(f"{g.title} {direction}", g.columns)
            for direction, groups in (("forward", forward), ("backward", backward))
            for g in groups
        ]
        if sum(g.width + GAP for g in titled) <= room:
            yield _table(f"{title}, {WHAT['forward']}; {WHAT['backward']}", titled, ks, look)
            return
    for what, groups in ((WHAT["forward"], forward), (WHAT["backward"], backward)):
        for fitting in _packed(groups, room):
            yield _table(f"{title}, {what}", fitting, ks, look)


def _group(
    report: Report, direction: Direction, source: tuple[str, Scope], title: str, ks: Sequence[int]
) -> Group:
    low, median, high = (report.curve(*source, s) for s in ("p05", "p50", "p95"))
    length = len(report.sites)
    sites = [(k - 1 if direction == "forward" else length - k) if k <= length else None for k in ks]
    return Group(
        title,
        {
            "median": ["" if s is None else _gain(median, s) for s in sites],
            "p05..p95": ["" if s is None else _band(_gain(low, s), _gain(high, s)) for s in sites],
        },
    )


def _gain(curve: Curve, site: int) -> str:
    return magnitude(curve.value[site], curve.log10[site])


def _band(low: str, high: str) -> str:
    return low if low == high else f"{low}..{high}"


def _packed(groups: Sequence[Group], room: int) -> Iterator[list[Group]]:
    fitting: list[Group] = []
    for group in groups:
        if fitting and sum(g.width + GAP for g in [*fitting, group]) > room:
            yield fitting
            fitting = []
        fitting.append(group)
    yield fitting


def _table(title: str, groups: Sequence[Group], ks: Sequence[int], look: Look) -> Stacked:
    table = look.table()
    table.add_column("k", justify="right", no_wrap=True, vertical="bottom")
    for group in groups:
        table.add_column(group.head, no_wrap=True)
    for k, *cells in zip(ks, *(g.rows() for g in groups), strict=True):
        table.add_row(str(k), *map(marked, cells))
    return Stacked(Text(title, "bold"), Text(), table)
