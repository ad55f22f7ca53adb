"""Training runs that a watch wrote down: one JSON object a line.

The first line names the run: schema, version, model, streams, sites, limits. Each further line is a record:
step, time in seconds since 1970, metrics, alerts. Numbers that JSON lacks are the strings "inf", "-inf" and
"nan". A file may hold several runs one after the other. The last line may be torn, as while it is written.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from mhc_diag.errors import MhcDiagError
from mhc_diag.schema.numbers import number_in
from mhc_diag.sources.printable import printable

SCHEMA = "mhc-diag/run"
VERSION = 1
GRADIENT = "mhc/gradient_"
GRADIENT_STEP = "mhc/gradient_step"
START = 4096
"""Bytes that tell a run from other files."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One record of a run."""

    step: int
    time: float
    metrics: Mapping[str, float]
    alerts: tuple[Mapping[str, Any], ...] = ()
    """Each with step, metric, value, limit, site, text and level."""


class Point(NamedTuple):
    """A metric at a step."""

    step: int
    value: float
    log10: float


@dataclass(slots=True)
class Run:
    """What a file tells of its latest run."""

    name: str
    """The file's."""
    model: str = ""
    sites: tuple[str, ...] = ()
    """Labels, in the order of depth."""
    streams: int = 0
    limits: tuple[Mapping[str, Any], ...] = ()
    """What records were held against: metric, at_most, at_least."""
    records: list[RunRecord] = field(default_factory=list)

    def curve(self, metric: str) -> list[float]:
        """One metric of all records, without the `mhc/` before it; NaN where a record lacks it."""
        return [record.metrics.get(f"mhc/{metric}", math.nan) for record in self.records]

    def course(self, metric: str) -> list[Point]:
        """One metric of the records that have it, without the `mhc/` before it."""
        found = []
        for record in self.records:
            value = record.metrics.get(f"mhc/{metric}")
            if value is not None:
                log10 = record.metrics.get(f"mhc/log10_{metric}", _log10(value))
                found.append(Point(record.step, value, log10))
        return found

    def limit(self, metric: str, side: str = "at_most") -> float | None:
        """A limit of a metric, `at_most` or `at_least`; of several the last."""
        found = [x[side] for x in self.limits if x["metric"] == f"mhc/{metric}" and x[side] is not None]
        return float(found[-1]) if found else None

    @property
    def alerts(self) -> list[Mapping[str, Any]]:
        """Of all records, earliest first."""
        return [alert for record in self.records for alert in record.alerts]


def is_run(path: Path) -> bool:
    """Whether a file holds a run, by its first line.

    Example:
        >>> is_run(Path("no-such-file.jsonl"))
        False
    """
    try:
        with path.open("rb") as file:
            start = file.read(START).lstrip()
    except OSError:  # whoever reads it says so
        return False
    return start.startswith(b"{") and f'"{SCHEMA}"'.encode() in start.partition(b"\n")[0]


def read(path: Path) -> Run:
    """The latest run of a file.

    Raises:
        MhcDiagError: it cannot be read, holds no run, or a line other than the last is damaged.
    """
    run = Run(printable(path))
    for _, entry in entries(path):
        take(run, entry)
    return run


def take(run: Run, entry: Mapping[str, Any]) -> None:
    """Add one line to what is known of a run.

    Raises:
        MhcDiagError: a version that is not known, or an entry that is neither a run nor a record.
    """
    try:
        if "schema" in entry:
            if entry["schema"] != SCHEMA or entry["version"] != VERSION:
                found = f"{entry['schema']} version {entry['version']}"
                raise MhcDiagError(
                    f"{run.name} is {found}, expected {SCHEMA} version {VERSION}",
                    hint="update mhc-diag, or name a file that mhc_diag.watch(jsonl=...) wrote",
                )
            run.model, run.sites = str(entry["model"]), tuple(map(str, entry["sites"]))
            run.streams, run.limits = int(entry["streams"]), tuple(dict(x) for x in entry["limits"])
            run.records = []
            return
        alerts = tuple(_alert(alert) for alert in entry["alerts"])
        metrics = {str(k): float(v) for k, v in entry["metrics"].items()}
        run.records.append(RunRecord(int(entry["step"]), float(entry["time"]), metrics, alerts))
        _gradients_to_their_step(run.records)
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise MhcDiagError(
            f"{run.name} has an entry that is no record of a run ({type(e).__name__}: {e})",
            hint="name a file that mhc_diag.watch(jsonl=...) wrote",
        ) from e


def _gradients_to_their_step(records: list[RunRecord]) -> None:
    """Gains of a gradient are written with a later record, as their own ended before the backward pass."""
    last = records[-1]
    step = last.metrics.get(GRADIENT_STEP)
    if step is None or step == last.step:
        return
    moved = {name: value for name, value in last.metrics.items() if name.startswith(GRADIENT)}
    kept = {name: value for name, value in last.metrics.items() if name not in moved}
    records[-1] = replace(last, metrics=kept)
    for i in range(len(records) - 2, -1, -1):
        if records[i].step == step:
            records[i] = replace(records[i], metrics={**records[i].metrics, **moved})
        if records[i].step <= step:
            return


def _log10(value: float) -> float:
    if value == 0:
        return -math.inf
    return math.log10(value) if value > 0 else math.nan


def _alert(entry: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: str(entry[name]) for name in ("metric", "limit", "site", "text", "level")}
    return {"step": int(entry["step"]), "value": float(number_in(entry["value"])), **told}


def entries(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Where each line begins, in bytes, and what it says; a torn last line is left out.

    Raises:
        MhcDiagError: the file cannot be read, or a line other than the last is no JSON object.
    """
    start, number = 0, 0
    try:
        with path.open("rb") as file:
            for line in file:
                number += 1
                entry = parsed(line)
                if entry is not None:
                    yield start, entry
                elif line.endswith(b"\n"):
                    raise MhcDiagError(
                        f"{printable(path)}: line {number} is no JSON object",
                        hint="name a file that mhc_diag.watch(jsonl=...) wrote, or remove that line",
                    )
                start += len(line)
    except OSError as e:
        raise MhcDiagError(
            f"{printable(path)} cannot be read: {e.strerror}", hint="check the path and its permissions"
        ) from e


def parsed(line: bytes) -> dict[str, Any] | None:
    """A line's object; None where it is none, as of a line that is torn.

    Example:
        >>> parsed(b'{"step": 1}'), parsed(b'{"step"')
        ({'step': 1}, None)
    """
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
