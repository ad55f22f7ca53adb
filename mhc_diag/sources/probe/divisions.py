"""Streams that an entry holds already: found from what a first run could not follow, or told by the user."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mhc_diag.sources.probe.chain import Chain
from mhc_diag.sources.probe.follow import Follow
from mhc_diag.sources.probe.layout import Division, divided

MOST_RUNS = 4
"""Runs of the model after the first, in search of streams that the entry holds."""

Divisions = Mapping[int, tuple[Division, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """One run of the model and the path that was found in it."""

    mode: Follow
    found: Chain | None
    failure: Exception | None


def search(run: Callable[[Divisions], Attempt]) -> Attempt:
    """The run that measured the most, with the entry divided where the path ended in a sum over parts of it.

    A model may take n streams as its input, or mix fractions of each stream (num_fracs). Both look alike: a
    sum runs over evenly spaced elements of the entry, where a branch would sum over all of its channels.
    The division is a guess, which only a run that measures more sites proves.
    """
    first = best = run({})
    tried = 0
    for divisions in _suspected(first):
        if tried == MOST_RUNS or not _ended_early(best):
            break
        attempt, tried = run(divisions), tried + 1
        if measured(attempt) > measured(best):
            best = attempt
    return best


def measured(attempt: Attempt) -> int:
    """Number of sites on the path that was found."""
    return 0 if attempt.found is None else len(attempt.found.sites)


def _ended_early(attempt: Attempt) -> bool:
    if not measured(attempt):
        return True
    assert attempt.found is not None
    return any(codes > attempt.found.last for codes, _ in attempt.mode.unseen)


def _suspected(attempt: Attempt) -> Iterator[Divisions]:
    memory = attempt.mode.memory
    for (number, division), _ in memory.suspected.most_common():
        space = memory.spaces[number]
        of_input = any(c.space is space and c.parent is None and c.kind == "input" for c in memory.codes)
        if not division.fits(space.tokens * space.channels, space.channels):
            continue
        _, channels = divided(space.token_shape, space.channels, division)
        within = division.step * division.streams <= space.channels != division.streams
        if channels >= 2 * division.streams and (within or of_input):
            yield {number: (division,)}


def note(divisions: Sequence[Division], where: str) -> str:
    """What was taken for streams, for the report.

    Example:
        >>> note((Division(16, 4),), "the input")
        'the input holds 4 streams already: its elements in steps of 16, as the model mixes over them'
    """
    what = " and ".join(f"{d.streams} streams already: its elements in steps of {d.step}" for d in divisions)
    return f"{where} holds {what}, as the model mixes over them"
