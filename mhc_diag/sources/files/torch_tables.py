"""Which of the tables inside a checkpoint is the model's.

A training checkpoint nests: `{"model": {...}, "optimizer": {...}, "args": ...}`. The tables under the usual
names come first, then any other; where several could be meant, the user has to say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from mhc_diag.errors import MhcDiagError, SeveralTables
from mhc_diag.sources.files.pickled_objects import Foreign
from mhc_diag.sources.printable import printable

NESTS = (
    "model",
    "state_dict",
    "module",
    "model_state_dict",
    "model_state",
    "net",
    "network",
    "ema",
    "ema_model",
    "model_ema",
    "ema_state_dict",
    "params",
    "weights",
    "generator",
)
"""Where training checkpoints keep a model's tensors."""
NO_MODEL = ("optim", "scheduler", "lr_sched", "scaler", "rng", "callback", "loops", "random_state")
"""How the names of tables begin that are something else; the first also as an ending of a word."""
PLAIN = (str, bytes, int, float, type(None))
"""What holds nothing."""
DEEPEST = 6
MOST_NODES = 30_000
LISTED, NAMED = 12, 100
LONGEST_NAME = 1000

Unfold = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Found:
    """A table of tensors and what lies around it."""

    path: str
    """Keys on the way, with dots; empty at the top."""
    tensors: dict[str, Any]
    node: Any
    """What holds them: a dictionary, or a module."""
    around: tuple[Mapping[Any, Any], ...]
    """The tables on the way, the innermost first."""
    others: tuple[str, ...] = ()
    """Paths of tables that were not taken because this one has a usual name."""


class Tables:
    """The tables of one checkpoint.

    Args:
        top: what the file holds.
        leaf: the class of its tensors.
        unfold: what an object holds, as a dictionary, a list, or as it is.
        name: of the file, printable.
    """

    def __init__(self, top: Any, leaf: type, unfold: Unfold, name: str) -> None:
        self._leaf, self._unfold, self._name, self._top = leaf, unfold, name, top
        self._seen: dict[int, Any] = {}

    def choose(self, key: str | None) -> Found:
        """The table asked for, or the only one that can be meant.

        Raises:
            MhcDiagError: there is none, or there are several.
        """
        if key is not None:
            return self._below(key)
        found = self._candidates(self._top, "", (), 0)
        if not found:
            raise MhcDiagError(
                f"{self._name} holds no table of named tensors; found {printable(self._holds())}",
                hint="save model.state_dict()",
            )
        return self._only(found)

    def _only(self, found: list[Found]) -> Found:
        usual = [table for table in found if _is_usual(table.path)]
        if len(usual or found) > 1:
            raise SeveralTables(
                f"{self._name} has several tables of tensors, {_listed(found)}; which to read is not clear",
                hint=f"say which with --key, such as --key {printable((usual or found)[0].path)}",
                tables=tuple((table.path, len(table.tensors)) for table in found),
            )
        chosen = (usual or found)[0]
        others = tuple(table.path for table in found if table is not chosen)
        return replace(chosen, others=others)

    def _below(self, key: str) -> Found:
        """The table at a path, or the only one below it."""
        for node, around in self._at(self._top, key, ()):
            self._seen = {}
            found = self._candidates(node, key, around, 0)
            if found:
                return self._only(found)
        self._seen = {}
        offered = self._candidates(self._top, "", (), 0)
        there = _listed(offered) if offered else "none"
        raise MhcDiagError(
            f"{self._name} has no table of tensors at {printable(key)!r}; there are: {there}",
            hint="give --key one of those, or leave it out" if offered else "leave --key out",
        )

    def _at(
        self, node: Any, key: str, around: tuple[Mapping[Any, Any], ...]
    ) -> Iterator[tuple[Any, tuple[Mapping[Any, Any], ...]]]:
        """What lies at a path; keys may have dots themselves."""
        inside = self._unfold(node)
        wider = (inside, *around) if isinstance(inside, Mapping) else around
        for name, child in _children(inside):
            if name == key:
                yield child, wider
            elif key.startswith(f"{name}."):
                yield from self._at(child, key[len(name) + 1 :], wider)

    def _candidates(
        self, node: Any, path: str, around: tuple[Mapping[Any, Any], ...], depth: int
    ) -> list[Found]:
        """Tables at and below a node: those under usual names, else itself, else any others."""
        if depth > DEEPEST or id(node) in self._seen or len(self._seen) > MOST_NODES:
            return []
        if isinstance(node, (*PLAIN, self._leaf)):
            return []
        self._seen[id(node)] = node  # held, so that no other object gets its number
        inside = self._unfold(node)
        if not isinstance(inside, (Mapping, list, tuple)) or _is_optimizer(inside):
            return []
        wider = (inside, *around) if isinstance(inside, Mapping) else around
        own = self._own(inside) if isinstance(inside, Mapping) else {}
        usual: list[Found] = []
        others: list[Found] = []
        large = any(getattr(tensor, "shape", ()) for tensor in own.values())
        for name, child in _children(inside):
            if len(self._seen) > MOST_NODES:
                break
            if name in NESTS or not (large or _is_no_model(name)):
                below = self._candidates(child, f"{path}.{name}" if path else name, wider, depth + 1)
                (usual if name in NESTS else others).extend(below)
        if own and not usual and (large or not others):
            return [Found(path, own, node, around)]
        return usual + others

    def _own(self, table: Mapping[Any, Any]) -> dict[str, Any]:
        return {
            str(k): v for k, v in table.items() if isinstance(v, self._leaf) and isinstance(k, (str, int))
        }

    def _holds(self) -> str:
        if isinstance(self._top, Mapping):
            names = (str(k) for k in islice(self._top, NAMED) if isinstance(k, (str, int)))
            return ", ".join(names) or "nothing"
        kind = self._top.name if isinstance(self._top, Foreign) else type(self._top).__name__
        return f"a {kind.removeprefix('Stored')}"


def _children(inside: Any) -> Iterator[tuple[str, Any]]:
    """What may hold tables, by its key."""
    pairs: Iterable[tuple[Any, Any]] = inside.items() if isinstance(inside, Mapping) else ()
    if isinstance(inside, (list, tuple)):
        pairs = enumerate(inside)
    inner = ((k, v) for k, v in pairs if not _is_empty(v) and isinstance(k, (str, int)))
    return ((str(k), v) for k, v in inner if len(str(k)) <= LONGEST_NAME)


def _is_empty(value: Any) -> bool:
    """Whether it holds nothing, and need not be remembered; a file may have millions of those."""
    kind = type(value)
    return (kind is list or kind is tuple or kind is dict) and not value or isinstance(value, PLAIN)


def _is_usual(path: str) -> bool:
    return not path or any(part in NESTS for part in path.split("."))


def _is_no_model(name: str) -> bool:
    return name.lower().startswith(NO_MODEL) or "_optim" in name.lower()


def _is_optimizer(inside: Any) -> bool:
    """The state of an optimizer, whose tensors are as many as the model's."""
    return isinstance(inside, Mapping) and "state" in inside and "param_groups" in inside


def _listed(found: list[Found]) -> str:
    counts = ((table.path or "the top level", len(table.tensors)) for table in found)
    paths = [f"{path} ({count} tensor{'s' * (count != 1)})" for path, count in counts]
    more = f" and {len(paths) - LISTED} more" if len(paths) > LISTED else ""
    return ", ".join(map(printable, paths[:LISTED])) + more
