"""What an inventory holds. All texts in it are printable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mhc_diag.records import Skipped

SCHEMA = "mhc-diag/inventory"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Dtype:
    """The tensors of one dtype."""

    name: str
    tensors: int
    parameters: int


@dataclass(frozen=True, slots=True)
class ReadAs:
    """One of the codes that may have written a layout's tensors."""

    name: str
    how: str
    orientation: str


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout that finds sites in the file."""

    name: str
    title: str
    sites: int
    """How many it finds, in all runs."""
    streams: tuple[int, ...]
    variants: tuple[ReadAs, ...]
    """The ways to read them that the file allows: of several none is certain."""
    scanned: bool
    """Whether a scan takes this one."""


@dataclass(frozen=True, slots=True)
class Place:
    """A site that a scan measures."""

    label: str
    tensors: Mapping[str, str]
    """The names of its tensors by role."""
    shapes: Mapping[str, tuple[int, ...]]
    """Their shapes by role."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """Tensors of one shape and dtype whose names differ by numbers only."""

    name: str
    """With # for each number."""
    shape: tuple[int, ...]
    dtype: str
    count: int
    select: str = ""
    """A regular expression for the names, if they may hold mixing."""


@dataclass(frozen=True, slots=True)
class Table:
    """One of several tables of tensors, of which a scan reads one."""

    key: str
    """What `--key` takes; empty at the top."""
    tensors: int
    layout: str
    """The one that a scan would take; empty where none is recognised."""
    sites: int | None
    """None where it was not looked into."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What is in a file of tensors."""

    target: str
    format: str
    files: tuple[str, ...]
    """Names of the files of which each holds a part; empty where there is one."""
    tensors: int
    parameters: int | None
    """None where only tables were listed."""
    size: int | None
    """Bytes of the numbers; None where a dtype is not known."""
    dtypes: tuple[Dtype, ...]
    metadata: Mapping[str, str]
    config: Mapping[str, str]
    """The settings that have to do with mixing, and those that say what model it is."""
    prefixes: tuple[str, ...]
    """What wrappers of modules put into the names, and what was taken off."""
    layouts: tuple[Layout, ...]
    """The one that a scan takes first."""
    sites: tuple[Place, ...]
    """In the order of execution."""
    skipped: tuple[Skipped, ...]
    unused: tuple[str, ...]
    patterns: tuple[Pattern, ...]
    """The smallest tensors first."""
    candidates: tuple[Pattern, ...]
    """Square parameters, where no layout finds any."""
    notes: tuple[str, ...]
    commands: tuple[str, ...]
    """What to type next, the likeliest first."""
    tables: tuple[Table, ...] = ()
    """Where a checkpoint holds several tables and none was chosen: nothing else is told then."""

    def document(self) -> dict[str, Any]:
        """The inventory as one JSON-ready dictionary, with schema and version.

        Example: `mhc-diag inspect FILE --format json`.
        """
        return {"schema": SCHEMA, "version": VERSION, **_plain(asdict(self))}


def _plain(value: Any) -> Any:
    """Tuples as lists, all the way down."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value
