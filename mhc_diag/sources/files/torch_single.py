"""The one tensor that an archive of torch.save holds, as a chunk of a distributed checkpoint is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.archive import Archive
from mhc_diag.sources.files.bytes import Bytes
from mhc_diag.sources.files.pickled import unpickle
from mhc_diag.sources.files.pickled_objects import Damaged
from mhc_diag.sources.files.torch_rebuild import StoredTensor, stored_storage
from mhc_diag.sources.files.torch_views import check_extent, extent, is_expanded, live, numbers
from mhc_diag.sources.printable import printable

if TYPE_CHECKING:
    import numpy as np
    import torch

LARGEST_PICKLE = 1_000_000
"""Bytes; that of one tensor takes a few hundred."""


class SingleTensor:
    """A tensor in an archive of its own.

    Args:
        file: the archive.
        shape: which it is expected to have.
        dtype: the same.

    Raises:
        MhcDiagError: the archive is damaged, or holds anything else.

    Example:
        >>> import tempfile, torch
        >>> from pathlib import Path
        >>> from mhc_diag.sources.files.bytes import LocalBytes
        >>> path = Path(tempfile.mkdtemp()) / "x"
        >>> torch.save(torch.eye(2)[1], path)
        >>> SingleTensor(LocalBytes(path), (2,), "float32").array()
        array([0., 1.], dtype=float32)
    """

    def __init__(self, file: Bytes, shape: tuple[int, ...], dtype: str) -> None:
        self._archive = Archive(file)
        try:
            self.tensor, self._member = self._described(file.name)
            if (self.tensor.shape, self.tensor.dtype) != (shape, dtype):
                raise Damaged(f"it holds {self.tensor.dtype} {self.tensor.shape}, expected {dtype} {shape}")
            if self.tensor.kind or is_expanded(self.tensor):
                raise Damaged(f"its numbers are not plainly stored: {self.tensor.kind or 'expanded'}")
            if self._member:
                check_extent(self.tensor, "its tensor", self._archive.members[self._member].size)
            elif 0 not in shape:
                raise Damaged("its numbers are missing")
        except Damaged as e:
            raise MhcDiagError(
                f"{file.name} is no tensor that torch.save wrote: {printable(e)}",
                hint="copy it again, or save it again",
            ) from e

    def array(self) -> np.ndarray[Any, Any]:
        """Its numbers, float32 or float64."""
        return numbers(self.tensor, self._raw(), swapped=self._swapped)

    def live(self) -> torch.Tensor:
        """The same for torch, in its own dtype."""
        return live(self.tensor, bytearray(self._raw()), swapped=self._swapped)

    def _raw(self) -> Any:
        start, stop = extent(self.tensor)
        return next(self._archive.read([(self._member, start, stop)])) if stop > start else b""

    def _described(self, name: str) -> tuple[StoredTensor, str]:
        """What the archive's pickle describes, and the member with its numbers."""
        pickles = [member for member in self._archive.members if member.partition("/")[2] == "data.pkl"]
        if len(pickles) != 1 or self._archive.members[pickles[0]].size > LARGEST_PICKLE:
            raise Damaged("it has no data.pkl, or one that is too large")
        tensor = unpickle(self._archive.whole(pickles[0]), name, persistent=stored_storage).value
        if not isinstance(tensor, StoredTensor):
            raise Damaged("it holds something else")
        root = pickles[0].removesuffix("data.pkl")
        order = f"{root}byteorder"
        members = self._archive.members
        self._swapped = order in members and members[order].size < 8 and self._archive.whole(order) == b"big"
        member = f"{root}data/{tensor.storage.key}" if tensor.storage else ""
        return tensor, member if member in members else ""
