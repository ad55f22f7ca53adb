"""What torch.save writes since 1.6: a zip archive with a pickle and one member for each storage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mhc_diag.sources.files.archive import Archive
from mhc_diag.sources.files.bytes import Bytes
from mhc_diag.sources.files.pickled import LARGEST_PICKLE, unpickle
from mhc_diag.sources.files.pickled_objects import Damaged
from mhc_diag.sources.files.torch_file import TorchFile, damaged
from mhc_diag.sources.files.torch_rebuild import Storage, stored_storage


class TorchZip(TorchFile):
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
        >>> torch.save({"step": 3, "model": {"mix": torch.eye(2)}}, path)
        >>> file = TorchZip(LocalBytes(path))
        >>> file.entries["mix"].shape, dict(file.arrays(["mix"]))["mix"].tolist(), file.metadata
        ((2, 2), [[1.0, 0.0], [0.0, 1.0]], {'step': 3})
    """

    format = "torch zip archive"

    def __init__(self, file: Bytes, *, key: str | None = None) -> None:
        storages = _Members(file)
        try:
            top = unpickle(storages.pickle(), file.name, persistent=stored_storage)
            super().__init__(file, top, storages, key)
        except Damaged as e:
            raise damaged(file, e) from e


class _Members:
    """Storages as members of an archive."""

    def __init__(self, file: Bytes) -> None:
        self._archive = Archive(file)
        tops = [
            name.partition("/")[0] for name in self._archive.members if name.partition("/")[2] == "data.pkl"
        ]
        self._folder = tops[0] if tops else ""
        order = f"{self._folder}/byteorder"
        member = self._archive.members.get(order)
        self.swapped = member is not None and member.size < 8 and self._archive.whole(order) == b"big"

    def pickle(self) -> bytes:
        name = f"{self._folder}/data.pkl"
        if name not in self._archive.members:
            raise Damaged("it has no data.pkl")
        if self._archive.members[name].size > LARGEST_PICKLE:
            raise Damaged(f"its pickle has {self._archive.members[name].size} bytes")
        return self._archive.whole(name)

    def place(self, storage: Storage) -> tuple[int, int]:
        member = self._archive.members.get(self._name(storage))
        if member is None:
            raise Damaged(f"it lacks the storage {storage.key}")
        return member.header, member.size

    def read(self, parts: Sequence[tuple[Storage, int, int]]) -> Iterator[Any]:
        return self._archive.read([(self._name(storage), start, stop) for storage, start, stop in parts])

    def _name(self, storage: Storage) -> str:
        return f"{self._folder}/data/{storage.key}"
