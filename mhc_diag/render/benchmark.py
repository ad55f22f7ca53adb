"""Benchmark: numbers to draw over time, in the form `customSmallerIsBetter` of github-action-benchmark.

    [{"name": "model: forward composite gain", "unit": "x", "value": 1.62, "extra": "at site 57"}]

For each report its largest and its median composite gain, forward and backward, by which factor a composite
grows from site to site where that is known, with its standard error as the range, and, where it was judged,
how many errors, warnings and doubts there are. JSON has no number for a gain that is infinite, NaN or beyond
1.8e308: its value is the largest that there is, which is above any threshold, and `extra` says what it was.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from mhc_diag.magnitude import magnitude
from mhc_diag.records import DIRECTIONS, Direction, Report
from mhc_diag.sources.printable import printable
from mhc_diag.verdict import Verdict

SUFFIX = ".bench.json"

LARGEST = sys.float_info.max


def render(reports: Sequence[Report], verdict: Verdict | None = None) -> str:
    """A list of numbers of which smaller is better.

    Example:
        >>> print(render([], Verdict("passed")), end="")
        []
    """
    entries = [entry for report in reports for entry in _gains(report)]
    if verdict is not None:
        entries += _counts(reports, verdict)
    return json.dumps(entries, indent=2, allow_nan=False) + "\n"


def _gains(report: Report) -> Iterator[dict[str, Any]]:
    name = printable(report.name)
    for direction in DIRECTIONS:
        yield _gain(report, direction, "max", f"{name}: {direction} composite gain")
        yield _gain(report, direction, "p50", f"{name}: {direction} composite gain, median")
        yield from _growth(report, direction, f"{name}: {direction} growth of a site")


def _counts(reports: Sequence[Report], verdict: Verdict) -> Iterator[dict[str, Any]]:
    """How many findings there are of each target, and how often it could not be told."""
    names = dict.fromkeys([*(r.name for r in reports), *(doubt.target for doubt in verdict.doubts)])
    for name in names:
        counted = {
            "errors": [f.rule for f in verdict.errors if f.target == name],
            "warnings": [f.rule for f in verdict.warnings if f.target == name],
            "doubts": [
                printable(d.text) for d in verdict.doubts if d.target == name and d.outcome != "passed"
            ],
        }
        for word, found in counted.items():
            entry = {"name": f"{printable(name)}: {word}", "unit": "findings", "value": len(found)}
            yield {**entry, "extra": "; ".join(found)} if found else entry


def _gain(report: Report, direction: Direction, statistic: str, name: str) -> dict[str, Any]:
    peak = report.worst(direction, statistic)
    label = report.sites[peak.site].label
    where = f"at site {peak.site}" + (f" ({printable(label)})" if label else "")
    known = math.isfinite(peak.value)
    extra = where if known else f"{magnitude(peak.value, peak.log10)} {where}"
    return {"name": name, "unit": "x", "value": peak.value if known else LARGEST, "extra": extra}


def _growth(report: Report, direction: Direction, name: str) -> Iterator[dict[str, Any]]:
    """As exp(rate), which unlike the rate itself is never near 0, so that two of them can be compared."""
    scalar = report.scalar(f"growth_{direction}")
    if scalar is None:
        return
    factor = math.exp(min(scalar.value, math.log(LARGEST)))
    known = math.isfinite(scalar.value)
    entry: dict[str, Any] = {"name": name, "unit": "x", "value": factor if known else LARGEST}
    if known and scalar.standard_error is not None and math.isfinite(scalar.standard_error):
        entry["range"] = f"± {factor * scalar.standard_error:.2g}"
    yield entry if known else {**entry, "extra": f"rate {scalar.value}"}
