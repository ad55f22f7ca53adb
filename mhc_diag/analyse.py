"""MixingStack to Report: every metric of every site and composite, per token, then over tokens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from mhc_diag import plugins
from mhc_diag.curves import as_numpy
from mhc_diag.maths import kernel, signals, statistics
from mhc_diag.measuring import Asked, Measurement, Place, Progress, cut, measure
from mhc_diag.records import COMPOSITE, Array, Caps, MetricCard, MixingStack, Report, Triangle
from mhc_diag.scalars import half_life, rates
from mhc_diag.selection import ALL, CONVERGENCE, PAPER, card, chosen, measured
from mhc_diag.summary import summarise

SAMPLED, SAMPLED_NUMBERS = 16, 4_000_000
"""Tokens whose matrices a report keeps, and how many numbers that may be."""
KERNEL_SITES = 1024
"""Most sites for which the depth kernel is computed, whose numbers are as many as pairs of sites."""


def analyse(
    stack: MixingStack | Iterable[MixingStack],
    *,
    metrics: Sequence[str] = ALL,
    triangle: bool = False,
    branch_gain: float | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure a stack.

    Each metric is taken of single sites, prefixes and suffixes, for every token, and then summarised over the
    tokens; products are never formed of averaged matrices (`of_mean_matrix` averages the composites).

    Args:
        stack: what a source made, or its parts: stacks of the same sites that hold some of the tokens each,
            in random order. Of parts, one is held in memory at a time.
        metrics: names of metrics; `all`; or `paper` for the curves of arXiv 2512.24880 alone (Amax gains of
            single sites, forward of prefixes, backward of suffixes), which needs no matrix products.
        triangle: also the gains of every composite of sites l to k (of the tokens of the first part).
        branch_gain: also push random signals and gradients through the stack, with random branches of this
            gain (see `mhc_diag.maths.signals`).
        progress: called with how many matrices are done, three times all of them in the end.

    Raises:
        MhcDiagError: there is no metric of such a name, or the gain of the branches makes no sense.

    Example:
        >>> import numpy as np
        >>> from mhc_diag.records import Provenance, Site
        >>> sites = tuple(Site("", "", depth) for depth in range(3))
        >>> stack = MixingStack("doubling", np.full((3, 1, 1, 1), 2.0), sites,
        ...     Provenance("example", "simulated", "made by hand", "direct", "none"))
        >>> analyse(stack).composite("forward").value.tolist()
        [2.0, 4.0, 8.0]
    """
    asked = Asked(tuple(metrics), branch_gain)
    parts: Iterator[MixingStack]
    if isinstance(stack, MixingStack):
        first, (begin, *others) = stack, cut(stack)
        parts = iter(others)
    else:
        parts = iter(stack)
        begin = first = next(parts)
    more, total = extras(first, asked, triangle=triangle), tokens_of(first)
    found = measure(begin, asked, Place(0, 0, total), progress)
    about = replace(first, matrices=None, logits=None, pre=None, post=None)
    del begin, first  # so that one part is in memory at a time
    for number, part in enumerate(parts, start=1):
        found.take(measure(part, asked, Place(number, sum(found.tokens.values()), total), progress))
    return reported(about, asked, found, more)


@dataclass(frozen=True, slots=True, eq=False)
class Extras:
    """What a report holds of some tokens beside the numbers of all."""

    triangles: tuple[Triangle, ...] = ()
    sample: Any = None
    sample_logits: Any = None


def extras(first: MixingStack, asked: Asked, *, triangle: bool) -> Extras:
    """What is taken of the first part, or of a stack that is whole."""
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is reported, not warned about
        more = triangles(first.matrices) if triangle else ()
        more += _kernel(first) if asked.metrics == ALL else ()
    return Extras(more, _sample(first, first.matrices), _sample(first, first.logits))


NOTHING = Extras()


