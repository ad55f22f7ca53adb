"""Two-sided health: what the Amax gains cannot see, of single sites and of all sites together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group as Stacked
from rich.text import Text

from mhc_diag.magnitude import magnitude
from mhc_diag.records import COMPOSITE, Curve, MetricCard, Report, Scope
from mhc_diag.render.table.head import varies
from mhc_diag.render.table.look import Look, marked
from mhc_diag.render.table.numbers import ratio, span

ELSEWHERE = {metric for metric, _ in COMPOSITE.values()} | {"activation_rms", "gradient_rms", "depth_kernel"}
"""What other tables show."""
WIDE = 110
"""Columns from which on the formulas stand beside the numbers."""


def health_table(report: Report, look: Look) -> Stacked | None:
    """One line for each metric: of single sites, and of all sites together; None where there is no metric."""
    cards = [card for card in report.cards if card.name not in ELSEWHERE]
    if not cards:
        return None
    table = look.table()
    table.add_column("metric", no_wrap=True)
    table.add_column("identity has", justify="right", no_wrap=True)
    table.add_column("single sites" + (", median" if varies(report) else ""), justify="right")
    table.add_column("all sites" + (", median" if varies(report) else ""), justify="right")
    if varies(report):
        table.add_column("p05..p95", justify="right", overflow="fold")
    if look.width >= WIDE:
        table.add_column("= formula", style="dim")
    for card in cards:
        table.add_row(*_row(report, card, look))
    return Stacked(Text("Health of the mixing", "bold"), Text(), table)


def shared_health(reports: Sequence[Report], look: Look) -> Stacked | None:
    """The same metric in every report, of the composite of all sites where it is taken of that."""
    shown = {card.name: card for r in reports for card in r.cards if card.name not in ELSEWHERE}
    if not shown:
        return None
    table = look.table()
    table.add_column("metric", no_wrap=True)
    for report in reports:
        table.add_column(look.shorten(report.name, 24), justify="right", no_wrap=True)
    if look.width >= WIDE:
        table.add_column("= formula", style="dim")
    for card in sorted(shown.values(), key=lambda c: all(_last(r, c, "p50") is None for r in reports)):
        whole = any(_last(r, card, "p50") is not None for r in reports)
        cells = [_number((_last if whole else _middle)(report, card, "p50")) for report in reports]
        formula = [look.text(card.formula)] if look.width >= WIDE else []
        table.add_row(card.name + ("" if whole else ", a site"), *map(marked, cells), *formula)
    title = "Health of the composite of all sites" + (", median" if any(map(varies, reports)) else "")
    return Stacked(Text(title, "bold"), Text(), table)


def definitions(reports: Sequence[Report], look: Look) -> Iterator[tuple[str, Text]]:
    """The formula of every metric in the tables, where those have no room for it."""
    if look.width >= WIDE:
        return
    for name, formula in dict.fromkeys((c.name, c.formula) for r in reports for c in r.cards):
        if name not in ELSEWHERE:
            yield name, Text(look.text(formula), "dim")


def _row(report: Report, card: MetricCard, look: Look) -> list[str | Text]:
    sites = _curve(report, card.name, "site", "p50")
    cells = [span(sites.log10.tolist()) if sites is not None else "", _number(_last(report, card, "p50"))]
    if varies(report):
        ends = [_number(_last(report, card, statistic)) for statistic in ("p05", "p95")]
        cells.append("..".join(dict.fromkeys(e for e in ends if e)))
    formula = [look.text(card.formula)] if look.width >= WIDE else []
    return [card.name, ratio(card.ideal), *map(marked, cells), *formula]


def _last(report: Report, card: MetricCard, statistic: str) -> tuple[float, float] | None:
    """The metric of the composite of all sites."""
    curve = _curve(report, card.name, "prefix", statistic)
    return None if curve is None else (float(curve.value[-1]), float(curve.log10[-1]))


def _middle(report: Report, card: MetricCard, statistic: str) -> tuple[float, float] | None:
    """The metric of the site in the middle of all sites, ordered by it."""
    curve = _curve(report, card.name, "site", statistic)
    if curve is None:
        return None
    ordered = sorted(zip(curve.log10.tolist(), curve.value.tolist(), strict=True))
    log10, value = ordered[len(ordered) // 2]
    return value, log10


def _number(found: tuple[float, float] | None) -> str:
    return "" if found is None else magnitude(*found)


def _curve(report: Report, metric: str, scope: Scope, statistic: str) -> Curve | None:
    try:
        return report.curve(metric, scope, statistic)
    except KeyError:
        return None
