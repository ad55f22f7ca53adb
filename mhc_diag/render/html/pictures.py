"""The pictures of a page, each with its numbers in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mhc_diag import figures
from mhc_diag.records import Report
from mhc_diag.render.html.elements import Markup, lines, section, tag
from mhc_diag.render.html.inlined import inlined

CAPTIONS = {
    "curves": "Gains over the sites, forward and backward: of single sites, and of the composite of all up "
    "to a site, or from it on. 1 is ideal.",
    "triangle": "Gain of every composite of sites l to k: where growth begins and where it ends. White is 1.",
    "matrices": "Some of the matrices M, output stream by input stream, with their row sums on the right and "
    "their column sums below. All are 1 where mixing keeps the mean.",
    "sinkhorn": "How well Sinkhorn has converged at each site, of the worst token. Lower is better.",
    "growth": "Growth of the composite gain, and the rate that was fitted to the half of the sites that is "
    "farthest from where the composite begins. 0 is ideal.",
    "tokens": "How the worst composite gains of the tokens, over all depths, are distributed.",
}
TITLES = {
    "curves": "Gain curves",
    "triangle": "All composites",
    "matrices": "Site matrices",
    "sinkhorn": "Convergence of Sinkhorn",
    "growth": "Growth",
    "tokens": "Distribution over tokens",
}
EACH_ITS_OWN = {"triangle", "matrices", "sinkhorn"}
MOST = 4
"""Reports of which each has panels of its own."""


def pictures(reports: Sequence[Report]) -> Markup:
    """All pictures of some reports, one beside the other where there is room."""
    if not reports:
        return Markup("")
    return section("pictures", "Pictures", tag("div", lines(["", *_all(reports), ""]), class_="figures"))


def _all(reports: Sequence[Report]) -> Iterator[Markup]:
    for name in figures.PICTURES:
        shown = reports[:MOST] if name in EACH_ITS_OWN else reports
        reason = figures.load(name).missing(shown)
        heading = tag("h3", TITLES[name])
        if reason:
            yield tag("div", heading, tag("p", f"Not shown: {reason}"), class_="missing")
            continue
        words, title = f"{name}-words", f"{name}-title"
        svg = figures.picture(shown, "svg", name, theme="page", stacked=True)
        told = tag("p", figures.load(name).in_words(shown), id=words)
        less = f" The first {MOST} of {len(reports)} are shown." if len(shown) < len(reports) else ""
        caption = tag("p", CAPTIONS[name] + less)
        yield tag(
            "figure",
            tag("h3", TITLES[name], id=title),
            inlined(svg, name, labelled_by=title, described_by=words),
            tag("figcaption", caption, tag("details", tag("summary", "Its numbers in words"), told)),
        )
