"""The block above the numbers: what was measured, how, and what the numbers mean."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from mhc_diag.records import COMPOSITE, DIRECTIONS, Report
from mhc_diag.render.table.audited import audited
from mhc_diag.render.table.look import Look, marked
from mhc_diag.render.table.numbers import ratio

SKIPPED_SHOWN = 5
OPERATOR = {
    "observed": "M as the model applied it",
    "direct": "M is the stored matrix as it stands",
    "transposed": "M is the transpose of the stored matrix",
}

EXACT = "0 at every site: all channels agree on every entry of M exactly"

Line = tuple[str, Text]


def varies(report: Report) -> bool:
    """Whether the statistics over tokens differ from one another."""
    return report.provenance.token_axis != "none" and report.tokens > 1


def tokens(report: Report) -> str:
    """How many tokens or stacks the statistics are taken over."""
    axis = report.provenance.token_axis
    unit = "token" if axis == "none" else axis
    return f"{report.tokens} {unit}" + ("" if report.tokens == 1 else "s")


def grid(lines: Sequence[Line]) -> Table:
    """Labels on the left, texts that wrap on the right."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in lines:
        table.add_row(Text(label), text)
    return table


def head(report: Report, look: Look) -> Table:
    """The head of one report."""
    return grid([*_measured(report, look), *_definitions(report, look), *_caveats([report], look)])


def block(report: Report, look: Look, profile: str = "") -> Iterator[Line]:
    """The head without what the numbers mean."""
    where = report.provenance
    yield "target", Text(look.text(report.name), "bold")
    yield "measured", Text(look.text(f"{where.method}: {where.how}"))
    yield "size", _size(report)
    if profile:
        yield "profile", Text(look.text(profile))
    yield from _certificates(report, look)
    yield from _caveats([report], look)


def shared_head(reports: Sequence[Report], look: Look) -> Table:
    """The head of several reports of the same size."""
    first = next(filter(varies, reports), reports[0])
    settings = [dict(r.provenance.settings) for r in reports]
    common = {k: v for k, v in settings[0].items() if all(k in s and s[k] == v for s in settings)}
    lines = [("size", _size(first)), *_settings(common, look)]
    for report, own in zip(reports, settings, strict=True):
        special = [f"{k} {v}" for k, v in own.items() if k not in common]
        text = ", ".join([report.provenance.how, *special])
        lines.append((look.text(report.name), Text(look.text(text))))
    return grid([*lines, *_definitions(first, look), *_caveats(reports, look)])


def _measured(report: Report, look: Look) -> Iterator[Line]:
    where = report.provenance
    yield "target", Text(look.text(where.target), "bold")
    yield "measured", Text(look.text(f"{where.method}: {where.how}"))
    yield "operator", Text(f"{OPERATOR[where.orientation]}; row i says how output stream i reads the streams")
    yield "size", _size(report)
    yield from _settings(where.settings, look)
    yield from _certificates(report, look)


def _certificates(report: Report, look: Look) -> Iterator[Line]:
    known = report.provenance.certificates or ()
    ranks = [math.inf if math.isnan(c) else c for c in known]
    fitted = set(report.provenance.fitted)
    groups = {
        "channels agree on M to within": [s for s in range(len(ranks)) if s not in fitted],
        f"at {len(fitted)} of {len(ranks)} sites M was fitted to values, to within": sorted(fitted),
    }
    for what, sites in groups.items():
        if sites:
            site = max(sites, key=ranks.__getitem__)
            text = marked(f"{what} {ratio(known[site])}, worst at site {site}, ")
            text.append(look.text(report.sites[site].label))
            exact = ranks[site] == 0 and not fitted
            yield "certificate", Text(EXACT) if exact else text


def _size(report: Report) -> Text:
    where = report.provenance
    shape = f" ({' x '.join(map(str, where.token_shape))})" if len(where.token_shape) > 1 else ""
    shape = shape.replace("(", "(of ") if where.token_numbers else shape
    over = "one static matrix a site" if where.token_axis == "none" else f"T = {tokens(report)}{shape}"
    streams = "1 stream" if report.streams == 1 else f"{report.streams} streams"
    return Text(f"n = {streams}, L = {len(report.sites)} sites, {over}")


def _settings(settings: Mapping[str, Any], look: Look) -> Iterator[Line]:
    if settings:
        yield "settings", Text(look.text(", ".join(f"{k} {v}" for k, v in settings.items())))


def _definitions(report: Report, look: Look) -> Iterator[Line]:
    formulas = {card.name: card.formula for card in report.cards}
    for direction in DIRECTIONS:
        metric, _ = COMPOSITE[direction]
        yield direction, Text(look.text(f"{metric} = {formulas[metric]}"))
    yield "composite", Text("forward at l: product of sites 0 to l; backward at l: of sites l to the last")
    if varies(report):
        each = f"each {report.provenance.token_axis}"
        yield "statistics", Text(f"taken over the gains of {tokens(report)}; products are formed for {each}")


def _caveats(reports: Sequence[Report], look: Look) -> Iterator[Line]:
    for report in reports:
        if report.provenance.failure:
            yield "stopped", Text(look.text(report.provenance.failure), "bold red")
        bad = [site for site, count in enumerate(report.nonfinite) if count]
        if bad:
            first = f"first at site {bad[0]}, {look.text(report.sites[bad[0]].label)}"
            text = f"{len(bad)} of {len(report.sites)} sites hold NaN or infinite entries, {first}"
            yield "not finite", Text(text, "bold red")
    yield from audited(reports, look)
    for note in dict.fromkeys(note for r in reports for note in r.provenance.notes):
        yield "note", Text(look.text(note))
    skipped = [s for r in reports for s in r.provenance.skipped]
    for item in skipped[:SKIPPED_SHOWN]:
        yield "skipped", Text(look.text(f"{item.what}: {item.reason}"))
    if len(skipped) > SKIPPED_SHOWN:
        yield "", Text(f"and {len(skipped) - SKIPPED_SHOWN} more")
