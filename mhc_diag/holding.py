"""One limit held against one report."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase

from mhc_diag.magnitude import magnitude
from mhc_diag.records import COMPOSITE, DIRECTIONS, Curve, Report
from mhc_diag.verdict import Check, Limit, Place

NAMES: dict[tuple[str, str], str] = {
    COMPOSITE[direction]: f"{direction} composite gain" for direction in DIRECTIONS
}
"""What the paper's curves are called in a sentence."""


def held(limit: Limit, report: Report) -> Check:
    """Whether a limit holds: only where the comparison is true, so that NaN breaks it.

    A number that the report lacks, or a pattern that no site matches, cannot be told.

    Example:
        >>> import numpy as np
        >>> from mhc_diag.records import Provenance, Site
        >>> path = Provenance("example", "simulated", "made by hand", "direct", "none")
        >>> curve = Curve("inf_norm", "site", "max", np.array([2.0]), np.log10([2.0]))
        >>> report = Report("doubling", 1, 1, (Site("layers.0", "", 0),), (curve,), (), path)
        >>> check = held(Limit("inf_norm", "site", at_most=1.5), report)
        >>> check.outcome, check.text
        ('failed', 'inf_norm of a site 2.000 at site 0 (layers.0)')
    """
    if limit.scope == "stack":
        return _of_stack(limit, report)
    try:
        curve = report.curve(limit.metric, limit.scope, limit.statistic)
    except KeyError:
        what = f"{limit.metric} of each {limit.scope}, statistic {limit.statistic}"
        return _unknown(limit, report, f"the report holds no {what}")
    sites = [i for i, site in enumerate(report.sites) if fnmatchcase(site.label, limit.sites)]
    if not sites:
        return _unknown(limit, report, f"no site is called {limit.sites}")
    places = [_place(curve, report, site) for site in sites]
    broken = [place for place in places if not _holds(limit, place)]
    worst = max(broken or places, key=lambda place: _badness(limit, place))
    return Check(report.name, limit, "failed" if broken else "passed", worst, in_words(worst))


def _of_stack(limit: Limit, report: Report) -> Check:
    scalar = report.scalar(limit.metric)
    if scalar is None:
        return _unknown(limit, report, f"the report holds no {limit.metric}")
    value = scalar.value
    log10 = math.log10(value) if value > 0 else math.nan
    place = Place(limit.metric, "stack", "", value, log10)
    text = f"{scalar.title[:1].lower()}{scalar.title[1:]} {_written(value)}"
    return Check(report.name, limit, "passed" if _holds(limit, place) else "failed", place, text)


def _unknown(limit: Limit, report: Report, why: str) -> Check:
    place = Place(limit.metric, limit.scope, limit.statistic)
    return Check(report.name, limit, "could not tell", place, why)


def _place(curve: Curve, report: Report, site: int) -> Place:
    return Place(
        curve.metric,
        curve.scope,
        curve.statistic,
        float(curve.value[site]),
        float(curve.log10[site]),
        site,
        report.sites[site].label,
        None if curve.token is None else int(curve.token[site]),
    )


def _holds(limit: Limit, place: Place) -> bool:
    """Beyond float64 the logarithms are compared, which some negative numbers do not have."""
    value, log10 = place.value or 0.0, place.log10
    assert place.value is not None and log10 is not None
    most, least = limit.at_most, limit.at_least
    under = most is None or value <= most or (most > 0 and log10 <= math.log10(most))
    over = least is None or (value >= least and not math.isinf(log10)) or value >= least > -math.inf
    return under and over


def _badness(limit: Limit, place: Place) -> float:
    """Rank of a number, the worst highest; gains that differ by rounding only count as equal."""
    assert place.value is not None and place.log10 is not None
    if math.isnan(place.value):
        return math.inf
    rank = (
        round(place.log10, 12) if math.isfinite(place.log10) or place.value in (0, math.inf) else place.value
    )
    return -rank if limit.at_most is None else rank


def in_words(place: Place) -> str:
    """A number and the site where it is: `forward composite gain 1.62 at site 57 (layers.28.mlp)`."""
    assert place.value is not None and place.log10 is not None
    name = NAMES.get((place.metric, place.scope), f"{place.metric} of a {place.scope}")
    number = magnitude(place.value, place.log10) if _is_gain(place) else _written(place.value)
    where = f" at site {place.site}" + (f" ({place.label})" if place.label else "")
    return f"{name} {number}{where}"


def _written(value: float) -> str:
    return f"{value:.4g}".replace("inf", "infinite").replace("nan", "NaN")


def _is_gain(place: Place) -> bool:
    """Whether the logarithm is the number's own: no negative number has one."""
    assert place.value is not None
    return not place.value < 0
