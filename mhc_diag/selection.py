"""Which metrics are taken, and all of them of the same matrices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType

from mhc_diag import plugins
from mhc_diag.errors import MhcDiagError
from mhc_diag.maths.singular import singular_values
from mhc_diag.records import SCOPES, Array, MetricCard, Scaled, Scope

METRICS, CONVERGENCE = "mhc_diag.maths.metrics", "mhc_diag.maths.convergence"
AMAX = ("amax_forward", "amax_backward")
"""What every report has."""
ALL, PAPER = ("all",), ("paper",)
"""Every metric; the paper's curves alone."""


def chosen(metrics: Sequence[str]) -> dict[str, ModuleType]:
    """The metrics of these names; the two Amax gains are always among them.

    Raises:
        MhcDiagError: there is no metric of such a name.

    Example:
        >>> list(chosen(["inf_norm"]))
        ['amax_forward', 'amax_backward', 'inf_norm']
    """
    known = plugins.names(METRICS)
    asked = tuple(metrics)
    wanted = tuple(known) if asked == ALL else () if asked == PAPER else asked
    for name in wanted:
        if name not in known:
            raise MhcDiagError(
                f"there is no metric {name!r}", hint=f"choose all, paper, or some of {', '.join(known)}"
            )
    return {name: plugins.load(METRICS, name) for name in dict.fromkeys((*AMAX, *wanted))}


def measured(
    metrics: dict[str, ModuleType], scope: Scope, scaled: Scaled
) -> Iterator[tuple[str, Array, Array]]:
    """The metrics that are taken in a scope, each as (name, value, exponent), for value * 2**exponent.

    Singular values, which cost more than all else, are computed once.

    Example:
        >>> import numpy as np
        >>> doubled = Scaled(np.eye(2), np.float64(1.0))
        >>> [(name, float(v), float(e)) for name, v, e in measured(chosen(["inf_norm"]), "site", doubled)][-1]
        ('inf_norm', 1.0, 1.0)
    """
    taken = {name: m for name, m in metrics.items() if scope in getattr(m, "SCOPES", SCOPES)}
    from_values = [name for name, m in taken.items() if hasattr(m, "of_singular_values")]
    values = singular_values(scaled.mantissa) if from_values else None
    for name, metric in taken.items():
        if metric.DEGREE is None:
            yield name, *metric.scaled(scaled.mantissa, scaled.exponent)
        elif name in from_values:
            yield name, metric.of_singular_values(values), scaled.exponent * metric.DEGREE
        else:
            yield name, metric.measure(scaled.mantissa), scaled.exponent * metric.DEGREE


def card(name: str, metric: ModuleType, streams: int) -> MetricCard:
    """The definition of a metric for so many streams.

    Example:
        >>> card("effective_rank", chosen(["effective_rank"])["effective_rank"], 4).ideal
        4.0
    """
    ideal = float(streams) if metric.IDEAL == "n" else metric.IDEAL
    degree = getattr(metric, "DEGREE", None)
    return MetricCard(name, metric.TITLE, metric.FORMULA, ideal, degree, metric.REFERENCE)
