"""Tensors of a file that torch.save wrote, read without torch and without running any code of the file.

Each container tells where the bytes of a storage lie; everything else is the same for both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files import Entry
from mhc_diag.sources.files.bytes import Bytes
from mhc_diag.sources.files.pickled import Unpickled
from mhc_diag.sources.files.torch_objects import Unfold, configuration, is_module
from mhc_diag.sources.files.torch_rebuild import Storage, StoredTensor
from mhc_diag.sources.files.torch_tables import Found, Tables
from mhc_diag.sources.files.torch_views import check_extent, extent, is_expanded, live, numbers
from mhc_diag.sources.printable import printable

if TYPE_CHECKING:
    import numpy as np
    import torch

CONFIGS = ("config", "cfg", "model_config", "hyper_parameters", "hparams", "model_args", "args")
"""Where training checkpoints keep the model's configuration, beside its tensors or inside the module."""


class Storages(Protocol):
    """Where the numbers of a container lie."""

    swapped: bool
    """Whether they are big-endian."""

    def place(self, storage: Storage) -> tuple[int, int]:
        """About where it begins in the file, and how many bytes it has.

        Raises:
            Damaged: there is no such storage.
        """

    def read(self, parts: Sequence[tuple[Storage, int, int]]) -> Iterator[Any]:
        """Parts of storages (storage, start, stop), in bytes, in the order given."""


class TorchFile:
    """The tensors of a .pt, .pth, .bin or .ckpt file.

    Args:
        file: where they are.
        top: what its pickle describes.
        storages: where its numbers lie.
        key: the path of a table inside it.

    Raises:
        MhcDiagError: there is no such table, or several.
        Damaged: a tensor reaches outside its storage.
    """

    format: str

    def __init__(self, file: Bytes, top: Unpickled, storages: Storages, key: str | None) -> None:
        self._file, self._storages = file, storages
        found = Tables(top.value, StoredTensor, Unfold(), file.name).choose(key)
        self._tensors: dict[str, StoredTensor] = found.tensors
        for name, tensor in self._tensors.items():
            if tensor.storage is not None and not tensor.kind:
                check_extent(tensor, name, storages.place(tensor.storage)[1])
        self.entries: Mapping[str, Entry] = {
            name: Entry(tensor.shape, f"{tensor.kind} {tensor.dtype}".lstrip())
            for name, tensor in self._tensors.items()
        }
        self.config = _config(found)
        self.metadata = _metadata(found)
        self.notes: tuple[str, ...] = (*top.notes, *_others(found))

    def arrays(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        """The numbers of each tensor, as float32 or float64."""
        for name, raw in self._raw(names):
            yield name, numbers(self._tensors[name], raw, swapped=self._storages.swapped)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """All tensors, for a live model."""
        loaded = {
            name: live(self._tensors[name], raw, swapped=self._storages.swapped)
            for name, raw in self._raw(self._tensors)
        }
        return {name: loaded[name] for name in self._tensors}

    def _raw(self, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
        """The bytes that each tensor lies in, by their order in the file."""
        parts = sorted((self._part(name) for name in names), key=lambda part: part[0])
        raw = self._storages.read([part for _, _, part in parts])
        yield from zip((name for _, name, _ in parts), raw, strict=True)

    def _part(self, name: str) -> tuple[tuple[int, int], str, tuple[Storage, int, int]]:
        """Where a tensor lies in the file, about, and its part of a storage."""
        tensor = self._tensors[name]
        if tensor.storage is None or tensor.kind:
            raise MhcDiagError(
                f"{self._file.name}: {printable(name)} is {self.entries[name].dtype}, "
                "whose numbers are not plainly there",
                hint="save the state_dict of the whole model as plain tensors",
            )
        if is_expanded(tensor):
            raise MhcDiagError(
                f"{self._file.name}: {printable(name)} claims the shape {tensor.shape}, which repeats a few "
                "numbers without end",
                hint="do not trust this file; ask for one whose tensors are stored in full",
            )
        start, stop = extent(tensor)
        return (self._storages.place(tensor.storage)[0], start), name, (tensor.storage, start, stop)


def damaged(file: Bytes, error: Exception) -> MhcDiagError:
    """What to say of a file that cannot be made sense of."""
    return MhcDiagError(
        f"{file.name} is truncated, damaged or no checkpoint: {printable(error)}",
        hint=getattr(error, "hint", "")
        or "download it again and compare the sizes, or save the bare state_dict",
    )


def _config(found: Found) -> Mapping[str, Any] | None:
    """The configuration nearest to the table; a pickled module may have its own."""
    places = [table.get for table in found.around]
    if is_module(found.node):
        places.insert(0, found.node.attribute)
    configs = (configuration(look_up(name)) for look_up in places for name in CONFIGS)
    return next((config for config in configs if config is not None), None)


def _metadata(found: Found) -> Mapping[str, Any]:
    """Texts and numbers beside the table."""
    beside: dict[str, Any] = {}
    for table in reversed(found.around):
        beside |= {
            str(k): v
            for k, v in table.items()
            if isinstance(k, (str, int)) and isinstance(v, (str, int, float))
        }
    return beside


def _others(found: Found) -> tuple[str, ...]:
    if not found.others:
        return ()
    others = ", ".join(map(printable, found.others))
    return (f"read {printable(found.path)} and not {others}; --key chooses",)
