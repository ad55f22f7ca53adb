"""In which ways tokens, streams and channels can lie in a tensor of which only the shape is known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mhc_diag.sources.probe.space import Space


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


def labellings(shape: Sequence[int], space: Space, streams: int) -> Iterator[Tensor]:
    """Labels of a tensor of which the shape is known, for every way in which it can hold so many streams.

    Example:
        >>> space = Space.of(torch.empty(2, 3, 4))
        >>> [label[0, 1, :, 0].tolist() for label in labellings((2, 3, 5, 4), space, 5)]
        [[4, 4, 4, 4, 4]]
    """
    sizes = (*space.token_shape, streams, space.channels)
    count = space.tokens * space.channels
    dtype = torch.int32 if count < 2**31 else torch.int64
    label = torch.arange(count, device=space.magnitudes.device, dtype=dtype)
    every = label.view(*space.token_shape, 1, space.channels).expand(sizes)
    for order in orders(shape, sizes):
        yield every.permute(order).reshape(tuple(shape))
