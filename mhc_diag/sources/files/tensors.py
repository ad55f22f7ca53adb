"""A file of named tensors: names and shapes first, numbers only of the tensors that are asked for.

Reads what torch.save wrote (.pt, .pth, .bin, .ckpt) and .safetensors, the latter without torch. No code in a
file is run unless the caller says so, and every file is looked at (`sniff`) before a parser is let at it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files import Stored
from mhc_diag.sources.files.names import by_clean_name
from mhc_diag.sources.files.numbers import WIDTHS
from mhc_diag.sources.files.safetensors_file import SafetensorsFile
from mhc_diag.sources.files.sniff import sniff
from mhc_diag.sources.files.torch_file import TorchFile, load
from mhc_diag.sources.printable import printable

if TYPE_CHECKING:
    import numpy as np
    import torch


class TensorFile:
    """The tensors of one file under the names that the model gave them, wrappers' prefixes taken off."""

    def __init__(self, path: Path, stored: Stored) -> None:
        self.path = path
        self._stored = stored
        self._raw = by_clean_name(stored.entries)
        self.names: tuple[str, ...] = tuple(self._raw)
        """In the order of the file."""
        self.config: Mapping[str, Any] | None = stored.config or _config_beside(path)
        """The model's configuration: from the checkpoint itself, else config.json in the same folder."""
        self.metadata: Mapping[str, Any] = stored.metadata
        """What else the file says about itself."""
        self.format: str = stored.format
        """What kind of file it is, for people."""
        self.notes: tuple[str, ...] = stored.notes
        """What a reader of the numbers must know: objects in the file that were not loaded."""
        self.files: tuple[str, ...] = tuple(dict.fromkeys(e.file for e in stored.entries.values() if e.file))
        """The files of which each holds some of the tensors; empty where there is one."""

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
            MhcDiagError: one of them is of a dtype whose numbers mean nothing by themselves, such as float4.
        """
        chosen = dict.fromkeys(names)
        for name in chosen:
            if self.dtype(name) not in WIDTHS:
                raise MhcDiagError(
                    f"{printable(self.path)}: {printable(name)} is {self.dtype(name)}, "
                    f"expected one of {', '.join(sorted(WIDTHS))}",
                    hint="save the mixing parameters in float32",
                )
        clean = {self._raw[name]: name for name in chosen}
        for raw, numbers in self._stored.arrays(clean):
            yield clean[raw], numbers


def open_tensors(path: Path, *, unsafe_pickle: bool = False) -> TensorFile:
    """Open a file of tensors.

    Args:
        path: a file written by torch.save or safetensors.
        unsafe_pickle: let the file run code while it is loaded, as a pickled module does.

    Raises:
        MhcDiagError: the file cannot be read, or would run code.

    Example:
        >>> import tempfile, safetensors.numpy, numpy as np
        >>> path = Path(tempfile.mkdtemp()) / "tiny.safetensors"
        >>> safetensors.numpy.save_file({"module.mix": np.eye(4, dtype=np.float32)}, path)
        >>> file = open_tensors(path)
        >>> file.names, file.shape("mix"), file.dtype("mix")
        (('mix',), (4, 4), 'float32')
    """
    return TensorFile(path, _open(path, unsafe_pickle))


def state_dict(
    path: Path, *, expected: Collection[str] = (), unsafe_pickle: bool = False
) -> dict[str, torch.Tensor]:
    """All tensors of a file, for the caller who loads them into a live model.

    Args:
        path: a file written by torch.save or safetensors.
        expected: names of the model's own tensors; those are kept although they look like a wrapper's.
        unsafe_pickle: let the file run code while it is loaded.

    Raises:
        MhcDiagError: the file cannot be read, or would run code.

    Example:
        >>> import tempfile, torch
        >>> path = Path(tempfile.mkdtemp()) / "tiny.pt"
        >>> torch.save({"state_dict": {"module.mix": torch.eye(4)}}, path)
        >>> list(state_dict(path))
        ['mix']
    """
    tensors = _open(path, unsafe_pickle).state_dict()
    return {clean: tensors[raw] for clean, raw in by_clean_name(tensors, expected).items()}


def load_pickled_module(path: Path) -> torch.nn.Module | None:
    """The live module that a file holds, or None if it holds something else.

    Runs whatever code the file names: only for files that are trusted.

    Raises:
        MhcDiagError: the file cannot be read.
    """
    kind = sniff(path)
    if kind in {"safetensors", "program"}:
        return None
    import torch

    top = load(path, legacy=kind == "torch-legacy", unsafe_pickle=True)
    return top if isinstance(top, torch.nn.Module) else None


def _open(path: Path, unsafe_pickle: bool) -> Stored:
    kind = sniff(path)
    if kind == "safetensors":
        return SafetensorsFile(path)
    if kind == "program":
        raise MhcDiagError(
            f"{printable(path)} is an exported program, expected a file of tensors",
            hint="scan it without --model, or save the model's state_dict",
        )
    return TorchFile(path, legacy=kind == "torch-legacy", unsafe_pickle=unsafe_pickle)


def _config_beside(path: Path) -> Mapping[str, Any] | None:
    beside = path.parent / "config.json"
    if not beside.is_file():
        return None
    try:
        config = json.loads(beside.read_bytes())
    except (OSError, ValueError, RecursionError) as e:
        raise MhcDiagError(
            f"{printable(beside)}, the configuration beside {printable(path.name)}, cannot be read: "
            f"{printable(e)}",
            hint="repair it, or move the checkpoint to a folder of its own",
        ) from e
    return config if isinstance(config, Mapping) else None
