"""One call of an operation as the rules see it, and what they can say of its output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from mhc_diag.sources.probe.bases import Signal
from mhc_diag.sources.probe.codes import Code, Fit
from mhc_diag.sources.probe.memory import Memory


@dataclass(frozen=True, slots=True)
class Cut:
    """The tangent ends here."""

    reason: str
    stage: int = 0
    blank: bool = False
    """Set where nothing of the streams is left in the output either."""
    lost: bool = False
    """Set where the output is linear in the streams but cannot be followed: it is no branch of them."""


@dataclass(frozen=True, slots=True)
class Pass:
    """The output carries this signal; where a branch was added to it, the operation is a site."""

    signal: Signal
    site: bool = False
    bypass: str = ""
    """Set where the branch is a linear path around other sites, which no product of sites accounts for."""


@dataclass(frozen=True, slots=True)
class Restart:
    """The streams go on after an operation that is not linear in them."""

    signal: Signal
    reason: str


@dataclass(frozen=True, slots=True)
class Enter:
    """The output is a fresh entry: the sum of several embeddings, or what a first layer made of an entry."""

    parent: Code | None = None
    reason: str = ""
    axis: int = -1
    signal: Signal | None = None
    """What the layer was given: several streams stay streams where the output has the same shape."""


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """The output is the streams after an operation of which only values are known, to which M was fitted."""

    label: Tensor
    """In the shape of the output."""
    code: Code
    """The code that the operator is expressed in."""
    matrix: Tensor
    """(T, m, code.streams)."""
    spread: Tensor
    """(T): error bound."""
    fit: Fit
    site: bool

    def made(self, path: str, kind: str) -> Code:
        """The code of what comes out."""
        streams = int(self.matrix.shape[1])
        return Code(
            self.code.space, streams, self.code, self.matrix, self.spread, path, kind, self.site, fit=self.fit
        )


Effect = Cut | Pass | Restart | Enter | Solved


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The operation is run as others, which are followed one by one."""

    run: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Untouched:
    """Neither memory nor what is known of it changes, and a new output has nothing of the streams."""


Outcome = Effect | Rewrite | Untouched


@dataclass(frozen=True)
class Call:
    """One call of an operation."""

    func: Any
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    memory: Memory

    @property
    def mutates(self) -> bool:
        """Whether it writes into an argument."""
        return self.func._schema.is_mutable

    @property
    def options(self) -> dict[str, Any]:
        """Its arguments by name, without where to put the output."""
        return {name: value for name, value in self.kwargs.items() if name != "out"}

    def apply(self, *args: Any) -> Any:
        """The same operation on other arguments, with an output of its own."""
        return getattr(torch.ops.aten, self.name)(*args, **self.options)

    def as_if(self, name: str, *args: Any) -> Call:
        """A call of another operation, as a part of this one."""
        return Call(self.func, name, args, {}, self.memory)

    def signal(self, value: Any) -> Signal | None:
        """The signal of an argument."""
        return self.memory.read(value) if isinstance(value, Tensor) else None

    def signals(self, *values: Any) -> list[Signal | None]:
        """The signals of arguments that meet in one operation.

        What was made of the streams by a layer or a norm, and might have been the start of a path, turns out
        to be a branch or a coefficient once it meets streams that came without it.
        """
        found = [self.signal(value) for value in values]
        return strong(found)

    def depends(self, value: Any) -> bool:
        """Whether an argument was computed from the streams."""
        return isinstance(value, Tensor) and self.memory.depends(value)

    def is_branch(self, value: Any, code: Code) -> bool:
        """Whether an argument can be the branch of a site of these streams.

        Where the streams themselves may be a branch of others, only what was computed from them counts.
        """
        if not self.depends(value):
            return False
        made_of = self.memory.made_of([value])
        return not code.tentative or any(made_of >> c.number & 1 for c in code.run)

    def option(self, position: int, name: str, default: Any) -> Any:
        """An argument by position or by name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)


def written(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
    """The arguments that an operation writes to, by its schema."""
    found = []
    for i, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            found += tree_leaves(args[i] if i < len(args) else kwargs.get(argument.name))
    return found


def strong(found: list[Signal | None]) -> list[Signal | None]:
    """Of signals that meet, those that do not yield to another as its branch or coefficient."""
    codes = {s.code for s in found if s is not None}
    weak = {code for code in codes if any(code is not o and code.yields_to(o) for o in codes)}
    return [None if s is None or s.code in weak else s for s in found]
