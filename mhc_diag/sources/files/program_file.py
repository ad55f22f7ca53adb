"""Weights of a program that torch.export.save wrote (.pt2), read without loading or running it.

Today's archives hold one member of plain bytes for each storage, and a JSON text that says which view of
which one each parameter is. Earlier ones hold a file of torch.save instead. The program itself and its
example, which may bring code along, are never opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files import Entry
from mhc_diag.sources.files.archive import Archive
from mhc_diag.sources.files.bytes import Bytes
from mhc_diag.sources.files.part import Part
from mhc_diag.sources.files.program_weights import read_weights
from mhc_diag.sources.files.torch_rebuild import StoredTensor
from mhc_diag.sources.files.torch_views import extent, live, numbers
from mhc_diag.sources.files.torch_zip import TorchZip
from mhc_diag.sources.printable import printable

if TYPE_CHECKING:
    import numpy as np
    import torch

TABLE = re.compile(r"(?:[^/]*/)?data/weights/(?P<model>[^/]+)_weights_config\.json")
PICKLED = re.compile(r"(?:[^/]*/)?data/weights/(?P<model>[^/]+)\.pt|serialized_state_dict\.(?:pt|json)")
COMPILED = "data/aotinductor/"


class ProgramFile:
    """The parameters and buffers of an exported program, under the model's names.

    Args:
        file: the archive.
        key: which program, where it holds several.

    Raises:
        MhcDiagError: it is damaged, was compiled, or holds several programs.

    Example:
        >>> import tempfile, pathlib, torch
        >>> from mhc_diag.sources.files.bytes import LocalBytes
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.pt2"
        >>> torch.export.save(torch.export.export(torch.nn.Linear(2, 1), (torch.ones(1, 2),)), path)
        >>> [(name, entry.shape) for name, entry in ProgramFile(LocalBytes(path)).entries.items()]
        [('weight', (1, 2)), ('bias', (1,))]
    """

    format = "exported program"
    config: Mapping[str, Any] | None = None

    def __init__(self, file: Bytes, *, key: str | None = None) -> None:
        self._archive = Archive(file)
        self._pickled: TorchZip | None = None
        self._tensors: dict[str, StoredTensor] = {}
        self.metadata: Mapping[str, Any] = {}
        self.notes: tuple[str, ...] = ()
        found = _models(self._archive.members, TABLE) or _models(self._archive.members, PICKLED)
        member = _chosen(found, key, file, compiled=any(COMPILED in name for name in self._archive.members))
        if TABLE.fullmatch(member):
            self._tensors, self.notes = read_weights(self._archive, member, file.name)
            self.entries: Mapping[str, Entry] = {
                name: Entry(tensor.shape, f"{tensor.kind} {tensor.dtype}".strip())
                for name, tensor in self._tensors.items()
            }
        else:
            self._pickled = TorchZip(Part(file, *self._archive.span(member)))
            self.entries, self.notes = self._pickled.entries, self._pickled.notes

    def arrays(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        """The numbers of each tensor, as float32 or float64."""
        if self._pickled is not None:
            yield from self._pickled.arrays(names)
        else:
            for name in names:
                yield name, numbers(self._tensors[name], self._raw(self._tensors[name]))

    def state_dict(self) -> dict[str, torch.Tensor]:
        """All tensors, for a live model."""
        if self._pickled is not None:
            return self._pickled.state_dict()
        plain = {name: tensor for name, tensor in self._tensors.items() if not tensor.kind}
        return {name: live(tensor, bytearray(self._raw(tensor))) for name, tensor in plain.items()}

    def _raw(self, tensor: StoredTensor) -> Any:
        start, stop = extent(tensor)
        if tensor.storage is None or start == stop:
            return b""
        return next(self._archive.read([(tensor.storage.key, start, stop)]))


def _models(members: Iterable[str], pattern: re.Pattern[str]) -> dict[str, str]:
    """The member that describes, or holds, the weights of each program."""
    matches = filter(None, map(pattern.fullmatch, members))
    return {match["model"] or "": match[0] for match in matches}


def _chosen(models: Mapping[str, str], key: str | None, file: Bytes, *, compiled: bool) -> str:
    if not models:
        what = "was compiled by AOTInductor" if compiled else "is of a layout that is not known"
        raise MhcDiagError(
            f"{file.name} {what}: its weights cannot be read by themselves",
            hint="export the model with torch.export.save, or save its state_dict",
        )
    if key is not None and key not in models:
        raise MhcDiagError(
            f"{file.name} holds no program {printable(key)!r}; found {printable(', '.join(models))}",
            hint="give one of these with --key, or leave it out",
        )
    if key is None and len(models) > 1:
        names = printable(", ".join(models))
        raise MhcDiagError(
            f"{file.name} holds several programs, {names}, and which to read is not clear",
            hint=f"say which with --key, such as --key {printable(next(iter(models)))}",
        )
    return models[key] if key is not None else next(iter(models.values()))
