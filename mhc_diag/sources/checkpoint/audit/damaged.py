"""Numbers that training does not write: not finite, never initialised, or all zero.

A parameter above 1e4 is no trained one: an Adam step moves a number by about its learning rate, so a million
steps of 1e-3 come to 1e3 at most; and a logit or a gate saturates in float32 below 100 already. Memory that
nobody wrote holds such numbers, because pointers read as floats, and numbers below the smallest normal
float32 (1.2e-38), because small integers and pointers read as float64 do. Neither a random initialisation nor
an optimizer leaves those. They are looked for in small parameters: in what spans the channels, a direction
that nothing uses can decay that far. float16 and float8 have no such numbers.

All zero is told of where the code starts from something else, where it leaves M itself zero, and of what
reads the streams. A bias of zeros is an ordinary start.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mhc_diag.records import Observation
from mhc_diag.sources.checkpoint.audit.places import sites_at, these
from mhc_diag.sources.checkpoint.audit.seen import Glance, Seen
from mhc_diag.sources.checkpoint.audit.subject import Subject

HUGE = 1e4
DIRECTIONS = ("fn", "proj")
"""Roles of what the mixing reads the streams with; the weight of a norm starts from 0 in some codes."""


def observations(subject: Subject, seen: Seen) -> Iterator[Observation]:
    """What is wrong with the numbers themselves."""
    yield from _not_finite(seen)
    yield from _never_written(seen)
    yield from _all_zero(subject, seen)


def _not_finite(seen: Seen) -> Iterator[Observation]:
    bad = {name: glance for name, glance in seen.glances.items() if glance.nans or glance.infinities}
    if bad:
        nans, infinities = sum(g.nans for g in bad.values()), sum(g.infinities for g in bad.values())
        counts = [f"{nans} NaN"] * bool(nans) + [f"{infinities} infinite"] * bool(infinities)
        numbers = "number" if nans + infinities == 1 else "numbers"
        yield Observation("not-finite", these([*bad], "tensors"), f"{' and '.join(counts)} {numbers}")


def _never_written(seen: Seen) -> Iterator[Observation]:
    huge = {name: glance for name, glance in seen.glances.items() if glance.largest > HUGE}
    if huge:
        largest = max(g.largest for g in huge.values())
        text = f"numbers up to {largest:.1e}, which no training reaches: memory that was never initialised?"
        yield Observation("uninitialised", these([*huge], "tensors"), text)
    tiny = {n: g for n, g in seen.glances.items() if g.subnormal and n not in huge}
    if tiny:
        count = sum(g.subnormal for g in tiny.values())
        what = "a number that is not 0 and" if count == 1 else f"{count} numbers that are not 0 and"
        text = f"{what} below 1.2e-38, which no training leaves: memory that was never initialised?"
        yield Observation("uninitialised", these([*tiny], "tensors"), text)


def _all_zero(subject: Subject, seen: Seen) -> Iterator[Observation]:
    sites = range(len(subject.sites))
    for role in dict.fromkeys(role for tensors in subject.tensors for role in tensors):
        if numbers := [i for i in sites if _lost(subject, seen, i, role)]:
            text = (
                f"{role} is all zero, and the code starts from other numbers: not initialised, or not saved"
            )
            yield Observation("all-zero", sites_at(numbers, subject.sites), text)
    for role in dict.fromkeys(role for site in subject.sites for role in site.reads if role in DIRECTIONS):
        if numbers := [i for i in sites if _zero(seen, subject.sites[i].reads.get(role))]:
            text = f"{role} is all zero: the mixing does not depend on the streams"
            yield Observation("reads-nothing", sites_at(numbers, subject.sites), text)
    if numbers := np.flatnonzero((subject.matrices == 0).all(axis=(1, 2))).tolist():
        yield Observation(
            "all-zero", sites_at(numbers, subject.sites), "M is 0: nothing of the streams is left"
        )


def _lost(subject: Subject, seen: Seen, site: int, role: str) -> bool:
    """Whether a tensor is all zero and its start, which is known, is not."""
    starts = None if subject.starts is None else subject.starts[site].get(role)
    zero = _zero(seen, subject.sites[site].tensors.get(role))
    return zero and starts is not None and bool(np.any(starts))


def _zero(seen: Seen, name: str | None) -> bool:
    glance: Glance | None = None if name is None else seen.glances.get(name)
    return glance is not None and glance.zero
