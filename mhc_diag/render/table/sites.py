"""The table by site: single-site and composite gains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Group as Stacked
from rich.table import Table
from rich.text import Text

from mhc_diag.magnitude import magnitude
from mhc_diag.records import COMPOSITE, DIRECTIONS, Curve, Direction, Report, Scope
from mhc_diag.render.table.columns import Group
from mhc_diag.render.table.head import tokens, varies
from mhc_diag.render.table.look import GAP, Look, marked
from mhc_diag.render.table.numbers import ratio, span
from mhc_diag.worst import Run, runs, worst_sites

FULL_UP_TO = 24
WORST_SHOWN = 12
ROOM_FOR_MEANS = 110
LABEL_ROOM = 20


@dataclass(frozen=True, slots=True)
class Extras:
    """What is shown beside the largest gains."""

    means: bool
    certificates: bool


def site_table(report: Report, look: Look, all_sites: bool) -> Stacked:
    """The gains by site; runs of sites that are not among the worst become one line each."""
    length = len(report.sites)
    own, composite = ([c.log10.tolist() for c in panel.values()] for panel in _panels(report, False).values())
    few = all_sites or length <= FULL_UP_TO
    full = set(range(length)) if few else worst_sites(own, composite, WORST_SHOWN)
    parts = runs(length, full)
    for extras in _preferences(report, look):
        groups = _groups(report, parts, extras)
        numbers = max(len(_name(run)) for run in parts)
        room = look.width - numbers - sum(GAP + g.width for g in groups) - GAP
        if room >= LABEL_ROOM:
            break
    title = "Gain by site"
    if varies(report):
        title += f", {'mean and ' if extras.means else ''}largest of the {tokens(report)}"
    title += "" if few else f" (the {len(full)} worst of {length} sites in full)"
    return Stacked(Text(title, "bold"), Text(), _table(report, look, parts, groups, room))


def _preferences(report: Report, look: Look) -> Iterator[Extras]:
    if look.width >= ROOM_FOR_MEANS:
        if report.provenance.certificates is not None:
            yield Extras(varies(report), certificates=True)
        yield Extras(varies(report), certificates=False)
    yield Extras(means=False, certificates=False)


def _panels(report: Report, means: bool) -> dict[str, dict[str, Curve]]:
    own: dict[Direction, tuple[str, Scope]] = {d: (COMPOSITE[d][0], "site") for d in DIRECTIONS}
    panels: dict[str, dict[str, Curve]] = {}
    for name, which in (("single site", own), ("composite", COMPOSITE)):
        if means:
            for d in DIRECTIONS:
                panels[f"{name}\n{d}"] = {s: report.curve(*which[d], s) for s in ("mean", "max")}
        else:
            panels[name] = {d: report.curve(*which[d], "max") for d in DIRECTIONS}
    return panels


def _groups(report: Report, parts: Sequence[Run], extras: Extras) -> list[Group]:
    shown = [s for sites, folded in parts if not folded for s in sites]
    folds = [sites for sites, folded in parts if folded]
    groups = []
    for title, panel in _panels(report, extras.means).items():
        largest = [c.log10.tolist() for c in panel.values() if c.statistic == "max"]
        spreads = [span(x for gains in largest for x in gains[f.start : f.stop]) for f in folds]
        columns = {n: [magnitude(c.value[s], c.log10[s]) for s in shown] for n, c in panel.items()}
        groups.append(Group(title, columns, spreads))
    if extras.certificates and report.provenance.certificates is not None:
        of_values = dict.fromkeys(report.provenance.fitted, " fit")
        cells = [ratio(report.provenance.certificates[s]) + of_values.get(s, "") for s in shown]
        groups.append(Group("", {"certificate": cells}, [""] * len(folds)))
    return groups


def _table(report: Report, look: Look, parts: Sequence[Run], groups: Sequence[Group], room: int) -> Table:
    labels = [look.shorten(s.label, room) for s in report.sites]
    table = look.table()
    table.add_column("#", justify="right", no_wrap=True, vertical="bottom")
    table.add_column("site", no_wrap=True, width=max(map(len, labels)))
    for group in groups:
        table.add_column(group.head, no_wrap=True, width=group.width)
    rows = zip(*(g.rows() for g in groups), strict=True)
    folds = zip(*(g.folded() for g in groups), strict=True)
    for sites, folded in parts:
        if folded:
            what = look.pick("…", "...") + f" {len(sites)} sites"
            table.add_row(_name((sites, folded)), what, *map(marked, next(folds)), style="dim")
        else:
            for s in sites:
                table.add_row(str(s), Text(labels[s]), *map(marked, next(rows)))
    return table


def _name(run: Run) -> str:
    sites, folded = run
    return f"{sites[0]}-{sites[-1]}" if folded else str(sites[-1])
