"""Tensors of a .safetensors file, without torch and from anywhere.

The file begins with the length of its header and the header, JSON that says of each tensor its dtype, its
shape and which bytes it takes. The header is checked against itself and against the size of the file before
any of it is believed, and then only the bytes of the tensors that are asked for are read. The format's own
library is not used: it reads neither remote files nor, without torch, bfloat16.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files import Entry
from mhc_diag.sources.files.bounded_json import LONGEST, parsed
from mhc_diag.sources.files.bytes import Bytes
from mhc_diag.sources.files.numbers import widened
from mhc_diag.sources.printable import printable

if TYPE_CHECKING:
    import numpy as np
    import torch

DTYPES = {  # the format's code: torch's name for it, and bits of one number
    "F64": ("float64", 64),
    "F32": ("float32", 32),
    "F16": ("float16", 16),
    "BF16": ("bfloat16", 16),
    "F8_E4M3": ("float8_e4m3fn", 8),
    "F8_E5M2": ("float8_e5m2", 8),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", 8),
    "F8_E5M2FNUZ": ("float8_e5m2fnuz", 8),
    "F8_E8M0": ("float8_e8m0fnu", 8),
    "F6_E2M3": ("float6_e2m3", 6),
    "F6_E3M2": ("float6_e3m2", 6),
    "F4": ("float4_e2m1fn_x2", 4),
    "C64": ("complex64", 64),
    "I64": ("int64", 64),
    "I32": ("int32", 32),
    "I16": ("int16", 16),
    "I8": ("int8", 8),
    "U64": ("uint64", 64),
    "U32": ("uint32", 32),
    "U16": ("uint16", 16),
    "U8": ("uint8", 8),
    "BOOL": ("bool", 8),
}
MOST_AXES = 32


class SafetensorsFile:
    """The header of a .safetensors file, and its numbers on demand.

    Args:
        file: already seen to begin like one.

    Raises:
        MhcDiagError: the header is damaged, or does not match the file.

    Example:
        >>> import tempfile, safetensors.numpy, numpy as np
        >>> from pathlib import Path
        >>> from mhc_diag.sources.files.bytes import LocalBytes
        >>> path = Path(tempfile.mkdtemp()) / "tiny.safetensors"
        >>> safetensors.numpy.save_file({"mix": np.eye(2, dtype=np.float16)}, path)
        >>> file = SafetensorsFile(LocalBytes(path))
        >>> file.entries["mix"]
        Entry(shape=(2, 2), dtype='float16', file='')
        >>> next(file.arrays(["mix"]))[1].tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """

    config: Mapping[str, Any] | None = None
    """The format has no place for one."""
    format = "safetensors"
    notes: tuple[str, ...] = ()

    def __init__(self, file: Bytes) -> None:
        self._file = file
        try:
            header, start = _header(file)
            self.metadata: Mapping[str, Any] = _metadata(header.pop("__metadata__", None))
            self.entries: Mapping[str, Entry] = {name: _entry(name, said) for name, said in header.items()}
            self._spans = _spans(
                {name: said["data_offsets"] for name, said in header.items()}, start, file.size
            )
        except ValueError as e:
            raise MhcDiagError(
                f"{file.name} is a truncated or malformed safetensors file: {printable(e)}",
                hint="download it again and compare the sizes, or save it again",
            ) from e

    def arrays(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
        """The numbers of each tensor as float32 or float64, in the order of the file."""
        for name, raw in self._raw(names):
            entry = self.entries[name]
            yield name, widened(raw, entry.dtype).reshape(entry.shape)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """All tensors, for a live model."""
        from mhc_diag.sources.files.live import tensor

        found = {
            name: tensor(raw, self.entries[name].dtype, self.entries[name].shape)
            for name, raw in self._raw(self.entries)
        }
        return {name: found[name] for name in self.entries}

    def _raw(self, names: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """The bytes of each tensor, which are sure to be as many as its shape needs."""
        ordered = sorted(names, key=self._spans.__getitem__)
        spans = [self._spans[name] for name in ordered]
        for name, (start, stop), raw in zip(ordered, spans, self._file.read(spans), strict=True):
            if len(raw) < stop - start:
                raise MhcDiagError(
                    f"{self._file.name} ends inside {printable(name)}: it became shorter while it was read",
                    hint="scan it when nothing writes to it",
                )
            yield name, raw


def _header(file: Bytes) -> tuple[dict[str, Any], int]:
    """The header, and where the numbers begin."""
    length = int.from_bytes(next(file.read([(0, 8)])), "little")
    if length > file.size - 8:
        raise ValueError(f"its header takes {length} bytes of {file.size}")
    if length > LONGEST:
        raise ValueError(f"its header takes {length} bytes, expected at most {LONGEST}")
    header = parsed(next(file.read([(8, 8 + length)])))
    if not isinstance(header, dict):
        raise ValueError("its header is no table of tensors")
    return header, 8 + length


def _metadata(said: Any) -> dict[str, str]:
    if said is None:
        return {}
    if not isinstance(said, dict) or not all(isinstance(text, str) for text in said.values()):
        raise ValueError("its metadata are not texts by name")
    return said


def _entry(name: str, said: Any) -> Entry:
    """What the header says of a tensor, once it agrees with itself."""
    name.encode()  # half of a surrogate pair can be spelled in JSON, and neither printed nor saved
    keys = ("dtype", "shape", "data_offsets")
    if not isinstance(said, dict) or any(key not in said for key in keys):
        raise ValueError(f"{name} has no {', '.join(keys)}")
    code, shape, offsets = (said[key] for key in keys)
    if not isinstance(code, str) or code not in DTYPES:
        raise ValueError(f"{name} is of dtype {code}, unknown to the format")
    if not _are_counts(shape) or len(shape) > MOST_AXES or not _are_counts(offsets) or len(offsets) != 2:
        raise ValueError(f"{name} has the shape {shape} and the offsets {offsets}")
    dtype, bits = DTYPES[code]
    if bits * math.prod(shape) != 8 * (offsets[1] - offsets[0]):
        raise ValueError(f"{name} {tuple(shape)} {code} takes other than bytes {offsets[0]} to {offsets[1]}")
    return Entry(tuple(shape), dtype)


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(x) is int and 0 <= x < 1 << 63 for x in value)


def _spans(offsets: Mapping[str, list[int]], start: int, size: int) -> dict[str, tuple[int, int]]:
    """Where in the file each tensor lies; they must follow each other without gap to the very end."""
    end = 0
    for name, (begin, stop) in sorted(offsets.items(), key=lambda item: item[1]):
        if begin != end:
            raise ValueError(f"{name} begins at {begin}, where the numbers before it end at {end}")
        end = stop
    if start + end != size:
        raise ValueError(f"its tensors end at byte {start + end} of {size}")
    return {name: (start + begin, start + stop) for name, (begin, stop) in offsets.items()}
