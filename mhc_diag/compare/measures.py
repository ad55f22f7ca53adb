"""Which numbers of a report are compared: the paper's gains and what is healthy or not on two sides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mhc_diag.compare.worse import distance
from mhc_diag.findings import seen
from mhc_diag.records import Report, Scope
from mhc_diag.verdict import Place

Floats = np.ndarray[Any, Any]
HALF_LIFE = "half_life"
OF_DIFFERENCES = {"uniformity", "sigma_min_meanfree", HALF_LIFE}
"""What a single stream does not have."""


@dataclass(frozen=True, slots=True, order=True)
class Measure:
    """A metric in a scope under the statistic over tokens that is compared."""

    metric: str
    scope: Scope | Literal["stack"]
    statistic: str

    @property
    def title(self) -> str:
        """In words: `amax_forward of a prefix, max`."""
        return self.metric if self.scope == "stack" else f"{self.metric} of a {self.scope}, {self.statistic}"


MEASURES = (
    Measure("amax_forward", "prefix", "max"),
    Measure("amax_backward", "suffix", "max"),
    Measure("amax_forward", "prefix", "mean"),
    Measure("amax_backward", "suffix", "mean"),
    Measure("amin_forward", "prefix", "min"),
    Measure("amin_backward", "suffix", "min"),
    Measure("marginal_drift", "prefix", "max"),
    Measure(HALF_LIFE, "stack", ""),
    Measure("amax_forward", "site", "max"),
    Measure("amax_backward", "site", "max"),
    Measure("marginal_drift", "site", "max"),
    Measure("uniformity", "site", "min"),
    Measure("sigma_min_meanfree", "site", "min"),
    Measure("effective_rank", "site", "min"),
    Measure("row_residual", "site", "max"),
    Measure("column_residual", "site", "max"),
)
"""Composites and the whole stack first."""


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One measure of one report."""

    measure: Measure
    ideal: float
    """Of the metric's card; of the half-life the depth."""
    value: Floats
    """(L,), or (1,) in the scope `stack`."""
    log10: Floats

    @property
    def distance(self) -> Floats:
        """In decades from ideal, in the same shape."""
        return distance(self.measure.metric, self.ideal, self.value, self.log10)

    @property
    def worst(self) -> int:
        """Where it is furthest from ideal; NaN is furthest of all, and of equals the first counts."""
        ranks = np.round(self.distance, 9)
        ranks = np.where(np.isnan(ranks), np.inf, ranks)
        return int(np.argmax(ranks))

    def place(self, site: int, report: Report) -> Place:
        """One of its numbers, and where that is."""
        at, kind = self.measure, (float(self.value[site]), float(self.log10[site]))
        if at.scope == "stack":
            return Place(at.metric, at.scope, at.statistic, *kind)
        return Place(at.metric, at.scope, at.statistic, *kind, site, report.sites[site].label)

    def places(self, sites: Sequence[int], report: Report) -> list[Place]:
        """Numbers at several sites, which is quicker than one at a time."""
        at, labels = self.measure, [site.label for site in report.sites]
        what = at.metric, at.scope, at.statistic
        numbers = zip(self.value[[*sites]].tolist(), self.log10[[*sites]].tolist(), sites, strict=True)
        return [Place(*what, value, log10, site, labels[site]) for value, log10, site in numbers]


def series(report: Report) -> Iterator[Series]:
    """The measures that a report has.

    Example:
        >>> from mhc_diag.records import Provenance
        >>> path = Provenance("example", "simulated", "made by hand", "direct", "none")
        >>> [s.measure.title for s in series(Report("nothing", 4, 1, (), (), (), path))]
        []
    """
    for measure in MEASURES:
        if report.streams == 1 and measure.metric in OF_DIFFERENCES:
            continue
        found = _half_life(measure, report) if measure.scope == "stack" else _curve(measure, report)
        if found is not None:
            yield found


def _half_life(measure: Measure, report: Report) -> Series | None:
    scalar = report.scalar(HALF_LIFE)
    if scalar is None:
        return None
    value = np.array([scalar.value])
    with np.errstate(divide="ignore"):  # 0 where nothing is left at once
        return Series(measure, float(len(report.sites)), value, np.log10(value))


def _curve(measure: Measure, report: Report) -> Series | None:
    if measure.statistic == "mean" and report.provenance.token_axis == "none":
        return None  # of one matrix the mean is the largest
    assert measure.scope != "stack"
    curve = seen(report, measure.metric, measure.scope, measure.statistic)
    card = next((c for c in report.cards if c.name == measure.metric), None)
    if curve is None:
        return None
    return Series(measure, 1.0 if card is None else card.ideal, curve.value, curve.log10)
