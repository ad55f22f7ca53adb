"""Sites that hold the same numbers to the last bit: tied, or all written from one.

Sites that are as the code initialises them, and hold nothing that is drawn at random, are equal for that
reason, and are told of as unmoved.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mhc_diag.records import Observation
from mhc_diag.sources.checkpoint.audit.places import joined, label, sites_at
from mhc_diag.sources.checkpoint.audit.seen import Seen, fingerprint
from mhc_diag.sources.checkpoint.audit.subject import Subject
from mhc_diag.sources.families import FoundSite

SHOWN = 3


def observations(subject: Subject, seen: Seen) -> Iterator[Observation]:
    """The groups of sites whose parameters, large ones included, are equal."""
    groups: dict[tuple[tuple[str, bytes], ...], list[int]] = {}
    for number, site in enumerate(subject.sites):
        if not (site.tensors or site.reads):
            continue  # nothing was read that could be the same
        groups.setdefault(_print(subject, number, site, seen), []).append(number)
    several = [
        numbers
        for numbers in groups.values()
        if len(numbers) > 1 and not _as_started(subject, numbers[0], seen)
    ]
    if not several:
        return
    text = "the same numbers to the last bit: tied, or saved from one site"
    if len(several) == 1 and len(several[0]) > SHOWN:
        where = sites_at(several[0], subject.sites)
    elif len(several) == 1:
        where = joined([label(subject.sites[number]) for number in several[0]])
    else:
        first, second = (label(subject.sites[number]) for number in several[0][:2])
        where = f"{sum(map(len, several))} sites in {len(several)} groups, such as {first} and {second}"
    yield Observation("identical", where, text)


def _print(subject: Subject, number: int, site: FoundSite, seen: Seen) -> tuple[tuple[str, bytes], ...]:
    small = [(role, fingerprint(_own(site, t))) for role, t in sorted(subject.tensors[number].items())]
    large = [(role, _own_print(site, seen.glances[name].prints)) for role, name in sorted(site.reads.items())]
    return (*small, *large)


def _own(site: FoundSite, numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A site's part of a tensor that stacks the layers."""
    whole = site.index is None or not numbers.ndim or site.index >= len(numbers)
    return numbers if whole else numbers[site.index]


def _own_print(site: FoundSite, prints: tuple[bytes, ...]) -> bytes:
    return prints[site.index] if site.index is not None and site.index < len(prints) else b"".join(prints)


def _as_started(subject: Subject, number: int, seen: Seen) -> bool:
    """Whether a site's mixing is that of the start, and it reads nothing of the streams."""
    drawn = any(not seen.glances[name].zero for name in subject.sites[number].reads.values())
    first = subject.first
    return first is not None and not drawn and np.array_equal(subject.matrices[number], first[number])