def reported(about: MixingStack, asked: Asked, found: Measurement, more: Extras = NOTHING) -> Report:
    """The report of what was measured.

    Args:
        about: the stack, whose arrays are not looked at.
        asked: what was to be measured.
        found: what was.
        more: what goes with it.
    """
    import numpy as np

    metrics = chosen(asked.metrics)
    cards = _cards(metrics, found, more.triangles)
    with np.errstate(over="ignore", invalid="ignore"):
        for scope, means in found.means.items():
            for name, value, exponent in (
                () if asked.metrics == PAPER else measured(metrics, scope, means.means())
            ):
                numbers = statistics.plain(value, exponent), statistics.log10(value, exponent)
                found.table.fill(slice(None), name, scope, "of_mean_matrix", *numbers)
        where, tokens = about.provenance, sum(found.tokens.values())
        report = Report(
            name=about.name,
            streams=found.streams,
            tokens=tokens,
            sites=about.sites,
            curves=found.table.curves([card.name for card in cards]),
            cards=cards,
            provenance=where,
            scalars=tuple(rates(found.rates(), about.theory, independent=where.token_axis == "stack")),
            nonfinite=tuple(found.nonfinite.tolist()),
            triangles=more.triangles,
            sample=more.sample,
            sample_logits=more.sample_logits,
            histograms=tuple(found.worst.histograms()) if tokens > 1 else (),
        )
        report = _bounded(report, about.caps)
    if "uniformity" in metrics:
        life = half_life(report.curve("uniformity", "prefix", "p50"))
        report = replace(report, scalars=(*report.scalars, life))
    return replace(report, summary=summarise(report))


def triangles(matrices: Array) -> tuple[Triangle, ...]:
    """The gains of every composite of neighbouring sites, of matrices (L, T, n, n)."""
    from mhc_diag.maths import triangle

    return tuple(
        Triangle(COMPOSITE[direction][0], statistic, log10)
        for direction, statistics_of in triangle.triangles(matrices).items()
        for statistic, log10 in statistics_of.items()
    )


def tokens_of(first: MixingStack) -> int:
    """How many tokens there are in all parts."""
    where = first.provenance
    return max(int(first.matrices.shape[1]), len(where.token_numbers) or math.prod(where.token_shape))


def _cards(
    metrics: dict[str, ModuleType], found: Measurement, more: tuple[Triangle, ...]
) -> tuple[MetricCard, ...]:
    """The definitions of what was measured."""
    known = [card(name, m, found.streams) for name, m in (metrics | plugins.load_all(CONVERGENCE)).items()]
    known += [signals.ACTIVATION_RMS, signals.GRADIENT_RMS, kernel.CARD]
    present = found.table.metrics() | {t.metric for t in more}
    return tuple(card for card in known if card.name in present)


def _bounded(report: Report, caps: Caps | None) -> Report:
    """With what no input, or none of those measured, can exceed."""
    from mhc_diag import bounds

    if report.provenance.method == "simulated":
        return report
    known = {card.name for card in report.cards}
    found = () if caps is None else tuple(bounds.curves(caps, report.streams))
    return replace(
        report,
        curves=(*report.curves, *(curve for curve in found if curve.metric in known)),
        scalars=(*report.scalars, *bounds.scalars(report, caps)),
    )


def _kernel(stack: MixingStack) -> tuple[Triangle, ...]:
    """The depth kernel, where it is known how branches read and write."""
    if stack.pre is None or stack.post is None or stack.matrices.shape[0] > KERNEL_SITES:
        return ()
    found = kernel.over_tokens(stack.matrices, stack.pre, stack.post, stack.reads_from)
    return tuple(Triangle(kernel.CARD.name, name, as_numpy(table)) for name, table in found.items())


def _sample(stack: MixingStack, matrices: Array | None) -> Any:
    """The matrices of a few tokens, evenly spread, of a stack that was not drawn at random."""
    if matrices is None or stack.provenance.method == "simulated":
        return None
    depth, tokens, n = (int(k) for k in matrices.shape[:3])
    count = max(1, min(SAMPLED, tokens, SAMPLED_NUMBERS // (depth * n * n)))
    chosen_tokens = [k * tokens // count for k in range(count)]
    return as_numpy(matrices[:, chosen_tokens, ...])
