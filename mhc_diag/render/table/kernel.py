"""The depth kernel in one line: the largest weight with which one branch reaches a later one."""

from __future__ import annotations

import math

import numpy as np

from mhc_diag.magnitude import magnitude
from mhc_diag.records import MetricCard, Report, Triangle
from mhc_diag.render.table.look import Look

NAME = "depth_kernel"
SAME = 1e-9
"""Decades: weights that differ by less are equal but for rounding."""


def kernel_line(report: Report, look: Look) -> str | None:
    """The largest entry of the depth kernel and where it is; None where the report has no kernel."""
    largest, mean = _triangle(report, "max"), _triangle(report, "mean")
    if largest is None:
        return None
    pairs = np.triu(np.ones(largest.log10.shape, dtype=bool), 1)
    known = pairs & ~np.isnan(largest.log10)
    if not known.any():
        return None
    missing = f"; known for {known.sum()} of {pairs.sum()} pairs" if known.sum() < pairs.sum() else ""
    tables = np.where(known, largest.log10, -np.inf)
    top, low = tables.max(), largest.log10[known].min()
    title = f"Depth kernel: abs(K) {_read(top)}"
    if top == low or top - low < SAME:
        return f"{title} from every branch to every later one{missing}"
    j, k = np.argwhere(tables >= top - SAME)[0] if math.isfinite(top) else np.argwhere(tables == top)[0]
    mean_there = "" if mean is None or report.tokens == 1 else f", mean {_read(mean.log10[j, k])}"
    return (
        f"{title} at most{mean_there}, from the branch of {_site(report, j, look)} "
        f"to that of {_site(report, k, look)}{missing}"
    )


def kernel_card(report: Report) -> MetricCard | None:
    """The definition of the kernel, where the report has one."""
    return next((card for card in report.cards if card.name == NAME), None)


def _triangle(report: Report, statistic: str) -> Triangle | None:
    wanted = (NAME, statistic)
    return next((t for t in report.triangles if (t.metric, t.statistic) == wanted), None)


def _read(log10: float) -> str:
    return magnitude(10 ** float(log10) if log10 < 308 else math.inf, float(log10))


def _site(report: Report, number: int, look: Look) -> str:
    label = report.sites[number].label
    return f"site {number}" + (f" ({look.text(label)})" if label else "")
