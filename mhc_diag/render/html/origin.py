"""Where a report came from: what was measured, how, and what a reader must know."""

from __future__ import annotations

import math
from collections.abc import Iterator

from mhc_diag.records import Report
from mhc_diag.render.html.elements import Markup, tag

OPERATORS = {
    "observed": "M as the model applied it",
    "direct": "M is the stored matrix as it stands",
    "transposed": "M is the transpose of the stored matrix",
}
MOST = 50


def origin(report: Report) -> Markup:
    """The provenance as a list of terms."""
    entries = [part for term, told in _entries(report) for part in (tag("dt", term), tag("dd", told))]
    return tag("dl", *entries)


def _entries(report: Report) -> Iterator[tuple[str, str]]:
    where = report.provenance
    yield "Target", where.target
    yield "Measured", f"{where.method}: {where.how}"
    yield "Operator", f"{OPERATORS[where.orientation]}; row i says how output stream i reads the streams"
    yield "Size", _size(report)
    if where.settings:
        yield "Settings", ", ".join(f"{k} {v}" for k, v in where.settings.items())
    if where.promise is not None and where.promise.manifold:
        yield "Meant to be", f"{where.promise.manifold} ({where.promise.origin})"
    if where.certificates:
        ranks = [math.inf if math.isnan(c) else c for c in where.certificates]
        worst = max(range(len(ranks)), key=ranks.__getitem__)
        least = f"{where.certificates[worst]:.2g}"
        yield "Certificate", f"channels agree on M to within {least}, worst at site {worst}"
    if where.failure:
        yield "Stopped", where.failure
    broken = [site for site, count in enumerate(report.nonfinite) if count]
    if broken:
        yield "Not finite", f"{len(broken)} of {len(report.sites)} sites hold NaN or infinite entries"
    for seen in where.audit:
        yield "Audit", f"{seen.where}: {seen.text}" if seen.where else seen.text
    for note in where.notes:
        yield "Note", note
    for item in where.skipped[:MOST]:
        yield "Skipped", f"{item.what}: {item.reason}"
    if len(where.skipped) > MOST:
        yield "Skipped", f"and {len(where.skipped) - MOST} more, which the JSON report holds"


def _size(report: Report) -> str:
    axis = report.provenance.token_axis
    streams = "1 stream" if report.streams == 1 else f"{report.streams} streams"
    sites = "1 site" if len(report.sites) == 1 else f"{len(report.sites)} sites"
    over = "one matrix a site" if axis == "none" else f"{report.tokens} {axis}{'s' * (report.tokens != 1)}"
    return f"{streams}, {sites}, {over}"
