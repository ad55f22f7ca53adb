"""Tensors of a file that torch.save wrote, read without running any code of the file.

A zip file is mapped into memory, so that only the numbers that are asked for are read; the older format has
to be read in full.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files import Entry
from mhc_diag.sources.printable import printable

if TYPE_CHECKING:
    import numpy as np
    import torch

NESTS = ("model", "state_dict", "module", "model_state_dict")
"""Where a training checkpoint keeps the model's tensors."""


class TorchFile:
    """The tensors of a .pt, .pth, .bin or .ckpt file.

    Args:
        path: the file, already seen to be one of torch's.
        legacy: written in the format before torch 1.6, which is no zip archive.
        unsafe_pickle: run the code that the file names while loading it.

    Raises:
        MhcDiagError: the file is damaged, holds no tensors, or holds objects other than tensors.
    """

    format = "torch"
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path, *, legacy: bool, unsafe_pickle: bool) -> None:
        top = load(path, legacy=legacy, unsafe_pickle=unsafe_pickle)
        self._tensors, beside = _descend(top, path)
        self.entries: Mapping[str, Entry] = {
            name: Entry(tuple(tensor.shape), _dtype(tensor)) for name, tensor in self._tensors.items()
        }
        config = beside.get("config")
        self.config: Mapping[str, Any] | None = config if isinstance(config, Mapping) else None
        self.metadata: Mapping[str, Any] = {
            str(k): v for k, v in beside.items() if isinstance(v, (str, int, float))
        }

    def arrays(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        """The numbers of each tensor, as float32 or float64."""
        import torch

        for name in names:
            tensor = self._tensors[name].detach()
            wide = torch.float64 if tensor.dtype == torch.float64 else torch.float32
            yield name, tensor.to(wide).numpy().copy()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """All tensors, for a live model."""
        return dict(self._tensors)


def load(path: Path, *, legacy: bool, unsafe_pickle: bool) -> Any:
    """What the file holds; nothing but tensors and plain containers unless `unsafe_pickle` is set.

    Raises:
        MhcDiagError: the file is damaged, or would run code.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=not unsafe_pickle, mmap=not legacy)
    except Exception as e:  # a damaged or hostile pickle may raise anything at all
        foreign = [] if unsafe_pickle else _foreign_globals(path, e)
        if foreign:
            raise _refusal(path, foreign) from e
        what = "or needs classes that are not here" if unsafe_pickle else "or no checkpoint"
        raise MhcDiagError(
            f"{printable(path)} is truncated, damaged, {what}: {_reason(e)}",
            hint="download it again and compare the sizes, or save the bare state_dict",
        ) from e


def _foreign_globals(path: Path, error: Exception) -> list[str]:
    """Names of the classes and functions that the pickle would call, found without calling them."""
    import torch

    if not isinstance(error, pickle.UnpicklingError):
        return []
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # the older format, or damage: the refusal itself names at least the first one
        return re.findall(r"Unsupported global: GLOBAL (\S+) was not", str(error))


def _reason(error: Exception) -> str:
    """The one line of torch's advice that says what went wrong."""
    lines = str(error).splitlines() or [""]
    telling = [line for line in lines if "WeightsUnpickler error" in line]
    return printable(f"{type(error).__name__} {(telling or lines)[0].strip()}")


def _refusal(path: Path, foreign: list[str]) -> MhcDiagError:
    what = "module" if any(name.startswith("torch.nn.modules.") for name in foreign) else "object"
    return MhcDiagError(
        f"{printable(path)} holds a pickled {what} ({printable(', '.join(foreign))}), "
        "which would run code when loaded",
        hint="save model.state_dict() and give the code with --model package.module:factory, "
        "or trust the file with --unsafe-pickle",
    )


def _descend(top: Any, path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The one table of tensors inside, and whatever lay beside it on the way."""
    import torch

    chains = _chains(top)
    if not chains:
        found = ", ".join(map(str, top)) if isinstance(top, Mapping) else f"a {type(top).__name__}"
        raise MhcDiagError(
            f"{printable(path)} holds no table of named tensors; found {printable(found or 'nothing')}",
            hint="save model.state_dict()",
        )
    if len(chains) > 1:
        nests = " and ".join(repr(name) for name in NESTS if name in top)
        raise MhcDiagError(
            f"{printable(path)} has several tables of tensors, under {nests}, and which to scan is not clear",
            hint="save the one you mean in a file of its own",
        )
    *around, table = chains[0]
    beside = {str(k): v for outer in reversed(around) for k, v in outer.items()}
    return {str(k): v for k, v in table.items() if isinstance(v, torch.Tensor)}, beside


def _chains(table: Any, depth: int = 4) -> list[tuple[Mapping[Any, Any], ...]]:
    """Every way from a table down to one that holds tensors; bounded, as a pickle may contain itself."""
    import torch

    if isinstance(table, torch.nn.Module):
        table = table.state_dict()
    if not isinstance(table, Mapping) or depth == 0:
        return []
    inner = [(table, *chain) for name in NESTS for chain in _chains(table.get(name), depth - 1)]
    if inner:
        return inner
    return [(table,)] if any(isinstance(v, torch.Tensor) for v in table.values()) else []


def _dtype(tensor: torch.Tensor) -> str:
    """The dtype's name; one that no reader accepts where the tensor has no plain numbers in memory."""
    import torch

    name = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_meta:
        return f"meta {name}"
    return name if tensor.layout == torch.strided else f"{tensor.layout} {name}".removeprefix("torch.")
