"""What a report says in one plain sentence."""

from __future__ import annotations

import math

from mhc_diag.magnitude import magnitude
from mhc_diag.records import DIRECTIONS, Peak, Report

NEAR_1 = math.log10(1.5)  # either way
FADED = 10  # half-lives after which a thousandth of the differences between streams is left


def summarise(report: Report) -> str:
    """One plain sentence: the worst composite gains, where they are, and what that means for a signal.

    Example: see the last line of `mhc-diag scan`.
    """
    parts = []
    statistic = "max" if report.provenance.token_axis in {"token", "sample"} else "p50"
    for direction in DIRECTIONS:
        peak = report.worst(direction, statistic)
        label = report.sites[peak.site].label
        word = "through" if direction == "forward" else "from"
        at = f"{word} site {peak.site}" + (f" ({label})" if label else "")
        parts.append(f"{direction} {magnitude(peak.value, peak.log10)} {at}")
    over = {
        "token": f", the largest of {report.tokens} tokens",
        "sample": f", the largest of {report.tokens} samples",
        "stack": f", median of {report.tokens} stacks",
    }
    where = over.get(report.provenance.token_axis, "")
    meaning = _meaning(report, statistic) + _missing(report) + _certified(report)
    return f"{report.name}: worst composite gain {' and '.join(parts)}{where}: {meaning}."


def _missing(report: Report) -> str:
    """What the gains leave out, where a live measurement had to leave something out."""
    left_out = len(report.provenance.skipped) if report.provenance.method == "observed" else 0
    stopped = "; the model failed half-way" if report.provenance.failure else ""
    return (f"; not all of it was measured ({left_out} left out)" if left_out else "") + stopped


def _certified(report: Report) -> str:
    """What no input can exceed, where that is known and no wider than the structure of the matrices."""
    found = [report.scalar(f"bound_{direction}") for direction in DIRECTIONS]
    if not any(curve.statistic == "bound" for curve in report.curves):
        return ""
    parts = [
        f"{direction} gain can exceed {_cap(scalar.value)}"
        for direction, scalar in zip(DIRECTIONS, found, strict=True)
        if scalar is not None and scalar.value <= report.streams * (1 + 1e-6)
    ]
    return f"; certified for every input: no composite's {', and no '.join(parts)}" if parts else ""


def _cap(bound: float) -> str:
    """The bound, rounded up."""
    return f"{math.ceil(bound * 1e3 - 1e-6) / 1e3:g}"


def _meaning(report: Report, statistic: str) -> str:
    peaks: list[Peak] = [report.worst(d, statistic) for d in DIRECTIONS]
    bad = sum(1 for count in report.nonfinite if count)
    if bad:
        return f"{bad} of {len(report.sites)} sites have matrices that are not finite"
    if any(math.isnan(p.log10) or p.log10 == math.inf for p in peaks):
        return "the composite is not finite"
    top = max(p.log10 for p in peaks)
    lowest = min(float(report.composite(d, statistic).log10.min()) for d in DIRECTIONS)
    if top > 1:
        return f"signals or gradients can grow {_times(top)}"
    if lowest < -1:
        return f"signals or gradients shrink {_times(-lowest)}"
    if top > NEAR_1:
        if 10**top <= report.streams * (1 + 1e-6):
            return f"no composite exceeds the number of streams, {report.streams}"
        return "the residual path amplifies moderately"
    if lowest < -NEAR_1:
        return "the residual path attenuates moderately"
    return "the gains stay near 1" + _averaged(report)


def _averaged(report: Report) -> str:
    """That gains near 1 may hide streams that have become one."""
    life = report.scalar("half_life")
    if report.streams == 1 or life is None or not life.value * FADED <= len(report.sites):
        return ""
    if life.value == 0:
        return ", but the streams are averaged: the first site leaves nothing of their differences"
    return f", but the streams are averaged: their differences halve every {life.value:.3g} sites"


def _times(log10: float) -> str:
    return f"{10**log10:,.0f} times" if log10 < 6 else f"10^{log10:,.0f} times"
