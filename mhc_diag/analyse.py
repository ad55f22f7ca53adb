"""MixingStack to Report: every metric of every site and composite, per token, then over tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any

from mhc_diag import plugins
from mhc_diag.curves import CurveTable, MeanMatrices, as_numpy
from mhc_diag.histograms import WorstOfTokens
from mhc_diag.maths import kernel, statistics
from mhc_diag.maths.blocks import each
from mhc_diag.maths.namespace import namespace
from mhc_diag.maths.products import BLOCK, composites
from mhc_diag.records import (
    COMPOSITE,
    SCOPES,
    Array,
    MixingStack,
    Report,
    Scaled,
    Scope,
    Triangle,
)
from mhc_diag.scalars import Rates, half_life
from mhc_diag.selection import ALL, PAPER, card, chosen, measured
from mhc_diag.summary import summarise

CONVERGENCE = "mhc_diag.maths.convergence"
SAMPLED, SAMPLED_NUMBERS = 16, 4_000_000
"""Tokens whose matrices a report keeps, and how many numbers that may be."""
WORTH_THREADS = 2048
"""Matrices from which on scopes are measured side by side."""
SIGNALS_THROUGH_ONE = 1024
"""Random signals at most through a stack that is the same for all tokens."""
KERNEL_SITES = 1024
"""Most sites for which the depth kernel is computed, whose numbers are as many as pairs of sites."""
Progress = Callable[[int], None]


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
    import numpy as np

    parts = iter((stack,) if isinstance(stack, MixingStack) else stack)
    first = next(parts)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is reported, not warned about
        run = _Run(first, tuple(metrics), branch_gain)
        triangles = _triangles(first.matrices) if triangle else ()
        triangles += _kernel(first) if tuple(metrics) == ALL else ()
        run.add(first, progress)
        del first  # so that one part is in memory at a time
        for part in parts:
            run.add(part, progress)
        return run.report(triangles)


class _Run:
    """One analysis: what is gathered from the parts of a stack."""

    def __init__(self, first: MixingStack, metrics: tuple[str, ...], branch_gain: float | None) -> None:
        self.paper, self.branch_gain = metrics == PAPER, branch_gain
        self.about = replace(first, matrices=None, logits=None, pre=None, post=None)
        self.streams = first.streams
        self.samples = _sample(first, first.matrices), _sample(first, first.logits)
        self.metrics = chosen(metrics)
        self.of_logits = {} if first.logits is None or metrics != ALL else plugins.load_all(CONVERGENCE)
        depth, tokens = int(first.matrices.shape[0]), int(first.matrices.shape[1])
        self.depth, self.tokens = depth, 0
        where = first.provenance
        total = max(tokens, len(where.token_numbers) or math.prod(where.token_shape))
        self.table = CurveTable(depth, total, in_parts=total > tokens)
        self.means = {scope: MeanMatrices(depth, first.streams) for scope in SCOPES}
        self.rates = Rates(depth, independent=first.provenance.token_axis == "stack")
        self.worst = WorstOfTokens(depth)
        self.nonfinite = [0] * depth
        taken = (self.metrics | self.of_logits).items()
        self.cards = [card(name, metric, first.streams) for name, metric in taken]

    def add(self, part: MixingStack, progress: Progress | None) -> None:
        tokens = int(part.matrices.shape[1])
        if self.branch_gain is not None:
            self._signals(part, self.branch_gain)
        self.tokens += tokens
        self.nonfinite = [a + b for a, b in zip(self.nonfinite, _nonfinite(part.matrices), strict=True)]
        if self.paper:
            self._sweep(part)
            if progress is not None:
                progress(3 * self.depth * tokens)
            return
        work = [partial(self._scope, part, scope, progress) for scope in SCOPES]
        work.append(partial(self.rates.spectra, part.matrices))
        work += [partial(self._logits, name, m, part.logits) for name, m in self.of_logits.items()]
        large = self.depth * tokens >= WORTH_THREADS and namespace(part.matrices).__name__ == "numpy"
        each(lambda do: do(), work, threads=large)

    def _scope(self, part: MixingStack, scope: Scope, progress: Progress | None) -> None:
        tokens = int(part.matrices.shape[1])
        self.means[scope].start_part(tokens)
        for sites, scaled in composites(part.matrices, scope):
            self.means[scope].add(sites, scaled)
            self._measure(sites, scaled, scope)
            if progress is not None:
                progress((sites.stop - sites.start) * tokens)

    def _measure(self, sites: slice, scaled: Scaled, scope: Scope) -> None:
        for name, value, exponent in measured(self.metrics, scope, scaled):
            self._put(sites, name, scope, value, exponent)

    def _sweep(self, part: MixingStack) -> None:
        from mhc_diag.maths import sweeps

        for (name, scope), numbers in sweeps.paper_gains(part.matrices).items():
            self._put(slice(0, self.depth), name, scope, *numbers)

    def _put(self, sites: slice, name: str, scope: Scope, value: Array, exponent: Array) -> None:
        self.table.put(sites, name, scope, value, exponent)
        for direction, curve in COMPOSITE.items():
            if curve == (name, scope):
                log10 = statistics.log10(value, exponent)
                self.rates.keep(direction, sites, log10)
                self.worst.keep(direction, sites, log10)

    def _signals(self, part: MixingStack, gain: float) -> None:
        import numpy as np

        from mhc_diag.maths import signals

        settings, matrices = part.provenance.settings, as_numpy(part.matrices)
        if part.provenance.token_axis == "none":  # as many signals as other cases have stacks
            draws = min(int(settings.get("seeds", 1)), SIGNALS_THROUGH_ONE)
            matrices = np.broadcast_to(matrices, (self.depth, draws, *matrices.shape[2:]))
        known = (None if x is None else as_numpy(x) for x in (part.pre, part.post))
        pre, post = (x if x is not None and np.isfinite(x).all() else None for x in known)
        seed = int(settings.get("seed", 0))
        made = signals.propagate(matrices, pre=pre, post=post, gain=gain, seed=seed, first=self.tokens)
        self.cards += [signals.ACTIVATION_RMS, signals.GRADIENT_RMS] if not self.tokens else []
        self._put(slice(0, self.depth), "activation_rms", "prefix", *made.activation)
        self._put(slice(0, self.depth), "gradient_rms", "suffix", *made.gradient)

    def _logits(self, name: str, metric: ModuleType, logits: Array) -> None:
        step = max(1, BLOCK // max(int(logits.shape[1]), 1))
        for start in range(0, self.depth, step):
            sites = slice(start, min(start + step, self.depth))
            value = metric.measure(logits[sites, ...])
            self.table.put(sites, name, "site", value, namespace(value).zeros_like(value))

    def report(self, triangles: tuple[Triangle, ...]) -> Report:
        self.cards += [kernel.CARD] if any(t.metric == kernel.CARD.name for t in triangles) else []
        for scope, means in self.means.items():
            for name, value, exponent in () if self.paper else measured(self.metrics, scope, means.means()):
                numbers = statistics.plain(value, exponent), statistics.log10(value, exponent)
                self.table.fill(slice(None), name, scope, "of_mean_matrix", *numbers)
        stack = self.about
        report = Report(
            name=stack.name,
            streams=self.streams,
            tokens=self.tokens,
            sites=stack.sites,
            curves=self.table.curves([card.name for card in self.cards]),
            cards=tuple(self.cards),
            provenance=stack.provenance,
            scalars=tuple(self.rates.scalars(stack.theory)),
            nonfinite=tuple(self.nonfinite),
            triangles=triangles,
            histograms=tuple(self.worst.histograms()) if self.tokens > 1 else (),
            sample=self.samples[0],
            sample_logits=self.samples[1],
        )
        report = self._bounded(report)
        if "uniformity" in self.metrics:
            life = half_life(report.curve("uniformity", "prefix", "p50"))
            report = replace(report, scalars=(*report.scalars, life))
        return replace(report, summary=summarise(report))

    def _bounded(self, report: Report) -> Report:
        """With what no input, or none of those measured, can exceed."""
        from mhc_diag import bounds

        if report.provenance.method == "simulated":
            return report
        caps, known = self.about.caps, {card.name for card in report.cards}
        found = () if caps is None else tuple(bounds.curves(caps, report.streams))
        return replace(
            report,
            curves=(*report.curves, *(curve for curve in found if curve.metric in known)),
            scalars=(*report.scalars, *bounds.scalars(report, caps)),
        )


def _triangles(matrices: Array) -> tuple[Triangle, ...]:
    from mhc_diag.maths.triangle import triangles

    return tuple(
        Triangle(COMPOSITE[direction][0], statistic, log10)
        for direction, statistics_of in triangles(matrices).items()
        for statistic, log10 in statistics_of.items()
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


def _nonfinite(matrices: Array) -> list[int]:
    xp = namespace(matrices)
    bad = xp.logical_not(xp.all(xp.isfinite(matrices), axis=(-2, -1)))
    return [int(c) for c in xp.sum(xp.astype(bad, xp.int64), axis=-1)]
