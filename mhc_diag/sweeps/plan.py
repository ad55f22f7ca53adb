"""What a sweep is to measure: its settings, and the parts that follow from them and from nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from mhc_diag.errors import MhcDiagError
from mhc_diag.maths.blocks import limited, usable
from mhc_diag.measuring import Asked, Measurement, Place, Progress, measure
from mhc_diag.records import Report, Triangle
from mhc_diag.selection import ALL, chosen
from mhc_diag.sources.simulate import Case, Simulation, cases
from mhc_diag.sweeps.engine import a_number

Wanted = bool | Callable[[int, int], bool]
"""Of triangles: always, never, or for how many sites and tokens."""


class Task(NamedTuple):
    """A part of a case."""

    case: int
    part: int


@dataclass(frozen=True)
class Plan:
    """A simulation and what is asked of it, as `analyse` is asked.

    Example:
        >>> plan = Plan(Simulation(depth=64, seeds=3000))
        >>> [case.name for case in plan.cases], [tuple(task) for task in plan.tasks]
        (['identity', 'HC', 'mHC'], [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1)])
    """

    simulation: Simulation
    metrics: tuple[str, ...] = ALL
    branch_gain: float | None = None

    @property
    def asked(self) -> Asked:
        """What is measured of each part."""
        return Asked(self.metrics, self.branch_gain)

    @cached_property
    def cases(self) -> list[Case]:
        """What is drawn.

        Raises:
            MhcDiagError: the simulation is impossible, or there is no metric of a name.
        """
        chosen(self.metrics)
        return cases(self.simulation)

    @cached_property
    def tasks(self) -> list[Task]:
        """All parts of all cases."""
        return [Task(k, part) for k, case in enumerate(self.cases) for part in range(case.count)]

    def matrices(self, task: Task) -> int:
        """How many matrices a part has, three times: what its progress counts."""
        case = self.cases[task.case]
        return 3 * case.depth * len(case.stacks(task.part))

    def seconds(self, tasks: Sequence[Task]) -> float:
        """Roughly what one core needs for these."""
        n, most = self.simulation.streams, max(self.simulation.sinkhorn_iters)
        return sum(map(self.matrices, tasks)) * n * n * (a_number(self.metrics) + 2.3e-9 * most)

    def settings(self) -> dict[str, Any]:
        """Everything that the numbers depend on, by the name that a user knows it by."""
        import numpy as np

        from mhc_diag import __version__

        told = {f.name: getattr(self.simulation, f.name) for f in dataclasses.fields(Simulation)}
        told |= {"scale": self.simulation.resolved_scale, "noise": self.simulation.resolved_noise}
        told |= {"sinkhorn_iters": list(told["sinkhorn_iters"]), "manifolds": list(told["manifolds"])}
        report = told.pop("report")
        told["measured"] = None if report is None else str(report)
        told["measured_sha256"] = None if report is None else _digest(report)
        told |= {"metrics": list(self.metrics), "branch_gain": self.branch_gain}
        return {**told, "mhc_diag": __version__, "numpy": np.__version__}

    @classmethod
    def of(cls, settings: dict[str, Any]) -> Plan:
        """The plan with such settings.

        Raises:
            MhcDiagError: there can be none.
        """
        given = dict(settings)
        try:
            names = {f.name for f in dataclasses.fields(Simulation)} - {"report", "scale", "noise"}
            kept = {name: given[name] for name in names}
            kept |= {"sinkhorn_iters": tuple(kept["sinkhorn_iters"]), "manifolds": tuple(kept["manifolds"])}
            report = None if given["measured"] is None else Path(given["measured"])
            simulation = Simulation(**kept, report=report)
            sizes = {
                name: given[name]
                for name in ("scale", "noise")
                if given[name] != getattr(simulation, f"resolved_{name}")
            }
            simulation = dataclasses.replace(simulation, **sizes)
            return cls(simulation, tuple(given["metrics"]), given["branch_gain"])
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise MhcDiagError(
                f"the settings of the sweep make no sense: {e}", hint="measure it again into another folder"
            ) from e

    def work(self, task: Task, threads: int) -> Work:
        """What a worker is told of a part."""
        return Work(self.cases[task.case], self.asked, task.part, threads)

    def reports(self, found: dict[int, Measurement], *, triangle: Wanted = False) -> list[Report]:
        """One report for each case; where triangles are wanted, of its first part, which is drawn again."""
        from mhc_diag.analyse import Extras, reported

        made = []
        for k, case in enumerate(self.cases):
            wanted = triangle if isinstance(triangle, bool) else triangle(case.depth, case.seeds)
            more = self.work(Task(k, 0), usable()).triangles() if wanted else ()
            made.append(reported(case.about, self.asked, found[k], Extras(more)))
        return made


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker is told: all that a part follows from, wherever the worker is."""

    case: Case
    asked: Asked
    part: int
    threads: int

    def measurement(self, progress: Progress | None = None) -> Measurement:
        """Draw the part and measure it."""
        stacks = self.case.stacks(self.part)
        place = Place(self.part, stacks.start, self.case.seeds)
        with limited(self.threads):
            return measure(self.case.part(self.part), self.asked, place, progress)

    def triangles(self) -> tuple[Triangle, ...]:
        """Draw the part again, for the gains of all composites of neighbouring sites."""
        import numpy as np

        from mhc_diag.analyse import triangles

        with limited(self.threads), np.errstate(over="ignore", invalid="ignore"):
            return triangles(self.case.part(self.part).matrices)


class Found:
    """What was measured so far."""

    def __init__(self) -> None:
        self.cases: dict[int, Measurement] = {}
        self.tasks: set[Task] = set()

    def take(self, tasks: set[Task], cases: dict[int, Measurement]) -> None:
        """Take in more."""
        self.tasks |= tasks
        for k, more in cases.items():
            if k in self.cases:
                self.cases[k].take(more)
            else:
                self.cases[k] = more


def _digest(path: Path) -> str:
    import hashlib

    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as e:
        raise MhcDiagError(f"{path} cannot be read: {e.strerror}", hint="check the path") from e
