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
from pathlib import Path

import mhc_diag
from mhc_diag.records import Report
from mhc_diag.render.html.elements import Markup, lines, section, tag
from mhc_diag.render.html.judged import banner, judged, outcome
from mhc_diag.render.html.numbers import definitions, numbers
from mhc_diag.render.html.origin import origin
from mhc_diag.render.html.pictures import pictures
from mhc_diag.render.html.sites import sites
from mhc_diag.verdict import Verdict

SUFFIX = ".html"

STYLE = Path(__file__).with_name("style.css")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
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
    body = [
        tag("header", tag("p", f"mhc-diag {mhc_diag.__version__}", class_="tool"), tag("h1", title)),
        tag("main", lines(["", *parts, ""])),
        tag("footer", tag("p", "Made by mhc-diag, stability diagnostics for Hyper-Connections.")),
    ]
    page = [tag("head", lines(["", *_head(title), ""])), tag("body", lines(["", *body, ""]))]
    return f"<!DOCTYPE html>\n{tag('html', lines(['', *page, '']), lang='en')}\n"


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


def _head(title: str) -> Iterator[Markup]:
    yield tag("meta", charset="utf-8")
    yield tag("meta", http_equiv="Content-Security-Policy", content=POLICY)
    yield tag("meta", name_="viewport", content="width=device-width, initial-scale=1")
    yield tag("meta", name_="color-scheme", content="light dark")
    yield tag("link", rel="icon", href="data:,")
    yield tag("title", title)
    yield Markup(f"<style>\n{STYLE.read_text(encoding='utf-8')}</style>")
