"""A comparison as plain dictionaries that strict JSON can hold; one record for each number."""

from __future__ import annotations

import math
from typing import Any

from mhc_diag.compare.comparison import Change, Comparison
from mhc_diag.compare.lots import Lots
from mhc_diag.records import Report

SCHEMA = "mhc-diag/diff"
VERSION = 1


def to_document(lots: Lots) -> dict[str, Any]:
    """Everything that was compared.

    Example:
        >>> to_document(Lots((), ("a",), (), 0.01))["outcome"]
        'could not tell'
    """
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "outcome": lots.outcome,
        "exit_code": lots.exit_code,
        "tolerance": lots.tolerance,
        "lines": list(lots.lines),
        "only_before": list(lots.only_before),
        "only_after": list(lots.only_after),
        "comparisons": [_comparison(c, lots.tolerance) for c in lots.comparisons],
    }


def _comparison(found: Comparison, tolerance: float) -> dict[str, Any]:
    sites = found.sites
    return {
        "outcome": found.outcome(tolerance),
        "before": _report(found.before),
        "after": _report(found.after),
        "matched_by": sites.by,
        "matched_sites": len(sites.pairs),
        "only_before": [found.before.sites[i].label for i in sites.only_before],
        "only_after": [found.after.sites[j].label for j in sites.only_after],
        "differences": list(found.differences),
        "doubts": list(found.doubts),
        "worst": [_change(c, tolerance) for c in found.worst],
        "sites": [_change(c, tolerance) for c in found.changes],
    }


def _report(report: Report) -> dict[str, Any]:
    where = report.provenance
    return {
        "name": report.name,
        "target": where.target,
        "method": where.method,
        "streams": report.streams,
        "sites": len(report.sites),
        "tokens": report.tokens,
    }


def _change(change: Change, tolerance: float) -> dict[str, Any]:
    before, after = change.before, change.after
    return {
        "metric": change.measure.metric,
        "scope": change.measure.scope,
        "statistic": change.measure.statistic,
        "before_site": before.site,
        "after_site": after.site,
        "before_label": before.label,
        "after_label": after.label,
        "before": _number(before.value),
        "after": _number(after.value),
        "before_log10": _number(before.log10),
        "after_log10": _number(after.log10),
        "ratio_log10": _number(change.log10_ratio),
        "worse_log10": _number(change.decades),
        "worse": change.is_worse(tolerance),
    }


def _number(value: float | None) -> Any:
    return value if value is None or math.isfinite(value) else str(value)
