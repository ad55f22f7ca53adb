"""One part of the tokens, measured: what is kept of it, and what several parts make together.

A part's measurement depends on nothing but the part. Parts are taken together in any order, and what is
rounded is summed in the order of the parts, so that the numbers of a report do not depend on who measured
which part when.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from types import ModuleType

from mhc_diag import plugins
from mhc_diag.curves import CurveTable, MeanMatrices, as_numpy
from mhc_diag.histograms import WorstOfTokens
from mhc_diag.maths import statistics
from mhc_diag.maths.blocks import each
from mhc_diag.maths.namespace import namespace
from mhc_diag.maths.products import BLOCK, composites
from mhc_diag.records import COMPOSITE, SCOPES, Array, MixingStack, Scaled, Scope
from mhc_diag.scalars import Moments, Rates
from mhc_diag.selection import ALL, CONVERGENCE, PAPER, chosen, measured

PART_BYTES = 2**24
"""How much memory the matrices of a part may take, unless those of a single token take more."""
WORTH_THREADS = 2048
"""Matrices from which on scopes are measured side by side."""
SIGNALS_THROUGH_ONE = 1024
"""Random signals at most through a stack that is the same for all tokens."""
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be measured."""

    metrics: tuple[str, ...] = ALL
    branch_gain: float | None = None
    """Of random signals that are pushed through the stack as well."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part stands among all of them."""

    number: int
    first: int
    """Number of its first token."""
    total: int
    """Tokens of all parts."""


