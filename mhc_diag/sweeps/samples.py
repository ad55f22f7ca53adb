"""A stack that is held whole, measured on all cores: random samples of a checkpoint, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mhc_diag.maths.blocks import limited
from mhc_diag.measuring import Asked, Measurement, Place, Progress, cut, measure
from mhc_diag.records import MixingStack, Report
from mhc_diag.selection import ALL
from mhc_diag.sweeps import engine


@dataclass(frozen=True, slots=True, eq=False)
class Some:
    """Some of the tokens, as a worker gets them."""

    part: MixingStack
    asked: Asked
    place: Place
    threads: int

    def measurement(self) -> Measurement:
        """Measure them."""
        with limited(self.threads):
            return measure(self.part, self.asked, self.place)


def analyse_samples(
    stack: MixingStack,
    *,
    metrics: Sequence[str] = ALL,
    triangle: bool = False,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """The report that `analyse` gives, on as many cores, to the last bit.

    Random samples go to workers part by part where that is worth it. Other tokens are not in random order, so
    they are measured together, on threads.

    Args:
        stack: what a source made.
        metrics: as for `analyse`.
        triangle: as for `analyse`.
        jobs: how many cores to use; all, if not given. With 1 there is one thread.
        progress: as for `analyse`.

    Raises:
        MhcDiagError: there is no metric of such a name, or no worker is asked for.
    """
    from mhc_diag.analyse import analyse, extras, reported, tokens_of

    count, parts = engine.workers(jobs), cut(stack)
    depth, tokens, n = stack.matrices.shape[:3]
    alone = len(parts) == 1 or jobs == 1 or (count == 1 and not engine.configured())
    if alone or 3 * depth * tokens * n * n * engine.a_number(metrics) < engine.WORTH_WORKERS:
        with limited(count):
            return analyse(stack, metrics=metrics, triangle=triangle, progress=progress)
    asked, found = Asked(tuple(metrics)), None
    threads, size = max(1, count // len(parts)), parts[0].matrices.shape[1]
    work = [Some(part, asked, Place(k, k * size, tokens_of(stack)), threads) for k, part in enumerate(parts)]
    for number, more in engine.parallel(Some.measurement, work, jobs):
        if progress is not None:
            progress(3 * depth * parts[number].matrices.shape[1])
        if found is None:
            found = more
        else:
            found.take(more)
    assert found is not None
    return reported(stack, asked, found, extras(stack, asked, triangle=triangle))
