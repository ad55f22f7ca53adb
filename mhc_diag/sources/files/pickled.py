"""Pickles read without running them.

A pickle is a program that may name any function and have it called. Here it is worked through by a machine
that only records: names become stand-ins, calls become objects that hold their arguments. A pickled module
can so be walked for its tensors, and a configuration for its values, with none of their code at hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.pickled_machine import Machine
from mhc_diag.sources.files.pickled_names import Names
from mhc_diag.sources.files.pickled_objects import Damaged, TooLarge
from mhc_diag.sources.files.pickled_operations import MOST, run
from mhc_diag.sources.printable import printable

LARGEST_PICKLE = 100_000_000
"""Bytes. The pickle of a checkpoint takes some hundred a tensor."""
NAMED = 8


@dataclass(frozen=True, slots=True)
class Unpickled:
    """What a pickle describes."""

    value: Any
    """Plain values and containers; `Foreign` where the file names a class, `StoredTensor` for a tensor."""
    foreign: tuple[str, ...]
    """Classes and functions that were not loaded."""
    end: int
    """Where the pickle ends in its buffer."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of what was not loaded, in sentences."""
        if not self.foreign:
            return ()
        more = f" and {len(self.foreign) - NAMED} more" if len(self.foreign) > NAMED else ""
        names = ", ".join(map(printable, self.foreign[:NAMED]))
        return (f"read without running its code, objects of these classes as they are stored: {names}{more}",)


def _nothing_elsewhere(identifier: Any) -> Any:
    raise Damaged("it refers to something outside itself")


def unpickle(
    data: bytes,
    name: str,
    *,
    persistent: Callable[[Any], Any] = _nothing_elsewhere,
    start: int = 0,
    trusted: bool = False,
) -> Unpickled:
    """What a pickle describes; nothing that it names is imported or called.

    Args:
        data: holds the pickle, maybe with others behind it.
        name: of the file, printable.
        persistent: what stands for an object stored elsewhere, by its identifier; it may raise `Damaged`.
        start: where the pickle begins.
        trusted: read it however much it holds.

    Raises:
        MhcDiagError: the pickle names functions that only code needs which is to be run.
        Damaged: it cannot be read; `CutShort` if it only ends too early, `TooLarge` if it takes too much.

    Example:
        >>> import pickle, argparse
        >>> found = unpickle(pickle.dumps({"args": argparse.Namespace(streams=4), "step": 7}), "x.pt")
        >>> found.value["step"], found.value["args"].attributes
        (7, {'streams': 4})
    """
    if len(data) - start > LARGEST_PICKLE and not trusted:
        raise TooLarge(f"its pickle has {len(data) - start} bytes, at most {LARGEST_PICKLE} are read")
    names = Names()
    machine = Machine(data, names, persistent, start)
    try:
        value = run(machine, math.inf if trusted else MOST)
    except Damaged as e:
        if names.hostile:
            raise _refusal(name, names.hostile) from e
        raise
    if names.hostile:
        raise _refusal(name, names.hostile)
    return Unpickled(value, tuple(names.foreign), machine.pos)


def _refusal(name: str, hostile: list[str]) -> MhcDiagError:
    named = ", ".join(dict.fromkeys(hostile))
    return MhcDiagError(
        f"{name} names {printable(named)}, which no checkpoint needs and which would run when it is loaded",
        hint="do not load this file with torch either; if you trust whoever made it, --unsafe-pickle runs it",
    )
