"""HTML: one page to read, to print and to attach, which needs nothing beside itself.

The verdict, what was found and what to do about it with the text of each finding, what could not be told, the
limits and who set them; the gain curves, the heat map of all composites where it was computed, some matrices
with their sums, the convergence of Sinkhorn, growth, and how gains are distributed over tokens; every number
with its definition, where it came from, and the table of sites.

The page loads nothing, runs nothing and may not: its policy forbids both. It follows the light or dark scheme
of its reader, fits a phone, prints, and says in words what each picture shows. Text from a file is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mhc_diag.records import Report
from mhc_diag.render.html.document import document
from mhc_diag.render.html.elements import Markup, section, tag
from mhc_diag.render.html.judged import banner, judged, outcome
from mhc_diag.render.html.numbers import definitions, numbers
from mhc_diag.render.html.origin import origin
from mhc_diag.render.html.pictures import pictures
from mhc_diag.render.html.sites import sites
from mhc_diag.verdict import Verdict

SUFFIX = ".html"

IN_FULL = 8
"""Reports whose numbers and sites are shown."""


def render(reports: Sequence[Report], verdict: Verdict | None = None) -> str:
    """A whole page.

    Example:
        >>> render([], Verdict("passed", enforced=True)).splitlines()[0]
        '<!DOCTYPE html>'
    """
    parts = [part for part in _parts(reports, verdict) if part]
    names = ", ".join(report.name for report in reports[:IN_FULL])
    title = f"{outcome(verdict)}: {names or 'nothing measured'}"
    return document(title, parts)


def _parts(reports: Sequence[Report], verdict: Verdict | None) -> Iterator[Markup]:
    yield banner(reports, verdict)
    if verdict is not None:
        yield judged(verdict)
    yield pictures(reports)
    for i, report in enumerate(reports[:IN_FULL]):
        name = f"report-{i + 1}"
        heading = f"Numbers of {report.name}"
        yield section(name, heading, numbers(report), sites(report), tag("h3", "Origin"), origin(report))
    if len(reports) > IN_FULL:
        more = len(reports) - IN_FULL
        yield tag("p", f"{more} more are in the table above, and in JSON and CSV in full.")
    if reports:
        yield section("meaning", "What the numbers mean", *(tag("p", told) for told in definitions()))
