"""Tensors spread over several files of a folder, with or without an index that says which holds what.

An index (`model.safetensors.index.json`) names a file for each tensor. It may come from a stranger, so only
files of the very folder can be named. The headers of the files decide what there is; where the index says
otherwise that is told. A file that is not there is no error by itself, because of a model of terabytes one
may have fetched only the shards with its mixing parameters: what the index says it holds is `absent`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files import Entry, Stored
from mhc_diag.sources.files.bounded_json import LONGEST, parsed
from mhc_diag.sources.files.bytes import Bytes, Folder
from mhc_diag.sources.printable import printable

if TYPE_CHECKING:
    import numpy as np
    import torch

Open = Callable[[Bytes], Stored]
Each = Callable[[Callable[[str], Any], Sequence[str]], Iterable[Any]]
"""Like `map`: how to open many files, one after the other or several at once."""
MOST_FILES = 10_000


@dataclass(frozen=True, slots=True)
class Index:
    """What an index file says."""

    name: str
    shards: Mapping[str, str]
    """The file that holds each tensor."""
    metadata: Mapping[str, Any]


class Sharded:
    """The tensors of several files.

    Args:
        folder: where the files lie.
        names: of the files, in the order in which they are to be read.
        index: what says which file holds what, if something does.
        opened: opens one file.
        each: how to open many.

    Raises:
        MhcDiagError: a name leads out of the folder, none of the files is there, one cannot be read, or two
            hold tensors of one name and nothing says which counts.
    """

    config: Mapping[str, Any] | None = None

    def __init__(
        self, folder: Folder, names: Sequence[str], index: Index | None, opened: Open, each: Each = map
    ) -> None:
        def shard(name: str) -> Stored | None:
            file = folder.find(name)
            return None if file is None else opened(file)

        if len(names) > MOST_FILES:
            raise MhcDiagError(
                f"{folder.name}: {len(names)} files of tensors, expected at most {MOST_FILES}",
                hint="name one of them",
            )
        found = zip(names, each(shard, names), strict=True)
        self._shards: dict[str, Stored] = {name: stored for name, stored in found if stored is not None}
        missing = [name for name in names if name not in self._shards]
        if not self._shards:
            raise MhcDiagError(
                f"{folder.name} holds none of the {len(names)} files that {index.name if index else 'it'} "
                f"names, first {printable(names[0]) if names else 'none at all'}",
                hint="fetch at least the files that hold the mixing parameters",
            )
        self.entries: Mapping[str, Entry] = _entries(self._shards, index, folder.name)
        self.absent: Mapping[str, str] = {
            name: file for name, file in (index.shards if index else {}).items() if name not in self.entries
        }
        """The file that should hold each tensor that is nowhere."""
        self.format = "sharded " + " and ".join(dict.fromkeys(s.format for s in self._shards.values()))
        first = next(iter(self._shards.values()))
        self.metadata: Mapping[str, Any] = {**first.metadata, **(index.metadata if index else {})}
        inside = dict.fromkeys(note for stored in self._shards.values() for note in stored.notes)
        self.notes: tuple[str, ...] = (*_told(missing, index, self.entries), *inside)

    def arrays(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        """The numbers of each tensor, shard by shard."""
        by_shard: dict[str, list[str]] = {}
        for name in names:
            by_shard.setdefault(self.entries[name].file, []).append(name)
        for file in sorted(by_shard):
            yield from self._shards[file].arrays(by_shard[file])

    def state_dict(self) -> dict[str, torch.Tensor]:
        """All tensors, for a live model.

        Raises:
            MhcDiagError: some are in a file that is not there.
        """
        if self.absent:
            name, file = next(iter(self.absent.items()))
            raise MhcDiagError(
                f"{len(self.absent)} tensors are not there, first {printable(name)}: {printable(file)} is "
                "missing, or does not hold it",
                hint="fetch all files that the index names",
            )
        found = {file: stored.state_dict() for file, stored in self._shards.items()}
        return {name: found[entry.file][name] for name, entry in self.entries.items()}


def read_index(file: Bytes) -> Index:
    """What an index file says.

    Raises:
        MhcDiagError: it is damaged.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mhc_diag.sources.files.bytes import LocalBytes
        >>> path = Path(tempfile.mkdtemp()) / "model.safetensors.index.json"
        >>> _ = path.write_text('{"weight_map": {"mix": "model-00001-of-00002.safetensors"}}')
        >>> read_index(LocalBytes(path)).shards
        {'mix': 'model-00001-of-00002.safetensors'}
    """
    try:
        if file.size > LONGEST:
            raise ValueError(f"{file.size} bytes, expected at most {LONGEST}")
        said = parsed(next(file.read([(0, file.size)])))
        shards = said["weight_map"] if isinstance(said, dict) and "weight_map" in said else None
        if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
            raise ValueError("it has no weight_map that names a file for each tensor")
        for name in shards:
            name.encode()
    except ValueError as e:
        raise MhcDiagError(
            f"{file.name} is a damaged index of shards: {printable(e)}",
            hint="download it again, or name one of the files of tensors beside it",
        ) from e
    metadata = said.get("metadata")
    return Index(file.name, shards, metadata if isinstance(metadata, dict) else {})


def _entries(shards: Mapping[str, Stored], index: Index | None, where: str) -> dict[str, Entry]:
    """All tensors; of two with one name, the one that the index means."""
    said = index.shards if index else {}
    entries: dict[str, Entry] = {}
    for file, stored in shards.items():
        for name, entry in stored.entries.items():
            if name not in entries or said.get(name) == file:
                entries[name] = replace(entry, file=file)
            elif said.get(name) != entries[name].file:
                raise MhcDiagError(
                    f"{where}: {printable(name)} is in {printable(entries[name].file)} and in "
                    f"{printable(file)}, and nothing says which counts",
                    hint="name one of the files, or move those that do not belong to the model elsewhere",
                )
    return entries


def _told(missing: list[str], index: Index | None, entries: Mapping[str, Entry]) -> Iterator[str]:
    """Sentences on files that are not there, and on where index and files disagree."""
    if missing:
        known = "was not looked at" if index else "is not known"
        yield (
            f"{len(missing)} files of the checkpoint are not there, first {printable(missing[0])}: "
            f"what is in them {known}"
        )
    if index is None:
        return
    gone = [n for n, file in index.shards.items() if n not in entries and file not in missing]
    moved = [n for n, file in index.shards.items() if n in entries and entries[n].file != file]
    extra = [n for n in entries if n not in index.shards]
    for names, what in (
        (gone, "are not in the files that it names"),
        (moved, "are in other files than it names"),
        (extra, "are in the files and not in it"),
    ):
        if names:
            first = printable(names[0])
            yield f"the index does not match its files: {len(names)} tensors {what}, first {first}"
