"""Round numbers to the precision of a narrower format: what a model's coefficients are worth in it."""

from __future__ import annotations

from typing import Any, Literal

from mhc_diag.records import Array

Precision = Literal["fp64", "fp32", "bf16", "fp16"]
BF16_BELOW = 16  # bits of a float32 that bfloat16 does not have


def rounded(array: Array, precision: Precision) -> Array:
    """The nearest numbers that the format has, in the dtype of the array, whatever its shape.

    Formula: to float32 first and from there to bf16 or fp16, each time to the nearest, and from half-way
    to the even one. That is how torch casts, and what a model does that computes its coefficients in
    float32. What is too large becomes infinite, what is too small 0; bf16 has 8 binary digits and the
    range of fp32, fp16 has 11 and ends at 65504.

    Example:
        >>> import numpy as np
        >>> rounded(np.array([1.00390625, 0.1, 1e5]), "bf16").tolist()  # the first is half-way from 1
        [1.0, 0.10009765625, 99840.0]
        >>> rounded(np.array([1e5, 0.1]), "fp16").tolist()
        [inf, 0.0999755859375]
    """
    if precision == "fp64":
        return array
    if hasattr(array, "detach"):
        return _torch(array, precision)
    import numpy as np

    with np.errstate(over="ignore"):  # infinity is the answer
        single = np.asarray(array, dtype=np.float32)
        if precision == "fp16":
            single = single.astype(np.float16)
        elif precision == "bf16":
            single = _bfloat16(single)
    return single.astype(array.dtype)


def _bfloat16(single: Array) -> Array:
    """The upper halves of float32 numbers; adding just under half a unit first carries where it must."""
    import numpy as np

    bits = single.view(np.uint32)
    odd = (bits >> BF16_BELOW) & 1
    nearest = (bits + (0x7FFF + odd)) & np.uint32(0xFFFF0000)  # a carry out of the digits is right: infinity
    return np.where(np.isnan(single), single, nearest.view(np.float32))


def _torch(array: Any, precision: Precision) -> Any:
    import torch

    narrow = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    return array.to(torch.float32).to(narrow).to(array.dtype)
