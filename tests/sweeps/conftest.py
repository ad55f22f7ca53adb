"""Sweeps that are small and have many parts all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from mhc_diag.records import Report
from mhc_diag.render import json
from mhc_diag.sources import simulate
from mhc_diag.sources.simulate import Simulation
from mhc_diag.sweeps import Plan, engine

DEPTH, STREAMS = 5, 3


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plan]:
    """Make a plan whose parts hold a few stacks each, for which workers are worth it."""
    monkeypatch.setattr(engine, "WORTH_WORKERS", 0.0)

    def made(
        seeds: int = 44, part: int = 8, *, metrics: tuple[str, ...] = ("uniformity",), **settings: object
    ) -> Plan:
        monkeypatch.setattr(simulate, "PART_BYTES", 8 * DEPTH * STREAMS**2 * part)
        simulation = Simulation(depth=DEPTH, streams=STREAMS, seeds=seeds, **settings)  # type: ignore[arg-type]
        return Plan(simulation, metrics)

    return made


@pytest.fixture
def saved() -> Callable[[Iterable[Report]], str]:
    """The JSON of some reports: the form in which no bit may differ."""
    return lambda reports: json.render(list(reports))
