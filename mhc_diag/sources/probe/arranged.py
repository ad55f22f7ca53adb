"""In which ways tokens, streams and channels can lie in a tensor of which only the shape is known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from torch import Tensor


def orders(shape: Sequence[int], sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """All orders of axes of these sizes in which they can make up a shape.

    Neighbouring axes may be one dimension of the shape, and one axis may be several neighbouring dimensions.
    Axes of size 1 come first in an order, since it does not matter where they are.

    Example:
        >>> list(orders((6, 4, 16), (2, 3, 4, 16)))
        [(0, 1, 2, 3), (1, 0, 2, 3)]
        >>> list(orders((2, 3, 16), (6, 1, 16)))
        [(1, 0, 2)]
    """
    single = tuple(i for i, size in enumerate(sizes) if size == 1)
    left = tuple(i for i, size in enumerate(sizes) if size != 1)
    if math.prod(shape) == math.prod(sizes):
        for order in _orders([s for s in shape if s != 1], left, sizes):
            yield (*single, *order)


def _orders(dims: list[int], left: tuple[int, ...], sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    if not left:
        yield ()
        return
    for i in left:
        rest = tuple(k for k in left if k != i)
        if dims[0] % sizes[i] == 0:  # an axis, or the first of those that share a dimension
            over = dims[0] // sizes[i]
            yield from ((i, *more) for more in _orders([over, *dims[1:]][over == 1 :], rest, sizes))
            continue
        spanned, count = 1, 0
        while count < len(dims) and spanned < sizes[i]:
            spanned, count = spanned * dims[count], count + 1
        if spanned == sizes[i]:
            yield from ((i, *more) for more in _orders(dims[count:], rest, sizes))


def to_tokens(tensor: Tensor, sizes: Sequence[int], order: Sequence[int]) -> Tensor:
    """A tensor whose axes lie in this order, as (tokens, streams, channels): the last two sizes are these."""
    split = tensor.reshape([sizes[i] for i in order])
    sorted_axes = split.permute([order.index(i) for i in range(len(sizes))])
    return sorted_axes.reshape(-1, *sizes[-2:])


def from_tokens(values: Tensor, sizes: Sequence[int], order: Sequence[int], shape: Sequence[int]) -> Tensor:
    """The inverse of `to_tokens`: (tokens, streams, channels) as a tensor of a shape."""
    return values.reshape(tuple(sizes)).permute(tuple(order)).reshape(tuple(shape))
