"""The door to named tensors: names and shapes first, numbers only of the tensors that are asked for.

A target is a file of tensors, an index of shards or a folder, on this machine or elsewhere. No code in a file
is run unless the caller says so, and every file is looked at (`sniff`) before a parser is let at it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mhc_diag.sources.files import Stored
from mhc_diag.sources.files.configuration import configuration
from mhc_diag.sources.files.located import Located, locate
from mhc_diag.sources.files.names import by_clean_name
from mhc_diag.sources.files.opened import load_module, opened
from mhc_diag.sources.files.remote import Arrived, silent
from mhc_diag.sources.files.scales import check, scaled, scales_beside, unscaled

if TYPE_CHECKING:
    import numpy as np
    import torch


class TensorFile:
    """The tensors of a target under the names that the model gave them, wrappers' prefixes taken off.

    Tensors in float8 are read together with the scales beside them, which are not listed.
    """

    def __init__(self, located: Located, stored: Stored, notes: tuple[str, ...] = ()) -> None:
        self.target, self.name, self.format = located.target, located.name, stored.format
        """What the user named, the last part of it, and what it is; all printable."""
        self._stored, self._notes, self._read = stored, (*notes, *stored.notes), dict[str, None]()
        self._scales = scales_beside(stored.entries)
        scales = {scale for beside in self._scales.values() for scale in beside}
        self._raw = by_clean_name(name for name in stored.entries if name not in scales)
        self.names: tuple[str, ...] = tuple(self._raw)
        """In the order of the file."""
        self.config: Mapping[str, Any] | None = stored.config or configuration(located.folder, self.name)
        """The model's configuration: from the checkpoint itself, else config.json in the same folder."""
        self.metadata: Mapping[str, Any] = stored.metadata
        """What else the file says about itself."""
        absent: Mapping[str, str] = getattr(stored, "absent", {})
        self.absent: Mapping[str, str] = {n: absent[raw] for n, raw in by_clean_name(absent).items()}
        """Tensors that an index names and that are nowhere, and the file that should hold each."""
        self.files: tuple[str, ...] = tuple(dict.fromkeys(e.file for e in stored.entries.values() if e.file))
        """The files of which each holds some of the tensors; empty where there is one."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the numbers must know, in sentences; reading may add to them."""
        return (*self._notes, *unscaled(self._read, self._stored.entries, self._scales))

    def raw(self, name: str) -> str:
        """The file's own name of a tensor, with whatever wrappers put into it."""
        return self._raw[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        return self._stored.entries[self._raw[name]].shape

    def dtype(self, name: str) -> str:
        """The dtype of a tensor in torch's words, such as `bfloat16`, without reading it."""
        return self._stored.entries[self._raw[name]].dtype

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        """The numbers of the chosen tensors as float32 or float64, one at a time, in any order.

        Raises:
            MhcDiagError: one of them is of a dtype whose numbers mean nothing by themselves, such as float4,
                or its scale does not fit.
        """
        clean = {self._raw[name]: name for name in names}
        for raw in clean:
            check(raw, self._stored.entries, self._scales, self.target)
        self._read.update(dict.fromkeys(clean))
        beside = {raw: self._scales[raw][0] for raw in clean if raw in self._scales}
        scales = dict(self._stored.arrays(dict.fromkeys(beside.values()))) if beside else {}
        for raw, numbers in self._stored.arrays(clean):
            yield clean[raw], scaled(numbers, scales[beside[raw]]) if raw in beside else numbers


def open_tensors(
    target: str | Path, *, key: str | None = None, unsafe_pickle: bool = False, arrived: Arrived = silent
) -> TensorFile:
    """Open a file of tensors, an index of shards, or a folder.

    Args:
        target: a path or an address; what is there was written by torch.save, safetensors or
            torch.distributed.checkpoint.
        key: which table of tensors inside a training checkpoint.
        unsafe_pickle: let the file run code while it is loaded, as a pickled module does.
        arrived: told how many more bytes will travel from elsewhere, and how many more have.

    Raises:
        MhcDiagError: the target cannot be read, or would run code.

    Example:
        >>> import tempfile, safetensors.numpy, numpy as np
        >>> path = Path(tempfile.mkdtemp()) / "tiny.safetensors"
        >>> safetensors.numpy.save_file({"module.mix": np.eye(4, dtype=np.float32)}, path)
        >>> file = open_tensors(path)
        >>> file.names, file.shape("mix"), file.dtype("mix")
        (('mix',), (4, 4), 'float32')
    """
    located = locate(target, arrived)
    return TensorFile(located, *opened(located, key, unsafe_pickle))


def state_dict(
    target: str | Path,
    *,
    expected: Collection[str] = (),
    key: str | None = None,
    unsafe_pickle: bool = False,
    arrived: Arrived = silent,
) -> dict[str, torch.Tensor]:
    """All tensors of a target, for the caller who loads them into a live model.

    Args:
        target: a path or an address.
        expected: names of the model's own tensors; those are kept although they look like a wrapper's.
        key: which table of tensors inside a training checkpoint.
        unsafe_pickle: let the file run code while it is loaded.
        arrived: told how many more bytes will travel from elsewhere, and how many more have.

    Raises:
        MhcDiagError: the target cannot be read, or would run code.

    Example:
        >>> import tempfile, torch
        >>> path = Path(tempfile.mkdtemp()) / "tiny.pt"
        >>> torch.save({"state_dict": {"module.mix": torch.eye(4)}}, path)
        >>> list(state_dict(path))
        ['mix']
    """
    stored, _ = opened(locate(target, arrived), key, unsafe_pickle)
    tensors = stored.state_dict()
    return {clean: tensors[raw] for clean, raw in by_clean_name(tensors, expected).items()}


def load_pickled_module(path: Path) -> torch.nn.Module | None:
    """The live module that a file holds, or None if it holds something else.

    Runs whatever code the file names: only for files that are trusted.

    Raises:
        MhcDiagError: the file cannot be read.
    """
    return load_module(path)
