"""Tensors of eight bits and less, whose numbers mean something only together with a scale beside them.

Quantised checkpoints store a weight X in float8 and what it was divided by in a tensor beside it:
`X_scale_inv` (DeepSeek, Transformer Engine), `X_scale` (compressed-tensors) or `.scale` in place of `.weight`
(DeepSeek's inference code). Despite the `_inv`, all of them are multiplied by:

    W[i, j] = X[i, j] * scale[i // 128, j // 128]     one scale for each block of 128 x 128
    W[i, j] = X[i, j] * scale[i]                      one for each row
    W[i, j] = X[i, j] * scale                         one for all

Packed integers and float4 need the code that packed them, and are refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files import Entry
from mhc_diag.sources.files.numbers import EIGHT_BITS, WIDTHS
from mhc_diag.sources.printable import printable

if TYPE_CHECKING:
    import numpy as np

BLOCK = 128
MOST_NUMBERS = 1 << 27
"""Of a tensor that is read: a hundred times the largest mixing parameter of any model yet."""
NARROW = frozenset(EIGHT_BITS) | {"int8", "uint8", "int32", "float4_e2m1fn_x2", "float6_e2m3", "float6_e3m2"}
"""Dtypes of weights that scales belong to."""


def scales_beside(entries: Mapping[str, Entry]) -> dict[str, tuple[str, ...]]:
    """The tensors that scale another one, by the name of that one.

    Example:
        >>> narrow, wide = Entry((4, 4), "float8_e4m3fn"), Entry((1, 1), "float32")
        >>> scales_beside({"a.weight": narrow, "a.weight_scale_inv": wide, "b": wide, "b_scale": wide})
        {'a.weight': ('a.weight_scale_inv',)}
    """
    return {
        name: found
        for name, entry in entries.items()
        if entry.dtype in NARROW and (found := tuple(s for s in _siblings(name) if s in entries))
    }


def check(name: str, entries: Mapping[str, Entry], scales: Mapping[str, tuple[str, ...]], where: str) -> None:
    """Let a tensor pass whose numbers can be read.

    Args:
        name: the tensor.
        entries: everything in the file.
        scales: what `scales_beside` found.
        where: what to call the file.

    Raises:
        MhcDiagError: its dtype has no numbers of its own, its scale does not fit, or no mixing is that large.

    Example:
        >>> check("mix", {"mix": Entry((2, 2), "float32")}, {}, "x.pt")
    """
    entry, beside = entries[name], scales.get(name, ())
    what = f"{where}: {printable(name)} is {entry.dtype}"
    if entry.dtype not in WIDTHS:
        packed = f", scaled by {printable(beside[0])}, and how it was packed is not known" if beside else ""
        raise MhcDiagError(
            f"{what}{packed}, expected one of {', '.join(sorted(WIDTHS))}",
            hint="save the mixing parameters in float32",
        )
    if math.prod(entry.shape) > MOST_NUMBERS:
        raise MhcDiagError(
            f"{where}: {printable(name)} has the shape {entry.shape}, "
            f"expected at most {MOST_NUMBERS} numbers in a mixing parameter",
            hint="do not trust this file, unless a model has mixing parameters of half a gigabyte each",
        )
    if len(beside) > 1:
        raise MhcDiagError(
            f"{what} with {len(beside)} scales beside it, {printable(' and '.join(beside))}",
            hint="save the mixing parameters in float32",
        )
    for scale in beside:
        found = entries[scale]
        if found.dtype not in WIDTHS or _kind(entry.shape, found.shape) is None:
            raise MhcDiagError(
                f"{what} {entry.shape} with the scale {printable(scale)} of {found.dtype} {found.shape}, "
                f"expected one number, one a row, or one for each {BLOCK} x {BLOCK} block",
                hint="save the mixing parameters in float32",
            )


def scaled(numbers: np.ndarray[Any, Any], scale: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The numbers times their scale, of a shape that `check` let pass; float32 as the weight was.

    Example:
        >>> import numpy as np
        >>> scaled(np.ones((2, 3), np.float32), np.array([2, 3], np.float32)).tolist()
        [[2.0, 2.0, 2.0], [3.0, 3.0, 3.0]]
    """
    import numpy as np

    kind = _kind(numbers.shape, scale.shape)
    if kind == "all":
        return numbers * scale.reshape(())
    if kind == "rows":
        return numbers * scale.reshape(-1, *[1] * (numbers.ndim - 1))
    rows, columns = numbers.shape
    spread = np.repeat(np.repeat(scale, BLOCK, axis=0)[:rows], BLOCK, axis=1)[:, :columns]
    return numbers * spread


def unscaled(
    names: Iterable[str], entries: Mapping[str, Entry], scales: Mapping[str, Any]
) -> tuple[str, ...]:
    """A note on those that are stored in float8 without a scale, where there are any.

    Example:
        >>> unscaled(["mix"], {"mix": Entry((2, 2), "float8_e5m2")}, {})
        ('1 tensors in float8 without a scale beside them are read as they stand, first mix',)
    """
    bare = [name for name in names if entries[name].dtype in EIGHT_BITS and name not in scales]
    if not bare:
        return ()
    return (
        f"{len(bare)} tensors in float8 without a scale beside them are read as they stand, "
        f"first {printable(bare[0])}",
    )


def _siblings(name: str) -> tuple[str, ...]:
    """Names that a scale of a tensor goes by."""
    stem = name.removesuffix(".weight")
    return (
        f"{name}_scale_inv",
        f"{name}_scale",
        f"{name}.scale",
        *([f"{stem}.scale"] if stem != name else []),
    )


def _kind(shape: tuple[int, ...], scale: tuple[int, ...]) -> str | None:
    """How a scale is spread over a tensor, if it is at all."""
    if all(length == 1 for length in scale):
        return "all"
    if shape and scale in {shape[:1], (shape[0], *[1] * (len(shape) - 1))}:
        return "rows"
    if len(shape) == 2 and scale == tuple(-(-length // BLOCK) for length in shape):
        return "blocks"
    return None
