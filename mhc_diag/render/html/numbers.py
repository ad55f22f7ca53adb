"""Every number of a report beside its definition: metrics, and numbers about the whole stack."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

from mhc_diag.magnitude import magnitude
from mhc_diag.records import Curve, MetricCard, Report, Scalar, Scope
from mhc_diag.render.html.elements import Markup, lines, table


def numbers(report: Report) -> Markup:
    """The metrics with what an identity has, and growth and the like with their standard errors."""
    over = ", median over tokens" if report.tokens > 1 else ""
    head = ["metric", "identity has", "least of a site", "most of a site", "all sites", "definition", "after"]
    cells = [_metric(report, card) for card in report.cards]
    metrics = table(f"Health of the mixing{over}", head, cells, numbers=4)
    rows = [_scalar(scalar) for scalar in report.scalars]
    titles = ["number", "value", "standard error", "theory", "definition"]
    return lines([metrics, table("Numbers about all sites together", titles, rows, numbers=3)])


def _metric(report: Report, card: MetricCard) -> list[object]:
    sites, whole = _curve(report, card, "site"), _curve(report, card, "prefix")
    ends = ["", ""]
    if sites is not None:
        known = [i for i, x in enumerate(sites.log10.tolist()) if not math.isnan(x)]
        order = sorted(known, key=lambda i: float(sites.log10[i]))
        broken = len(known) < len(sites.log10)
        ends = [_at(sites, order[0]) if order else "NaN", "NaN" if broken else _at(sites, order[-1])]
    last = "" if whole is None else _at(whole, len(report.sites) - 1)
    ideal = magnitude(card.ideal, math.log10(card.ideal) if card.ideal > 0 else -math.inf)
    return [f"{card.title} ({card.name})", ideal, *ends, last, card.formula, card.reference]


def _at(curve: Curve, site: int) -> str:
    return magnitude(float(curve.value[site]), float(curve.log10[site]))


def _curve(report: Report, card: MetricCard, scope: Scope) -> Curve | None:
    with contextlib.suppress(KeyError):
        return report.curve(card.name, scope, "p50")
    return None


def _scalar(scalar: Scalar) -> list[object]:
    known = (scalar.value, scalar.standard_error, scalar.expected)
    return [scalar.title, *map(_real, known), scalar.formula]


def _real(value: float | None) -> str:
    if value is None:
        return ""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "infinite" if value > 0 else "-infinite"
    return f"{value:.4g}"


def definitions() -> Iterator[str]:
    """What the gains are, for readers who see them for the first time."""
    yield (
        "A site is one residual update x ← M x + p f of the n streams of a token; M, output by input, is the "
        "operator that is applied."
    )
    yield (
        "The forward composite gain at site l is the largest absolute row sum of the product of sites 0 to "
        "l: how far a signal that is equal in all streams has grown. The backward one is the largest "
        "absolute column sum of the product of sites l to the last: how far a gradient has grown when it is "
        "back at l."
    )
    yield "Gains are computed for each token and then summarised; products are never formed of averages."
