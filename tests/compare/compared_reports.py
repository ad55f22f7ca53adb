"""Reports of random stacks, and the same with one number changed."""

from dataclasses import replace
from functools import cache

import numpy as np

from mhc_diag.analyse import analyse
from mhc_diag.records import MixingStack, Provenance, Site


def stochastic(depth=6, tokens=3, streams=4, seed=0, spread=1.0):
    """Nearly doubly stochastic matrices (L, T, n, n)."""
    matrices = np.exp(spread * np.random.default_rng(seed).normal(size=(depth, tokens, streams, streams)))
    for _ in range(20):
        matrices /= matrices.sum(-2, keepdims=True)
        matrices /= matrices.sum(-1, keepdims=True)
    return matrices


def measured(matrices, *, name="model", labels=None, method="observed", axis="token", **provenance):
    """The report of some matrices (L, T, n, n)."""
    labels = labels or [f"layers.{i}" for i in range(len(matrices))]
    sites = tuple(Site(label, "", i) for i, label in enumerate(labels))
    where = Provenance("a test", method, "made by hand", "direct", axis, **provenance)
    return analyse(MixingStack(name, matrices, sites, where))


@cache
def usual(name="model"):
    return measured(stochastic(), name=name)


def with_number(report, metric, scope, statistic, site, value):
    """A report in which one number is another; in the scope `stack` a scalar is."""
    if scope == "stack":
        scalars = tuple(replace(s, value=value) if s.name == metric else s for s in report.scalars)
        return replace(report, scalars=scalars)
    old = report.curve(metric, scope, statistic)
    numbers = old.value.copy()
    numbers[site] = value
    with np.errstate(all="ignore"):
        new = replace(old, value=numbers, log10=np.log10(numbers))
    return replace(report, curves=tuple(new if c is old else c for c in report.curves))
