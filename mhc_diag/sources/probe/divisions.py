"""Streams that an entry holds already: found from what a first run could not follow, or told by the user."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.probe.chain import Chain
from mhc_diag.sources.probe.follow import Follow
from mhc_diag.sources.probe.memory import Entry, as_it_is
from mhc_diag.sources.probe.named_layout import NamedLayout
from mhc_diag.sources.probe.space import Division, Space, divided

MOST_RUNS = 4
"""Runs of the model after the first, in search of streams that the entry holds."""


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """One run of the model and the path that was found in it."""

    mode: Follow
    found: Chain | None
    failure: Exception | None


Run = Callable[[Entry], Attempt]


def search(run: Run, *, streams: int | None = None) -> Attempt:
    """The run that measured the most, with the entry divided where the path ended in a sum over parts of it.

    A model may take n streams as its input, or mix fractions of each stream (num_fracs). Both look alike: a
    sum runs over evenly spaced elements of the entry, where a branch would sum over all of its channels.
    The division is a guess, which only a run that measures more sites proves.

    Args:
        run: runs the model with its entries divided in a given way.
        streams: their number, where the user knows it; then the axes of that size are guesses too.
    """
    first = best = run(as_it_is)
    guesses = [*_suspected(first), *(_of_size(first, streams) if streams else ())]
    for number, division in list(dict.fromkeys(guesses))[:MOST_RUNS]:
        if not _ended_early(best):
            break
        attempt = run(lambda at, _, axis, n=number, d=division: (axis, (d,) if at == n else ()))  # type: ignore[misc]
        if measured(attempt) > measured(best):
            best = attempt
    return best


def told(run: Run, layout: NamedLayout) -> Attempt:
    """The run with the layout that the user gave, for every entry that can have it.

    Raises:
        MhcDiagError: no entry can.
    """
    seen: list[tuple[int, ...]] = []

    def enter(_number: int, tensor: Tensor, axis: int) -> tuple[int, tuple[Division, ...]]:
        seen.append(tuple(tensor.shape))
        found = layout.divide(tensor.shape)
        return (axis, ()) if found is None else (found[0], (found[1],))

    attempt = run(enter)
    if not any(space.divisions for space in attempt.mode.memory.spaces):
        shapes = ", ".join(map(str, dict.fromkeys(seen))) or "none"
        raise MhcDiagError(
            f"no input and no embedding has the layout {layout.text!r}; their shapes: {shapes}",
            hint="the layout is that of the tensor with which the residual path begins",
        )
    return attempt


def measured(attempt: Attempt) -> int:
    """Number of sites on the path that was found."""
    return 0 if attempt.found is None else len(attempt.found.sites)


def _ended_early(attempt: Attempt) -> bool:
    if not measured(attempt):
        return True
    assert attempt.found is not None
    return any(codes > attempt.found.last for codes, _ in attempt.mode.unseen)


def _suspected(attempt: Attempt) -> Iterator[tuple[int, Division]]:
    memory = attempt.mode.memory
    for (number, division), _ in memory.suspected.most_common():
        space = memory.spaces[number]
        if not division.fits(space.tokens * space.channels, space.channels):
            continue
        _, channels = divided(space.token_shape, space.channels, division)
        within = division.step * division.streams <= space.channels != division.streams
        if channels >= 2 * division.streams and (within or _is_input(attempt, space)):
            yield number, division


def _of_size(attempt: Attempt, streams: int) -> Iterator[tuple[int, Division]]:
    for number, space in enumerate(attempt.mode.memory.spaces):
        step = space.channels
        for size in reversed(space.token_shape):
            if size == streams and _is_input(attempt, space):
                yield number, Division(step, streams)
            step *= size
        if space.channels % streams == 0:
            yield number, Division(space.channels // streams, streams)


def _is_input(attempt: Attempt, space: Space) -> bool:
    codes = attempt.mode.memory.codes
    return any(code.space is space and code.parent is None and code.kind == "input" for code in codes)


def note(divisions: Sequence[Division], where: str, told: bool = False) -> str:
    """What was taken for streams, for the report.

    Example:
        >>> note((Division(16, 4),), "the input")
        'the input holds 4 streams already: its elements in steps of 16, as the model mixes over them'
    """
    what = " and ".join(f"{d.streams} streams already: its elements in steps of {d.step}" for d in divisions)
    return f"{where} holds {what}, {'as told' if told else 'as the model mixes over them'}"
