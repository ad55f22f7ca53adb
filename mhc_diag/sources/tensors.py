"""A file of named tensors: names and shapes first, numbers only of the tensors that are asked for.

Reads what torch.save wrote (.pt, .pth, .bin, .ckpt) and .safetensors, the latter without torch. No code in a
file is run unless the caller says so, and every file is looked at (`sniff`) before a parser is let at it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.sniff import printable, sniff
from mhc_diag.sources.tensors_safetensors import SafetensorsFile
from mhc_diag.sources.tensors_torch import TorchFile, load

if TYPE_CHECKING:
    import numpy as np
    import torch

READABLE = frozenset({"float64", "float32", "float16", "bfloat16"})
WRAPPERS = frozenset(
    {"module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
)
"""What data-parallel training, torch.compile and checkpointing put into the names of a model's tensors."""


class Stored(Protocol):
    """What each file format provides. Names are the file's own."""

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    config: Mapping[str, Any] | None
    metadata: Mapping[str, Any]

    def array(self, name: str) -> np.ndarray[Any, Any]:
        """The numbers of one tensor of a readable dtype, as float32 or float64."""

    def state_dict(self) -> dict[str, torch.Tensor]:
        """All tensors."""


class TensorFile:
    """The tensors of one file under the names that the model gave them, wrappers' prefixes taken off."""

    def __init__(self, path: Path, stored: Stored) -> None:
        self.path = path
        self._stored = stored
        self._raw = _by_clean_name(stored.shapes)
        self.names: tuple[str, ...] = tuple(self._raw)
        """In the order of the file."""
        self.config: Mapping[str, Any] | None = stored.config or _config_beside(path)
        """The model's configuration: from the checkpoint itself, else config.json in the same folder."""
        self.metadata: Mapping[str, Any] = stored.metadata
        """What else the file says about itself."""

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        return self._stored.shapes[self._raw[name]]

    def dtype(self, name: str) -> str:
        """The dtype of a tensor in torch's words, such as `bfloat16`, without reading it."""
        return self._stored.dtypes[self._raw[name]]

    def read(self, names: Iterable[str]) -> dict[str, np.ndarray[Any, Any]]:
        """The numbers of the chosen tensors; 16-bit ones are widened to float32.

        Raises:
            MhcDiagError: one of them is of a dtype whose numbers mean nothing by themselves, such as float8.
        """
        chosen = dict.fromkeys(names)
        for name in chosen:
            if self.dtype(name) not in READABLE:
                raise MhcDiagError(
                    f"{printable(self.path)}: {printable(name)} is {self.dtype(name)}, "
                    f"expected one of {', '.join(sorted(READABLE))}",
                    hint="save the mixing parameters in float32",
                )
        return {name: self._stored.array(self._raw[name]) for name in chosen}


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
    return {clean: tensors[raw] for clean, raw in _by_clean_name(tensors, expected).items()}


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


def _by_clean_name(raw_names: Iterable[str], expected: Collection[str] = ()) -> dict[str, str]:
    """The file's name of each tensor, by its name without wrappers.

    Where two names become the same, the later one stays as it is.
    """
    names: dict[str, str] = {}
    for raw in raw_names:
        clean = ".".join(part for part in raw.split(".") if part not in WRAPPERS)
        names[raw if raw in expected or clean in names else clean] = raw
    return names


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
