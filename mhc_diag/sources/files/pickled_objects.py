"""What stands for the objects of a pickle: nothing here does anything when it is made.

Known         a name that this program knows, and what is made in its place
ForeignClass  any other class or function that a file names
Foreign       what a file makes with one: its arguments and its state, as they were stored
OddKey        a key of a table that is no text and no number
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

HASHED_AS_THEY_ARE = 1 << 60
"""Larger whole numbers can be chosen so that all their hashes are equal, which makes a table very slow."""


class Damaged(Exception):
    """The pickle cannot be read: cut short, or not what any pickler writes."""

    hint = ""
    """What to do about it, where that is known."""


class TooLarge(Damaged):
    """More than is read of a file that nobody vouches for: it could take minutes, or all of the memory."""

    hint = "if you trust whoever made it, --unsafe-pickle reads it however much it holds"


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """A class or function that a pickle may name; `make` builds what stands for its result."""

    name: str
    make: Callable[..., Any]


@dataclass(frozen=True, slots=True, eq=False)
class ForeignClass:
    """A class or function that a file names and nobody looks up."""

    name: str


class Foreign:
    """An object of a class that was not loaded.

    Example:
        >>> config = Foreign("my.Config", ())
        >>> config.build(({"streams": 4}, {"eps": 1e-6}))
        >>> config.attributes
        {'streams': 4, 'eps': 1e-06}
    """

    __slots__ = ("args", "entries", "items", "name", "state")

    def __init__(self, name: str, args: Any) -> None:
        self.name = name
        """Of its class, with its module."""
        self.args = args
        """What it was made from."""
        self.state: Any = None
        """As its class stored it: mostly its attributes."""
        self.items: list[Any] | None = None
        """What was appended, if its class is a list."""
        self.entries: dict[Any, Any] | None = None
        """What was set in it, if its class is a dictionary."""

    def append(self, items: list[Any]) -> None:
        """Keep what belongs to it as to a list or a set."""
        self.items = self.items or []
        self.items += items

    def build(self, state: Any) -> None:
        """Take a state without looking at it."""
        self.state = state

    @property
    def attributes(self) -> dict[str, Any]:
        """Its state by name, slots included; empty where its class stored something else."""
        return {k: v for table in self._tables() for k, v in table.items() if isinstance(k, str)}

    def attribute(self, name: str) -> Any:
        """One attribute, or None; all of them would have to be copied."""
        if type(self.state) is dict:
            return self.state.get(name)
        return next((table[name] for table in reversed(self._tables()) if name in table), None)

    @property
    def size(self) -> int:
        """How many attributes, entries and items it has, at most."""
        return sum(map(len, self._tables())) + len(self.entries or ()) + len(self.items or ())

    def _tables(self) -> list[Mapping[Any, Any]]:
        parts = self.state[:2] if isinstance(self.state, tuple) else (self.state,)
        return [part for part in parts if isinstance(part, Mapping)]


@dataclass(frozen=True, slots=True, eq=False)
class OddKey:
    """A key that is never hashed: nested tuples overflow the stack or take for ever, and some collide."""

    value: Any


def as_key(value: Any) -> Any:
    """A key for a table.

    Example:
        >>> as_key("mix"), as_key(3), as_key((1, 2)).value
        ('mix', 3, (1, 2))
    """
    kind = type(value)
    if kind is str or kind is bytes or kind is float or kind is bool or value is None:
        return value
    if kind is int:
        return value if -HASHED_AS_THEY_ARE < value < HASHED_AS_THEY_ARE else OddKey(value)
    if kind in (tuple, list, dict, set, frozenset, complex):
        return OddKey(value)
    return value  # a stand-in, which is hashed by where it is
