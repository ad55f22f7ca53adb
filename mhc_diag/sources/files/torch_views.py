"""The numbers of a view of a storage: which bytes it takes, and how they are laid out.

A file sets shapes, strides and offsets as it likes. A view that reaches outside its storage is damage; one
that repeats the same numbers without end is listed, but not expanded.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mhc_diag.sources.files.numbers import widened
from mhc_diag.sources.files.pickled_objects import Damaged
from mhc_diag.sources.files.torch_dtypes import BYTES
from mhc_diag.sources.files.torch_rebuild import StoredTensor

if TYPE_CHECKING:
    import torch

EXPANDED = 1 << 20
"""Numbers that a view may have although its storage holds fewer."""


def extent(tensor: StoredTensor) -> tuple[int, int]:
    """The bytes of its storage that a tensor lies in: start and stop.

    Example:
        >>> from mhc_diag.sources.files.torch_rebuild import Storage
        >>> column = StoredTensor((4,), "float32", Storage("0", "float32", 16, "cpu"), (4,), 1)
        >>> extent(column)
        (4, 56)
    """
    if tensor.storage is None or 0 in tensor.shape:
        return 0, 0
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride, strict=True))
    start = tensor.storage.start * BYTES[tensor.storage.dtype] + tensor.offset * BYTES[tensor.dtype]
    return start, start + (last + 1) * BYTES[tensor.dtype]


def check_extent(tensor: StoredTensor, name: str, available: int) -> None:
    """Compare a tensor with its storage.

    Args:
        tensor: a view.
        name: of the tensor, for the message.
        available: bytes of the storage.

    Raises:
        Damaged: it needs bytes that its storage does not have.
    """
    stop = extent(tensor)[1]
    if stop > available:
        raise Damaged(f"{name} needs {stop} bytes of a storage that has {available}")


def is_expanded(tensor: StoredTensor) -> bool:
    """Whether a view repeats its numbers so often that it is not to be written out.

    Example:
        >>> from mhc_diag.sources.files.torch_rebuild import Storage
        >>> is_expanded(StoredTensor((10**12,), "float32", Storage("0", "float32", 1, "cpu"), (0,)))
        True
    """
    start, stop = extent(tensor)
    return math.prod(tensor.shape) > max(EXPANDED, (stop - start) // BYTES[tensor.dtype])


def numbers(tensor: StoredTensor, raw: Any, *, swapped: bool = False) -> np.ndarray[Any, Any]:
    """The numbers of a tensor whose dtype is one of `WIDTHS`.

    Args:
        tensor: a view that lies within its storage.
        raw: the bytes of its extent.
        swapped: they are big-endian.

    Returns:
        An array of its shape, float32 or float64.
    """
    flat = widened(_native(raw, BYTES[tensor.dtype], swapped), tensor.dtype)
    if flat.size == math.prod(tensor.shape) and tensor.stride == _contiguous(tensor.shape):
        return flat.reshape(tensor.shape)
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, flat.dtype)
    strides = [stride * flat.itemsize for stride in tensor.stride]
    return np.array(np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False), order="C")


def live(tensor: StoredTensor, raw: Any, *, swapped: bool = False) -> torch.Tensor:
    """The same as a tensor of torch, in its own dtype; the bytes are taken over if they can be written to."""
    import torch

    dtype = getattr(torch, tensor.dtype)
    if 0 in tensor.shape:
        return torch.empty(tensor.shape, dtype=dtype)
    flat = torch.from_numpy(np.require(_native(raw, BYTES[tensor.dtype], swapped), requirements="W"))
    return flat.view(dtype).as_strided(tensor.shape, tensor.stride)


def _native(raw: Any, width: int, swapped: bool) -> np.ndarray[Any, Any]:
    """Bytes, the lowest of each number first."""
    content = np.frombuffer(raw, np.uint8)
    return content.reshape(-1, width)[:, ::-1].reshape(-1) if swapped else content


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a tensor without gaps."""
    strides = [1]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * size)
    return tuple(reversed(strides[: len(shape)]))
