"""The numbers of a layout's sites, read once and one site at a time.

What spans the channels is large, so it is reduced as soon as its site is complete: to what the reading takes
from it, and to the bound on what any input could.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from mhc_diag.sources.families import Dynamic, Family, FoundSite
from mhc_diag.sources.files.tensors import TensorFile
from mhc_diag.sources.readings import Reading

Look = Callable[[str, Any], None]


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """What was read for L sites."""

    tensors: tuple[dict[str, Any], ...]
    """Of each site, the small ones by role."""
    values: np.ndarray[Any, Any] | None
    """(L, T, B, R): what each site reads off; None where no site reads the streams."""
    reach: np.ndarray[Any, Any] | None
    """(L, B, R): the largest that each value can be."""


def gather(
    file: TensorFile, sites: Sequence[FoundSite], family: Family, reading: Reading, look: Look
) -> Gathered:
    """Read the tensors of all sites.

    Args:
        file: what holds them.
        sites: in the order of execution.
        family: the layout that found them.
        reading: at which streams dynamic sites are evaluated.
        look: called with the name and the numbers of every tensor, once.
    """
    small: list[dict[str, Any]] = [{} for _ in sites]
    values: dict[int, Any] = {}
    reach: dict[int, Any] = {}
    with np.errstate(all="ignore"):  # damaged numbers stay visible as NaN in the report
        for number, tensors in _complete(file, sites, look):
            site = sites[number]
            small[number] = {role: tensors[role] for role in site.tensors}
            if site.reads:
                read = cast(Dynamic, family).read(site, tensors)
                reach[number] = read.reach()
                values[number] = reading.values(read, number, f"{site.path}.{site.kind}".rstrip("."))
    return Gathered(tuple(small), _stacked(values, len(sites)), _stacked(reach, len(sites)))


def _complete(
    file: TensorFile, sites: Sequence[FoundSite], look: Look
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each site with all its tensors by role, as soon as the last of them is read."""
    wanted: dict[str, list[tuple[int, str]]] = {}
    lacking: list[int] = []
    for number, site in enumerate(sites):
        roles = {**site.tensors, **site.reads}
        lacking.append(len(roles))
        for role, name in roles.items():
            wanted.setdefault(name, []).append((number, role))
    pending: dict[int, dict[str, Any]] = {}
    for name, numbers in file.read(wanted):
        look(name, numbers)
        for number, role in wanted[name]:
            pending.setdefault(number, {})[role] = numbers
            lacking[number] -= 1
            if not lacking[number]:
                yield number, pending.pop(number)


def _stacked(by_site: dict[int, Any], count: int) -> np.ndarray[Any, Any] | None:
    """One array over all sites; what a site does not read, while others do, is 0."""
    if not by_site:
        return None
    shape = tuple(map(max, zip(*(array.shape for array in by_site.values()), strict=True)))
    stacked = np.zeros((count, *shape))
    for number, array in by_site.items():
        stacked[number][tuple(slice(size) for size in array.shape)] = array
    return stacked
