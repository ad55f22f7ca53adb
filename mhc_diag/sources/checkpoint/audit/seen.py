"""What is noted of each tensor when it is read, so that the large ones need not be kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

ENDS = 4096
"""Bytes at either end of a large tensor that are hashed; between them a sum has to do."""
WHOLE = 1 << 16
"""Bytes up to which all are hashed."""
SMALLEST_NORMAL = 2.0**-126


@dataclass(frozen=True, slots=True)
class Glance:
    """A few numbers about one tensor."""

    nans: int
    infinities: int
    largest: float
    """Largest finite absolute value, 0 where there is none."""
    subnormal: int
    """How many are not 0 and below the smallest normal float32; counted in small tensors only."""
    zero: bool
    """Whether there are numbers and all of them are 0."""
    prints: tuple[bytes, ...]
    """Of the whole tensor, or of each matrix of a stack: equal where the numbers are."""


class Seen:
    """Notes by name; `look` is given to whoever reads the tensors."""

    def __init__(self) -> None:
        self.glances: dict[str, Glance] = {}

    def look(self, name: str, numbers: np.ndarray[Any, Any]) -> None:
        """Note what there is to know of one tensor.

        Example:
            >>> seen = Seen()
            >>> seen.look("base", np.array([0.0, np.nan, -3.0]))
            >>> seen.glances["base"].nans, seen.glances["base"].largest
            (1, 3.0)
        """
        self.glances[name] = _glance(numbers)


def _glance(numbers: np.ndarray[Any, Any]) -> Glance:
    if not numbers.size:
        return Glance(0, 0, 0.0, 0, False, (fingerprint(numbers),))
    low, high = float(np.min(numbers)), float(np.max(numbers))
    nans = infinities = subnormal = 0
    largest = max(-low, high)
    if not np.isfinite(largest):
        finite = np.isfinite(numbers)
        nans = int(np.isnan(numbers).sum())
        infinities = numbers.size - int(finite.sum()) - nans
        largest = float(np.max(np.abs(numbers), initial=0.0, where=finite))
    if numbers.nbytes <= WHOLE:
        sizes = np.abs(numbers)
        subnormal = int(((sizes > 0) & (sizes < SMALLEST_NORMAL)).sum())
    prints = tuple(map(fingerprint, numbers)) if numbers.ndim > 2 else (fingerprint(numbers),)
    return Glance(nans, infinities, largest, subnormal, low == 0 == high, prints)


def fingerprint(numbers: np.ndarray[Any, Any]) -> bytes:
    """A digest of shape and numbers, for this process alone; of a large array both ends and the sum.

    That large arrays of the same ends and the same sum differ does not happen by accident, and to hash them
    in full takes longer than to read them.
    """
    plain = np.ascontiguousarray(numbers)
    raw = plain.reshape(-1).view(np.uint8)
    parts = [raw]
    if raw.size > WHOLE:
        words = raw[: raw.size // 8 * 8].view(np.uint64)
        parts = [raw[:ENDS], raw[-ENDS:], np.add.reduce(words).reshape(1)]
    told = (plain.dtype.char, plain.shape, *(part.tobytes() for part in parts))
    return hash(told).to_bytes(8, "little", signed=True)  # to import hashlib takes longer than all prints
