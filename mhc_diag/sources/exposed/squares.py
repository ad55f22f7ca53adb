"""Tensors that are seen as n x n matrices, and which rows of them belong to which tokens.

A tensor [*lead, n, n] or [*lead, n*n] holds one matrix for each element of its leading axes. These may be the
tokens, in the order of the measured operator or the other way round ([S,B] for [B,S]), one axis of them (a
matrix for each sample), or nothing (a static matrix).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Order = Literal["tokens", "reversed", "static", "first", "last"]
"""What the leading axes are. `first` and `last`: the first or the last axis of the tokens."""

LARGEST = 16


@dataclass(frozen=True, slots=True)
class Square:
    """How a tensor is seen as matrices."""

    lead: tuple[int, ...]
    n: int
    flat: bool
    """Whether a matrix is one trailing axis of n*n instead of two of n."""

    @property
    def count(self) -> int:
        """Number of matrices."""
        return math.prod(self.lead)


def square(tensor: Tensor, streams: int = 0) -> Square | None:
    """How a tensor can be seen as matrices, if it can.

    Args:
        tensor: any.
        streams: n, where it is known: without it a trailing axis of n*n is not taken for a matrix.

    Example:
        >>> import torch
        >>> square(torch.ones(2, 3, 4, 4))
        Square(lead=(2, 3), n=4, flat=False)
        >>> square(torch.ones(2, 3, 16), streams=4)
        Square(lead=(2, 3), n=4, flat=True)
    """
    shape = tuple(tensor.shape)
    if not tensor.is_floating_point() or not shape or not tensor.numel() or tensor.is_meta:
        return None
    n = shape[-1]
    if len(shape) > 1 and shape[-2] == n and 2 <= n <= LARGEST and streams in (0, n):
        return Square(shape[:-2], n, False)
    if 2 <= streams <= LARGEST and n == streams * streams:
        return Square(shape[:-1], streams, True)
    return None


def even(count: int, limit: int) -> list[int]:
    """At most `limit` of `count` places, evenly spread, the first of them included.

    Example:
        >>> even(10, 4)
        [0, 2, 5, 7]
    """
    take = min(count, limit)
    return [k * count // take for k in range(take)]


def picked(tensor: Tensor, form: Square, index: Tensor) -> Tensor:
    """Matrices by their number, (K, n, n), in memory of their own.

    Of a DTensor that is sharded, all ranks have to take them together.
    """
    import torch

    lead = tensor.detach()
    if hasattr(lead, "full_tensor"):  # a DTensor, which every rank holds a shard of
        lead = lead.full_tensor()
    lead = lead.reshape(*form.lead, form.n, form.n) if form.flat else lead
    if not form.lead:
        return lead[None].clone()
    return lead[torch.unravel_index(index, form.lead)]


def orders(form: Square, token_shape: tuple[int, ...]) -> Iterator[Order]:
    """What the leading axes can be, given the shape of the tokens.

    Example:
        >>> [*orders(Square((3, 2), 4, False), (2, 3))]
        ['tokens', 'reversed']
        >>> [*orders(Square((2,), 4, False), (2, 3))]
        ['first']
    """
    count, tokens = form.count, math.prod(token_shape)
    if count == tokens:
        yield "tokens"
        lead, shape = ([s for s in sizes if s > 1] for sizes in (form.lead, token_shape))
        if len(lead) > 1 and lead == shape[::-1]:
            yield "reversed"
    elif count == 1:
        yield "static"
    elif len(token_shape) > 1:
        if count == token_shape[0]:
            yield "first"
        if count == token_shape[-1]:
            yield "last"


def rows_of_tokens(form: Square, order: Order, tokens: Tensor, total: int) -> Tensor:
    """The number of the matrix that belongs to each token.

    Args:
        form: how the tensor is seen.
        order: what its leading axes are.
        tokens: (K) numbers of tokens.
        total: how many tokens there are.
    """
    import torch

    match order:
        case "tokens":
            return tokens
        case "reversed":
            where = torch.unravel_index(tokens, form.lead[::-1])
            row = torch.zeros_like(tokens)
            for size, at in zip(form.lead, where[::-1], strict=True):
                row = row * size + at
            return row
        case "first":
            return tokens // (total // form.count)
        case "last":
            return tokens % form.count
        case "static":
            return torch.zeros_like(tokens)
