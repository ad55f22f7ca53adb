"""Whether an operation that scales its streams is a normalisation, told from what it gives."""

from __future__ import annotations

import math

import torch
from torch import Tensor

ENOUGH_TO_COMPARE = 4
"""With fewer tokens, lengths may agree by chance, and only the length 1 tells a normalisation."""


def normalises(matrix: Tensor, after: Tensor) -> bool:
    """Whether an operation gives all streams, or all tokens, one length that they lack without its factor.

    Such a factor is a statistic of the streams and no coefficient.

    Args:
        matrix: M, (T, m, n).
        after: what it gave, (T, C, m).
    """
    after = after.to(matrix.dtype)
    unscaled = after / matrix.norm(dim=2)[:, None].clamp(min=torch.finfo(matrix.dtype).tiny)
    return any(_levelled(unscaled, after, p, axes) for p in (1, 2, math.inf) for axes in ((1,), (1, 2)))


def _levelled(before: Tensor, after: Tensor, p: float, axes: tuple[int, ...]) -> bool:
    one, two = (torch.linalg.vector_norm(v, p, dim=axes).flatten() for v in (before, after))
    if before.shape[0] >= ENOUGH_TO_COMPARE:
        return bool(two.std() * one.mean() < 0.05 * one.std() * two.mean())
    rms = math.prod(after.shape[a] for a in axes) ** 0.5
    sizes = (1.0, rms) if p == 2 else (1.0,)
    return any(_is_one(two / size) and not _is_one(one / size) for size in sizes)


def _is_one(values: Tensor) -> bool:
    return bool(((values - 1).abs() < 1e-3).all())
