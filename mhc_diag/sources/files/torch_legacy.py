"""What torch.save wrote before 1.6: five pickles, then the storages one behind the other.

Where each storage begins follows from the sizes of those before it, so that only what is asked for is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mhc_diag.sources.files.bytes import Bytes
from mhc_diag.sources.files.pickled import LARGEST_PICKLE, Unpickled, unpickle
from mhc_diag.sources.files.pickled_machine import CutShort
from mhc_diag.sources.files.pickled_objects import Damaged
from mhc_diag.sources.files.torch_dtypes import BYTES
from mhc_diag.sources.files.torch_file import TorchFile, damaged
from mhc_diag.sources.files.torch_rebuild import Storage, stored_storage, text

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
FIRST_READ = 1 << 20
COUNT = 8
"""Bytes of the number before each storage: how many elements it has."""


class TorchLegacy(TorchFile):
    """The tensors of such a file.

    Args:
        file: where it is.
        key: the path of a table inside it, such as `model` or `state.ema`.

    Raises:
        MhcDiagError: the file is damaged, holds no tensors, or names what would run code.

    Example:
        >>> import tempfile, torch, pathlib
        >>> from mhc_diag.sources.files.bytes import LocalBytes
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.pt"
        >>> torch.save({"mix": torch.eye(2)}, path, _use_new_zipfile_serialization=False)
        >>> file = TorchLegacy(LocalBytes(path))
        >>> file.entries["mix"].shape, dict(file.arrays(["mix"]))["mix"].tolist()
        ((2, 2), [[1.0, 0.0], [0.0, 1.0]])
    """

    format = "torch file, before 1.6"

    def __init__(self, file: Bytes, *, key: str | None = None) -> None:
        try:
            top, storages = _head(file)
            super().__init__(file, top, storages, key)
        except Damaged as e:
            raise damaged(file, e) from e


def _head(file: Bytes) -> tuple[Unpickled, _Run]:
    """The pickles, whose lengths nothing tells: as much is read as they turn out to need."""
    length = FIRST_READ
    while True:
        (data,) = file.read([(0, min(length, file.size))])
        try:
            return _pickles(file, data)
        except CutShort:
            if length >= min(file.size, LARGEST_PICKLE):
                raise
            length *= 4


def _pickles(file: Bytes, data: bytes) -> tuple[Unpickled, _Run]:
    seen: dict[str, Storage] = {}

    def remember(identifier: Any) -> Any:
        found = stored_storage(identifier)
        if isinstance(found, Storage):
            whole = identifier[4] if type(identifier[4]) is int else 0
            seen.setdefault(found.key, Storage(found.key, found.dtype, whole, found.location))
        return found

    magic = unpickle(data, file.name)
    version = unpickle(data, file.name, start=magic.end)
    system = unpickle(data, file.name, start=version.end)
    if (magic.value, version.value) != (MAGIC, VERSION) or type(system.value) is not dict:
        raise Damaged("its first numbers are not those of the format")
    top = unpickle(data, file.name, persistent=remember, start=system.end)
    keys = unpickle(data, file.name, start=top.end)
    if type(keys.value) is not list:
        raise Damaged("it has no list of storages")
    swapped = system.value.get("little_endian") is False
    return top, _Run(file, [text(key) for key in keys.value], seen, keys.end, swapped)


class _Run:
    """Storages one behind the other, each with its count in front."""

    def __init__(
        self, file: Bytes, keys: list[str], seen: dict[str, Storage], start: int, swapped: bool
    ) -> None:
        self._file, self.swapped = file, swapped
        self._places: dict[str, tuple[int, int]] = {}
        for key in keys:
            if key not in seen:
                raise Damaged(f"nothing tells the size of its storage {key}")
            length = seen[key].count * BYTES[seen[key].dtype]
            self._places[key] = start + COUNT, length
            start += COUNT + length
        if start > file.size:
            raise Damaged(f"it has {file.size} bytes and needs {start}")
        self._counts = {key: storage.count for key, storage in seen.items()}
        self._checked: set[str] = set()

    def place(self, storage: Storage) -> tuple[int, int]:
        if storage.key not in self._places:
            raise Damaged(f"it lacks the storage {storage.key}")
        return self._places[storage.key]

    def read(self, parts: Sequence[tuple[Storage, int, int]]) -> Iterator[Any]:
        self._check(dict.fromkeys(storage.key for storage, _, _ in parts))
        begins = [self._places[storage.key][0] for storage, _, _ in parts]
        ranges = [(at + start, at + stop) for at, (_, start, stop) in zip(begins, parts, strict=True)]
        return self._file.read(ranges)

    def _check(self, keys: Iterable[str]) -> None:
        """Compare the counts in front of storages with the sizes that the pickle gives."""
        new = [key for key in keys if key not in self._checked]
        before = [(self._places[key][0] - COUNT, self._places[key][0]) for key in new]
        for key, raw in zip(new, self._file.read(before), strict=True):
            count = int.from_bytes(raw, "big" if self.swapped else "little", signed=True)
            if count != self._counts[key]:
                expected = f"{count} numbers, and {self._counts[key]} were expected"
                raise damaged(self._file, Damaged(f"its storage {key} has {expected}"))
        self._checked.update(new)
