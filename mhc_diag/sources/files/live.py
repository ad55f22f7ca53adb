"""Stored bytes as torch tensors of their own dtype, for a live model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError

if TYPE_CHECKING:
    import torch


def tensor(raw: Any, dtype: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor out of little-endian bytes, which it does not share.

    Args:
        raw: as many bytes as the shape needs.
        dtype: a dtype in torch's words.
        shape: counted in numbers; two of float4 share a byte, and torch counts the bytes.

    Raises:
        MhcDiagError: this torch has no such dtype.

    Example:
        >>> tensor(bytes([0x80, 0x3F]), "bfloat16", (1, 1))
        tensor([[1.]], dtype=torch.bfloat16)
    """
    import torch

    kind = getattr(torch, dtype, None)
    if not isinstance(kind, torch.dtype):
        raise MhcDiagError(
            f"a tensor is of dtype {dtype}, which torch {torch.__version__} does not have",
            hint="save it in a dtype of torch",
        )
    if dtype.endswith("_x2"):
        shape = (*shape[:-1], shape[-1] // 2)
    if not len(raw):
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(kind).reshape(shape)
