"""Tensors of a .safetensors file, without torch.

The library checks the file; numbers are then read at the header's own offsets, because numpy has no bfloat16
and the library's numpy view therefore refuses it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files import Entry
from mhc_diag.sources.files.numbers import widened
from mhc_diag.sources.printable import printable

if TYPE_CHECKING:
    import numpy as np
    import torch

WORDS = {"BF": "bfloat", "F": "float", "I": "int", "U": "uint", "C": "complex"}


class SafetensorsFile:
    """The header of a .safetensors file, and its numbers on demand.

    Raises:
        MhcDiagError: the header is damaged, or does not match the file.
    """

    config: Mapping[str, Any] | None = None
    """The format has no place for one."""
    format = "safetensors"
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self._path = path
        header = _header(path)
        self.metadata: Mapping[str, Any] = header.pop("__metadata__", {})
        self.entries: Mapping[str, Entry] = {
            name: Entry(tuple(entry["shape"]), _dtype(entry["dtype"])) for name, entry in header.items()
        }
        self._spans = {name: entry["data_offsets"] for name, entry in header.items()}

    def arrays(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        """The numbers of each tensor, as float32 or float64."""
        with self._path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            for name in names:
                begin, end = self._spans[name]
                stream.seek(8 + length + begin)
                entry = self.entries[name]
                yield name, widened(stream.read(end - begin), entry.dtype).reshape(entry.shape)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """All tensors, for a live model."""
        from safetensors.torch import load_file

        return load_file(self._path)


def _dtype(code: str) -> str:
    """The format's code in torch's words: BF16 is bfloat16."""
    word = next((word for start, word in WORDS.items() if code.startswith(start)), "")
    return word + (code.lstrip("BFIUC") if word else code).lower()


def _header(path: Path) -> dict[str, Any]:
    """The header as the file spells it, once the library has checked it against the file's size."""
    try:
        with safe_open(path, framework="np"), path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header: dict[str, Any] = json.loads(stream.read(length), object_pairs_hook=_unique)
    except (SafetensorError, ValueError) as e:
        raise MhcDiagError(
            f"{printable(path)} is a truncated or malformed safetensors file: {printable(e)}",
            hint="download it again and compare the sizes, or save it again",
        ) from e
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names differ: parsers disagree on which of two equal names counts."""
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("the header names something twice")
    return table
