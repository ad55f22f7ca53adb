"""Streams that the user saved: what dynamic sites do at real tokens, without the model's code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.printable import printable
from mhc_diag.sources.readings import Read

Floats = np.ndarray[Any, Any]
MOST_NUMBERS = 1 << 30
EVERYWHERE = ""
"""The name of streams that are given to every site."""


class Activations:
    """The streams at the input of each site, or the same streams for all.

    Args:
        path: the file, for messages.
        arrays: (..., n, C) or (..., n C) by the label of a site (`layers.3.attn`), or its layer
            (`layers.3`), or one array for all sites under the name `EVERYWHERE`.

    Raises:
        MhcDiagError: the arrays do not hold the same number of tokens.

    Example:
        >>> streams = np.ones((2, 5, 4, 8), np.float32)
        >>> reading = Activations(Path("x.npy"), {"": streams})
        >>> reading.values(Read(np.ones((3, 32)), 4, 1), 0, "layers.0.attn").shape
        (10, 1, 3)
    """

    name: Literal["activations"] = "activations"

    def __init__(self, path: Path, arrays: Mapping[str, Floats]) -> None:
        self.path, self.arrays = path, arrays
        self.tokens = 0
        self.how = f"at the streams saved in {printable(path)}"

    def values(self, read: Read, site: int, label: str) -> Floats:
        """(T, B, R): what one site reads off.

        Raises:
            MhcDiagError: there are no streams for the site, or of another shape.
        """
        streams = self._streams(read, label)
        blocks = streams.reshape(len(streams), read.blocks, -1)
        with np.errstate(invalid="ignore", divide="ignore"):  # a token of zeros shows as NaN
            rms = np.sqrt((blocks * blocks).mean(axis=-1, keepdims=True))
            return (blocks / rms) @ read.weight.astype(np.float64).T

    def _streams(self, read: Read, label: str) -> Floats:
        layer = label.rpartition(".")[0]
        found = next((self.arrays[key] for key in (label, layer, EVERYWHERE) if key in self.arrays), None)
        if found is None:
            names = ", ".join(printable(name) for name in list(self.arrays)[:3])
            raise MhcDiagError(
                f"--activations {printable(self.path)} holds no streams for site {printable(label)}, "
                f"only for {names}",
                hint="name each array by its site, or save a single one for all sites",
            )
        width = read.weight.shape[1] * read.blocks
        n = read.streams
        shape = found.shape
        split = shape[-2:] == (n, width // n)
        if not split and shape[-1:] != (width,):
            raise MhcDiagError(
                f"--activations {printable(self.path)}: streams of shape {shape} for site "
                f"{printable(label)}, expected (..., {n}, {width // n}) or (..., {width})",
                hint="save the streams as they come into the site, channels last",
            )
        streams = found.reshape(math.prod(shape[: -2 if split else -1]), n * (width // n)).astype(np.float64)
        if self.tokens not in (0, len(streams)):
            raise MhcDiagError(
                f"--activations {printable(self.path)}: {len(streams)} tokens for site {printable(label)}, "
                f"{self.tokens} for others",
                hint="save the same tokens at every site",
            )
        self.tokens = len(streams)
        return streams


def load(path: Path) -> Activations:
    """Saved streams: an array (.npy), or tensors by site in any format that a checkpoint may have.

    Raises:
        MhcDiagError: no such file, not one of these formats, or too large to hold.
    """
    from mhc_diag.sources.files.tensors import open_tensors

    if path.suffix.lower() == ".npy":
        return Activations(path, {EVERYWHERE: _npy(path)})
    file = open_tensors(path)
    numbers = sum(math.prod(file.shape(name)) for name in file.names)
    if numbers > MOST_NUMBERS:
        raise MhcDiagError(
            f"--activations {printable(path)} holds {numbers:,} numbers, at most {MOST_NUMBERS:,} are read",
            hint="save fewer tokens",
        )
    arrays = dict(file.read(file.names))
    return Activations(path, {EVERYWHERE: next(iter(arrays.values()))} if len(arrays) == 1 else arrays)


def _npy(path: Path) -> Floats:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as e:
        raise MhcDiagError(
            f"--activations {printable(path)} cannot be read: {printable(e)}",
            hint="save it with numpy.save as an array of floating numbers",
        ) from e
    if array.dtype.kind != "f" or array.size > MOST_NUMBERS:
        raise MhcDiagError(
            f"--activations {printable(path)} holds {array.size:,} numbers of {array.dtype}",
            hint=f"save at most {MOST_NUMBERS:,} floating numbers",
        )
    return array
