"""A sweep from its settings to its reports, or to the file of a shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mhc_diag.measuring import Measurement, Progress
from mhc_diag.records import Report
from mhc_diag.sweeps import engine
from mhc_diag.sweeps.plan import Found, Plan, Task, Wanted, Work

if TYPE_CHECKING:
    from mhc_diag.sweeps.folder import Folder
    from mhc_diag.sweeps.shards import Shard


def run(
    plan: Plan,
    *,
    triangle: Wanted = False,
    jobs: int | None = None,
    state: Path | None = None,
    progress: Progress | None = None,
) -> list[Report]:
    """Simulate on all cores: one report for each case, as `analyse` gives it of the parts of the case.

    Small sweeps are measured in this process. Inside `joblib.parallel_config` its backend and number of jobs
    are used: `with joblib.parallel_config(backend="dask"): run(...)`. No number depends on any of that.

    Args:
        plan: what to draw and to measure.
        triangle: also the gains of every composite of neighbouring sites, of the first part of each case;
            or a function of the numbers of sites and tokens that tells whether.
        jobs: how many parts are measured at a time; as many as the process may use cores, if not given.
            With 1 everything is done here, on one thread.
        state: a folder in which finished parts are kept, and from which an interrupted sweep goes on.
        progress: called with how many matrices are done, three times all of them in the end.

    Raises:
        MhcDiagError: the simulation is impossible, or the folder holds another one.

    Example:
        >>> from mhc_diag.sources.simulate import Simulation
        >>> hc, mhc = run(Plan(Simulation(depth=8, seeds=4, manifolds=("none", "sinkhorn"))), jobs=1)
        >>> mhc.name, round(mhc.worst("forward").value, 6)
        ('mHC', 1.0)
    """
    folder = None
    if state is not None:
        from mhc_diag.sweeps.folder import Folder
        from mhc_diag.sweeps.shards import Shard

        folder = Folder(state, plan, Shard())
    found = _measured(plan, plan.tasks, folder, jobs, progress)
    return plan.reports(found.cases, triangle=triangle)


def measure_shard(
    plan: Plan, shard: Shard, state: Path, *, jobs: int | None = None, progress: Progress | None = None
) -> Path:
    """Measure one shard and leave its file in a folder, for `merged`.

    Args:
        plan: what all shards together draw and measure.
        shard: which share of it.
        state: a folder, which all shards may share.
        jobs: as for `run`.
        progress: as for `run`, of this shard.

    Raises:
        MhcDiagError: the simulation is impossible, or the folder holds another one.
    """
    from mhc_diag.sweeps.folder import Folder

    folder = Folder(state, plan, shard)
    _measured(plan, shard.tasks(plan), folder, jobs, progress)
    return folder.file


def _measured(
    plan: Plan, tasks: Sequence[Task], folder: Folder | None, jobs: int | None, progress: Progress | None
) -> Found:
    """All these parts: those of the folder, and the others."""
    engine.workers(jobs)  # which may refuse their number
    found = Found() if folder is None else folder.open()
    tell = progress or (lambda done: None)
    tell(sum(map(plan.matrices, found.tasks)))
    rest = [task for task in tasks if task not in found.tasks]
    for task, measured in _run(plan, rest, jobs, tell):
        if folder is not None:
            folder.keep(task, measured)
        found.take({task}, {task.case: measured})
        if folder is not None:
            folder.gather(found)
    if folder is not None and (folder.loose or not folder.file.exists()):
        folder.gather(found, always=True)
    return found


def _run(
    plan: Plan, tasks: Sequence[Task], jobs: int | None, tell: Progress
) -> Iterator[tuple[Task, Measurement]]:
    """Each part measured, in whatever order, by whoever does it soonest."""
    count = engine.workers(jobs)
    alone = len(tasks) <= 1 or jobs == 1 or (count == 1 and not engine.configured())
    if alone or plan.seconds(tasks) < engine.WORTH_WORKERS:
        for task in tasks:
            yield task, plan.work(task, count).measurement(tell)
        return
    work = [plan.work(task, threads=max(1, count // len(tasks))) for task in tasks]
    for number, measured in engine.parallel(Work.measurement, work, jobs):
        tell(plan.matrices(tasks[number]))
        yield tasks[number], measured
