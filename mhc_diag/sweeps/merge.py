"""Shards put together: all of them, each once, of one and the same sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mhc_diag.errors import MhcDiagError
from mhc_diag.records import Report
from mhc_diag.sources.printable import printable
from mhc_diag.sweeps.folder import files_in, is_part
from mhc_diag.sweeps.plan import Found, Plan, Task, Wanted
from mhc_diag.sweeps.saved import Saved, difference, look
from mhc_diag.sweeps.shards import Shard

SHOWN = 8
"""Shards that a message names."""


def merged(paths: Sequence[Path], *, triangle: Wanted = False) -> list[Report]:
    """The reports of a sweep that was measured in shards.

    Args:
        paths: files that shards left, or folders of them.
        triangle: also the gains of all composites of neighbouring sites, for which the first part of each
            case is drawn again.

    Raises:
        MhcDiagError: a shard is missing, unfinished, given twice or of another sweep.
    """
    saved = [one for path in paths for one in (files_in(path) if path.is_dir() else [look(path)])]
    if not saved:
        raise MhcDiagError(
            f"there is no file of a sweep in {', '.join(map(printable, paths))}",
            hint="name the folder that was given to simulate --shard i/N --state FOLDER",
        )
    first, *others = saved
    for other in others:
        _agree(first, other)
    plan, found = Plan.of(first.settings), Found()
    _complete(plan, first.shard.of, _once(saved))
    told = difference(first.path, plan.settings(), first.settings)
    if told:
        raise MhcDiagError(told, hint="merge where the shards were measured, with the same versions")
    for one in _once(saved):
        found.take(set(one.tasks), one.found(plan))
    return plan.reports(found.cases, triangle=triangle)


def _agree(first: Saved, other: Saved) -> None:
    told = difference(other.path, first.settings, other.settings)
    if told:
        raise MhcDiagError(
            f"{told} as {printable(first.path)}", hint="merge shards of one and the same sweep"
        )
    if other.shard.of != first.shard.of:
        names = [f"{printable(one.path)} is shard {one.shard.name}" for one in (first, other)]
        raise MhcDiagError(
            " and ".join(names),
            hint="merge shards of one and the same sweep",
        )


def _once(saved: Sequence[Saved]) -> list[Saved]:
    """Those that are needed: not what was left of a part when it had been gathered."""
    owner: dict[Task, Saved] = {}
    needed = []
    for one in sorted(saved, key=lambda s: is_part(s.path)):
        twice = next((owner[task] for task in one.tasks if task in owner), None)
        if twice is None:
            owner |= dict.fromkeys(one.tasks, one)
            needed.append(one)
        elif not is_part(one.path) or one.path.parent != twice.path.parent:
            raise MhcDiagError(
                f"shard {one.shard.name} is given twice: {printable(twice.path)} and {printable(one.path)}",
                hint="name each shard once",
            )
    return needed


def _complete(plan: Plan, of: int, needed: Sequence[Saved]) -> None:
    there = {task for one in needed for task in one.tasks}
    known = {one.shard.number for one in needed}
    lacking = []
    for number in range(1, of + 1):
        shard = Shard(number, of)
        tasks = shard.tasks(plan)
        done = len(there.intersection(tasks))
        if number not in known:
            lacking.append(f"{shard.name} is missing")
        elif done < len(tasks):
            lacking.append(f"{shard.name} has measured {done} of {len(tasks)} parts")
    if lacking:
        more = f" and {len(lacking) - SHOWN} more" if len(lacking) > SHOWN else ""
        raise MhcDiagError(
            f"shard {', '.join(lacking[:SHOWN])}{more}",
            hint="run simulate --shard i/N again with the same settings and --state: it goes on from there",
        )
