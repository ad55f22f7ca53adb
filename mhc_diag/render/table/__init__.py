"""Table: a report to read in the terminal.

One report: what was measured and how, the gains by site, the composite gains over depth as a chart, and the
verdict. With more than 24 sites the 12 worst are shown in full (those furthest from a gain of 1 in either
direction, what is no number first) and each run of other sites becomes one line; `all_sites` shows them all.
From 110 columns on there is room for the means over tokens and for the certificate of each site.

Several reports: composite gains by depth side by side, the health of the composites, then worst gains and
growth of each, a chart and the verdicts. More than four: one line each. Reports that differ in the number of
streams: what each is and what it says.

Gains from 0.001 to 9999 are written in plain decimals, others as in 1.995e+412, also where the number itself
would leave float64. A gain that is infinite or NaN is written as a word.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO

from rich.console import Console, RenderableType
from rich.text import Text

from mhc_diag.records import Report
from mhc_diag.render.table.chart import Series, chart
from mhc_diag.render.table.compared import SIDE_BY_SIDE, compared
from mhc_diag.render.table.depths import depth_tables
from mhc_diag.render.table.gated import blocks, ending, expected, gated, remedies
from mhc_diag.render.table.head import grid, head, shared_head, tokens, varies
from mhc_diag.render.table.health import definitions, health_table, shared_health
from mhc_diag.render.table.look import Look, marked
from mhc_diag.render.table.outcomes import outcomes, overall
from mhc_diag.render.table.sites import site_table
from mhc_diag.verdict import Verdict

SUFFIX = ".txt"

NARROWEST = 72
"""In a narrower terminal lines wrap, rather than lose digits."""


def render(
    reports: Sequence[Report],
    verdict: Verdict | None = None,
    *,
    width: int = 120,
    color: bool = False,
    all_sites: bool = False,
    unicode: bool = True,
    gate: bool = False,
) -> str:
    """Reports as text for a terminal.

    Args:
        reports: one to show by site, several to show side by side.
        verdict: how they fared, which stands below.
        width: columns of the terminal.
        color: with ANSI colours.
        all_sites: show every site in full.
        unicode: draw with more than ASCII.
        gate: a few lines for each report, what was expected of it, and how it ends.
    """
    look = Look(max(width, NARROWEST), unicode)
    judged = () if verdict is None else (*verdict.lines, *remedies(verdict))
    if gate and verdict is not None:
        parts: Iterable[RenderableType] = gated(reports, verdict, look)
        judged = (*([""] if reports else []), *judged, ending(verdict))
    elif len(reports) == 1:
        parts = _one(reports[0], look, all_sites)
    else:
        parts = _several(reports, look) if _comparable(reports) else blocks(reports, look, verdict)
    shown = printed(parts, look, color)
    return shown + "".join(f"{wrapped(look.text(line), look.width)}\n" for line in judged)


def _comparable(reports: Sequence[Report]) -> bool:
    """Whether numbers of the same depth can stand in a row."""
    return len({report.streams for report in reports}) == 1


def expectation(verdict: Verdict, *, width: int = 120) -> str:
    """What was expected, as text that stands beside a report in another format."""
    look = Look(max(width, NARROWEST), unicode=False)
    return printed([expected(verdict, look)], look, color=False)


def wrapped(line: str, width: int) -> str:
    """A line as several that fit, the later ones indented."""
    return textwrap.fill(line, width, subsequent_indent="  ", break_on_hyphens=False)


def printed(parts: Iterable[RenderableType], look: Look, color: bool) -> str:
    """Parts as text, with an empty line between them."""
    text = StringIO()
    console = Console(
        file=text,
        width=look.width,
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        legacy_windows=False,
        markup=False,
        emoji=False,
        highlight=False,
        _environ={},
    )
    for i, part in enumerate(parts):
        if i:
            console.print()
        console.print(part)
    return "".join(line.rstrip() + "\n" for line in text.getvalue().splitlines())


def _one(report: Report, look: Look, all_sites: bool) -> Iterator[RenderableType]:
    yield head(report, look)
    yield site_table(report, look, all_sites)
    largest = f", largest of the {tokens(report)}" if varies(report) else ""
    curves = [
        Series("forward", report.composite("forward").log10.tolist(), ", sites 0 to l"),
        Series("backward", report.composite("backward").log10.tolist(), ", sites l to the last"),
    ]
    yield chart(f"Composite gain over depth{largest}", curves, look)
    health = health_table(report, look)
    if health is not None:
        yield health
        yield from _formulas([report], look)
    if report.scalars:
        yield overall(report, look)
    if report.summary:
        yield marked(look.text(report.summary), "bold")


def _several(reports: Sequence[Report], look: Look) -> Iterator[RenderableType]:
    yield shared_head(reports, look)
    if len(reports) > SIDE_BY_SIDE:
        yield compared(reports, look)
        return
    yield from depth_tables(reports, look)
    health = shared_health(reports, look)
    if health is not None:
        yield health
        yield from _formulas(reports, look)
    yield outcomes(reports, look)
    curves = [Series(look.text(r.name), r.composite("forward", "p50").log10.tolist()) for r in reports]
    yield chart("Composite forward gain over depth, median", curves, look)
    verdicts = [marked(look.text(r.summary), "bold") for r in reports]
    yield Text("\n").join(verdicts)


def _formulas(reports: Sequence[Report], look: Look) -> Iterator[RenderableType]:
    lines = list(definitions(reports, look))
    if lines:
        yield grid(lines)
