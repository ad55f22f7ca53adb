"""Tensors of a folder that torch.distributed.checkpoint wrote: `.metadata` beside files of chunks (.distcp).

Each process of a distributed training writes the parts of the tensors that it holds, each as a small archive
of torch.save, one after the other. A tensor is put together from its chunks where `.metadata` says they are;
nothing else in the folder, and no pickled object in those files, is ever opened.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files import Entry
from mhc_diag.sources.files.bytes import Bytes, Folder
from mhc_diag.sources.files.dcp_metadata import METADATA, Chunk, Described, read_metadata
from mhc_diag.sources.files.dcp_names import chosen
from mhc_diag.sources.files.part import Part
from mhc_diag.sources.files.torch_dtypes import BYTES
from mhc_diag.sources.files.torch_single import SingleTensor
from mhc_diag.sources.printable import printable

if TYPE_CHECKING:
    import numpy as np
    import torch

NAMED = 4


class DcpFolder:
    """The tensors of a distributed checkpoint, each whole.

    Args:
        folder: holds `.metadata` and the files that it names.
        key: which part of the saved state is the model, such as `model`; found by itself where that is clear.
        trusted: read its table however much it holds.

    Raises:
        MhcDiagError: the metadata is damaged, hostile, or describes chunks that do not make up a tensor; or
            which part is the model is not clear.
    """

    format = "distributed checkpoint"
    config: Mapping[str, Any] | None = None
    """Objects beside the tensors are pickled, and never opened."""

    def __init__(self, folder: Folder, *, key: str | None = None, trusted: bool = False) -> None:
        self._folder = folder
        self._files: dict[str, Bytes] = {}
        metadata = read_metadata(folder.open(METADATA), trusted=trusted)
        self._tensors, left_out = chosen(metadata, key, folder.name)
        self.entries: Mapping[str, Entry] = {
            name: Entry(tensor.shape, tensor.dtype, ", ".join(_files(tensor)))
            for name, tensor in self._tensors.items()
        }
        self.metadata: Mapping[str, Any] = {}
        objects = metadata.objects
        unopened = f"objects beside the tensors, which are pickled, were not opened: {_some(objects)}"
        self.notes: tuple[str, ...] = (*left_out, *((unopened,) if objects else ()))

    def arrays(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        """The numbers of each tensor, its chunks put together.

        Raises:
            MhcDiagError: a file is missing or cut short, chunks overlap, or one is not what it should be.
        """
        for name in names:
            yield name, self._whole(name)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """All tensors, for a live model."""
        import torch

        found = {}
        for name, tensor in self._tensors.items():
            self._check_files(name, tensor)
            found[name] = torch.empty(tensor.shape, dtype=getattr(torch, tensor.dtype))
            for block, chunk in self._placed(name, tensor):
                found[name][block] = self._chunk(name, tensor, chunk).live()
        return found

    def _whole(self, name: str) -> np.ndarray[Any, Any]:
        import numpy as np

        tensor = self._tensors[name]
        self._check_files(name, tensor)
        if len(tensor.chunks) == 1:
            return self._chunk(name, tensor, tensor.chunks[0]).array()
        whole = np.empty(tensor.shape, np.float64 if tensor.dtype == "float64" else np.float32)
        for block, chunk in self._placed(name, tensor):
            whole[block] = self._chunk(name, tensor, chunk).array()
        return whole

    def _placed(self, name: str, tensor: Described) -> Iterator[tuple[tuple[slice, ...], Chunk]]:
        """Each chunk and its place: they hold as many numbers as the tensor, so none may overlap."""
        import numpy as np

        filled = np.zeros(tensor.shape if len(tensor.chunks) > 1 else (), bool)
        for chunk in tensor.chunks:
            block = tuple(slice(a, a + b) for a, b in zip(chunk.offsets, chunk.sizes, strict=True))
            if len(tensor.chunks) > 1:
                if filled[block].any():
                    raise MhcDiagError(
                        f"{self._folder.name}: chunks of {printable(name)} overlap at {chunk.offsets}, "
                        "so that others are missing",
                        hint="save the checkpoint again",
                    )
                filled[block] = True
            yield block, chunk

    def _check_files(self, name: str, tensor: Described) -> None:
        """Before anything is allocated: the files can hold what the metadata says that they hold."""
        width = BYTES[tensor.dtype]  # whoever reads has seen that its numbers are plainly stored
        claimed: dict[str, int] = {}
        for chunk in tensor.chunks:
            file = self._open(chunk.file)
            claimed[chunk.file] = claimed.get(chunk.file, 0) + chunk.length
            if chunk.start + chunk.length > file.size or claimed[chunk.file] > file.size:
                needed = max(chunk.start + chunk.length, claimed[chunk.file])
                raise MhcDiagError(
                    f"{file.name} is truncated: it has {file.size} bytes, and what it should hold of "
                    f"{printable(name)} takes {needed}",
                    hint="copy the folder again, with all its files",
                )
            if math.prod(chunk.sizes) * width > chunk.length:
                raise MhcDiagError(
                    f"{file.name}: {chunk.length} bytes cannot hold the chunk of {printable(name)} of shape "
                    f"{chunk.sizes}",
                    hint="save the checkpoint again",
                )

    def _open(self, file: str) -> Bytes:
        if file not in self._files:
            self._files[file] = self._folder.open(file)
        return self._files[file]

    def _chunk(self, name: str, tensor: Described, chunk: Chunk) -> SingleTensor:
        file = self._open(chunk.file)
        what = f"{file.name}, {printable(name)} at {chunk.offsets},"
        part = Part(file, chunk.start, chunk.start + chunk.length, what)
        return SingleTensor(part, chunk.sizes, tensor.dtype)


def _files(tensor: Described) -> list[str]:
    files = sorted({chunk.file for chunk in tensor.chunks})
    return [printable(file) for file in files] if len(files) <= NAMED else [f"{len(files)} files"]


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(map(printable, names[:NAMED])) + more
