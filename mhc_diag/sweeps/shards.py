"""The share of a sweep that one task of a job array measures."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mhc_diag.errors import MhcDiagError
from mhc_diag.sweeps.plan import Plan, Task

MOST = 100_000


@dataclass(frozen=True, slots=True)
class Shard:
    """Number i of N shards, from 1: every N-th part, so that all have about as much to do.

    Example:
        >>> from mhc_diag.sources.simulate import Simulation
        >>> [tuple(task) for task in Shard.parse("2/3").tasks(Plan(Simulation(depth=64, seeds=3000)))]
        [(1, 0), (2, 1)]
    """

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """A shard as it is asked for, `i/N`.

        Raises:
            MhcDiagError: it is not one of N.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        number, of = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= of <= MOST:
            raise MhcDiagError(
                f"--shard is {text!r}", hint="write i/N with i from 1 to N: 1/8, 2/8, ..., 8/8"
            )
        return cls(number, of)

    @property
    def name(self) -> str:
        """What it is called."""
        return f"{self.number}/{self.of}"

    @property
    def stem(self) -> str:
        """What its files are called."""
        return f"{self.number}-of-{self.of}"

    def tasks(self, plan: Plan) -> list[Task]:
        """The parts that it measures."""
        return plan.tasks[self.number - 1 :: self.of]