def cut(stack: MixingStack) -> list[MixingStack]:
    """The parts of a stack that is held whole: of samples, which are in random order, some at a time.

    How many are in a part follows from the shape alone. Other tokens stay together.

    Example:
        >>> import numpy as np
        >>> from mhc_diag.records import Provenance
        >>> where = Provenance("example", "observed", "by hand", "direct", "sample", token_shape=(5000,))
        >>> stack = MixingStack("eye", np.broadcast_to(np.eye(4), (64, 5000, 4, 4)), (), where)
        >>> [part.matrices.shape[1] for part in cut(stack)]
        [2048, 2048, 904]
    """
    depth, tokens, n = (int(k) for k in stack.matrices.shape[:3])
    size = max(1, PART_BYTES // (8 * depth * n * n))
    on_numpy = namespace(stack.matrices).__name__ == "numpy"
    if stack.provenance.token_axis != "sample" or tokens <= size or not on_numpy:
        return [stack]

    def some(array: Array | None, start: int) -> Array | None:
        return None if array is None else array[:, start : start + size]

    return [
        replace(
            stack,
            matrices=some(stack.matrices, start),
            logits=some(stack.logits, start),
            pre=some(stack.pre, start),
            post=some(stack.post, start),
        )
        for start in range(0, tokens, size)
    ]


class Measurement:
    """What was measured of one part, or of several."""

    def __init__(self, depth: int, streams: int, tokens: int, place: Place) -> None:
        import numpy as np

        self.depth, self.streams, self.total = depth, streams, place.total
        self.tokens = {place.number: tokens}
        """How many, by part."""
        number, first = place.number, place.first
        self.table = CurveTable(depth, place.total, part=number, first=first, in_parts=place.total > tokens)
        self.means: dict[Scope, MeanMatrices] = {
            scope: MeanMatrices(depth, streams, part=number, tokens=tokens) for scope in SCOPES
        }
        self.moments: dict[int, dict[str, Moments]] = {}
        """By part and name."""
        self.worst = WorstOfTokens(depth)
        self.nonfinite = np.zeros(depth, dtype=np.int64)
        """Tokens with a number that is none, by site."""

    def take(self, other: Measurement) -> None:
        """Take in what was measured of other parts of the same stack."""
        self.tokens |= other.tokens
        self.table.take(other.table)
        for scope, means in self.means.items():
            means.take(other.means[scope])
        self.moments |= other.moments
        self.worst.take(other.worst)
        self.nonfinite = self.nonfinite + other.nonfinite  # what comes from a worker may be read-only

    def rates(self) -> dict[str, Moments]:
        """The moments of each rate, summed in the order of the parts."""
        parts = [self.moments[number] for number in sorted(self.moments)]
        return {name: Moments.together([part[name] for part in parts]) for name in parts[0]}


def measure(
    part: MixingStack, asked: Asked, place: Place | None = None, progress: Progress | None = None
) -> Measurement:
    """Measure a part: a pure function of it.

    Args:
        part: some of the tokens, all sites.
        asked: what to measure.
        place: where it stands; all tokens there are, if not given.
        progress: called with how many matrices are done, three times all of them in the end.
    """
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is reported, not warned about
        tokens = int(part.matrices.shape[1])
        return _Measuring(part, asked, place or Place(0, 0, tokens), progress).made


class _Measuring:
    """One part on its way."""

    def __init__(self, part: MixingStack, asked: Asked, place: Place, progress: Progress | None) -> None:
        self.part, self.place, self.progress = part, place, progress
        depth, tokens = (int(k) for k in part.matrices.shape[:2])
        self.depth, self.tokens = depth, tokens
        self.made = Measurement(depth, part.streams, tokens, place)
        self.rates = Rates(depth)
        self.metrics = chosen(asked.metrics)
        if asked.branch_gain is not None:
            self._signals(asked.branch_gain)
        self.made.nonfinite += _nonfinite(part.matrices)
        if asked.metrics == PAPER:
            self._sweep()
        else:
            self._everything(logits=asked.metrics == ALL)
        self.made.moments[place.number] = self.rates.moments()

    def _everything(self, *, logits: bool) -> None:
        part = self.part
        work = [partial(self._scope, scope) for scope in SCOPES]
        work.append(partial(self.rates.spectra, part.matrices))
        if logits and part.logits is not None:
            work += [
                partial(self._logits, n, m, part.logits) for n, m in plugins.load_all(CONVERGENCE).items()
            ]
        large = self.depth * self.tokens >= WORTH_THREADS and namespace(part.matrices).__name__ == "numpy"
        each(lambda do: do(), work, threads=large)

    def _scope(self, scope: Scope) -> None:
        for sites, scaled in composites(self.part.matrices, scope):
            self.made.means[scope].add(sites, scaled)
            self._measure(sites, scaled, scope)
            self._tell((sites.stop - sites.start) * self.tokens)

    def _measure(self, sites: slice, scaled: Scaled, scope: Scope) -> None:
        for name, value, exponent in measured(self.metrics, scope, scaled):
            self._put(sites, name, scope, value, exponent)

    def _sweep(self) -> None:
        from mhc_diag.maths import sweeps

        for (name, scope), numbers in sweeps.paper_gains(self.part.matrices).items():
            self._put(slice(0, self.depth), name, scope, *numbers)
        self._tell(3 * self.depth * self.tokens)

    def _put(self, sites: slice, name: str, scope: Scope, value: Array, exponent: Array) -> None:
        self.made.table.put(sites, name, scope, value, exponent)
        for direction, curve in COMPOSITE.items():
            if curve == (name, scope):
                log10 = statistics.log10(value, exponent)
                self.rates.keep(direction, sites, log10)
                self.made.worst.keep(direction, sites, log10)

    def _signals(self, gain: float) -> None:
        import numpy as np

        from mhc_diag.maths import signals

        part = self.part
        settings, matrices = part.provenance.settings, as_numpy(part.matrices)
        if part.provenance.token_axis == "none":  # as many signals as other cases have stacks
            draws = min(int(settings.get("seeds", 1)), SIGNALS_THROUGH_ONE)
            matrices = np.broadcast_to(matrices, (self.depth, draws, *matrices.shape[2:]))
        known = (None if x is None else as_numpy(x) for x in (part.pre, part.post))
        pre, post = (x if x is not None and np.isfinite(x).all() else None for x in known)
        seed, first = int(settings.get("seed", 0)), self.place.first
        made = signals.propagate(matrices, pre=pre, post=post, gain=gain, seed=seed, first=first)
        self._put(slice(0, self.depth), "activation_rms", "prefix", *made.activation)
        self._put(slice(0, self.depth), "gradient_rms", "suffix", *made.gradient)

    def _logits(self, name: str, metric: ModuleType, logits: Array) -> None:
        step = max(1, BLOCK // max(int(logits.shape[1]), 1))
        for start in range(0, self.depth, step):
            sites = slice(start, min(start + step, self.depth))
            value = metric.measure(logits[sites, ...])
            self.made.table.put(sites, name, "site", value, namespace(value).zeros_like(value))

    def _tell(self, done: int) -> None:
        if self.progress is not None:
            self.progress(done)


def _nonfinite(matrices: Array) -> Array:
    xp = namespace(matrices)
    bad = xp.logical_not(xp.all(xp.isfinite(matrices), axis=(-2, -1)))
    return as_numpy(xp.sum(xp.astype(bad, xp.int64), axis=-1))
