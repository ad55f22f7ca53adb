"""Where in a tensor each channel of each stream of each token lies, found without being told.

Every element of a tracked tensor carries a label: token * channels + channel. A tensor that holds m elements
with each label holds m streams; which stream an element belongs to is its place among the elements with its
label, in the order of memory. That makes all layouts alike: [B,S,n,C], [B,n,S,C], [(B n),S,C], [S,B,n*C].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from mhc_diag.sources.probe.space import Space

BLANK = -1
"""The label of an element that has nothing of the streams."""
CUT = -2
"""The label of an element that was computed from the streams and carries no tangent."""
BLOCK = 2**17
"""Elements that are decoded at a time: what a processor's own cache holds."""


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of one block of memory, in the order of memory, and what follows from them."""

    flat: Tensor
    space: Space

    @cached_property
    def complete(self) -> bool:
        """Whether every element is tracked."""
        return self.strides is not None or bool((self.flat >= 0).all())

    @cached_property
    def streams(self) -> int:
        """Number of streams m, or 0 where the elements are not m of each label.

        Or where they do not lie in the same way for each label: then some streams were moved to other tokens
        or channels, and the place of an element would not say which stream it belongs to.
        """
        slots = self.space.tokens * self.space.channels
        count = self.flat.numel()
        if not count or count % slots:
            return 0
        if self.strides is not None:
            return count // slots
        sorted_labels = self.flat.sort().values.view(slots, -1)
        expected = torch.arange(slots, device=self.flat.device, dtype=self.flat.dtype)
        if not bool((sorted_labels == expected[:, None]).all()):
            return 0
        order = torch.argsort(self.flat, stable=True).view(slots, -1)
        apart = order - order[:, :1]
        return count // slots if bool((apart == apart[0]).all()) else 0

    @cached_property
    def order(self) -> Tensor:
        """(T, C, m): where in memory channel c of stream i of token t lies."""
        order = torch.argsort(self.flat, stable=True)
        return order.view(self.space.tokens, self.space.channels, self.streams)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of (each axis of tokens, channel, stream)."""
        slots = self.space.tokens * self.space.channels
        return (*self.space.token_shape, self.space.channels, self.flat.numel() // slots)

    @cached_property
    def strides(self) -> tuple[int, ...] | None:
        """Strides of `sizes` where memory is regular, so that neither sorting nor a gather is needed."""
        slots = self.space.tokens * self.space.channels
        count = self.flat.numel()
        if not count or count % slots or self.flat[0] != 0 or self.flat[-1] != slots - 1:
            return None
        slot = torch.arange(slots, device=self.flat.device, dtype=self.flat.dtype)
        expected = slot.view(*self.sizes[:-1], 1)
        found = [self._place(label, 0) for label in expected.stride()[:-1]]
        found.append(self._place(0, 1))
        found = [step if size > 1 else 0 for size, step in zip(self.sizes, found, strict=True)]
        if sum((size - 1) * step for size, step in zip(self.sizes, found, strict=True)) != count - 1:
            return None
        regular = bool((self.flat.as_strided(self.sizes, found) == expected).all())
        return tuple(found) if regular else None

    def _place(self, label: int, occurrence: int) -> int:
        """Where a label stands in memory for the first time, or later; 0 where it does not."""
        places = (self.flat == label).nonzero()
        return int(places[occurrence]) if len(places) > occurrence else 0

    @cached_property
    def code(self) -> Tensor:
        """See `encode`, which shares it: nothing writes into tangents."""
        space, m, device = self.space, self.streams, self.flat.device
        marks, magnitudes = (v.to(device)[:, None] for v in (space.marks(m), space.magnitudes))
        stream = torch.arange(m, device=device)
        turns = [torch.where((marks + turn) % m == stream, magnitudes, 0.0) for turn in range(m)]
        return self.scatter(torch.stack(turns)[space.turns(device) % m])

    def gather(self, tangent: Tensor) -> Tensor:
        """Tangents of this memory as (T, C, m)."""
        if self.strides is not None:
            shape = (self.space.tokens, self.space.channels, self.streams)
            return tangent.as_strided(self.sizes, self.strides).reshape(shape)
        return tangent[self.order]

    def scatter(self, values: Tensor) -> Tensor:
        """The inverse of `gather`: (T, C, m) into the order of memory."""
        tangent = torch.empty(self.flat.shape, dtype=values.dtype, device=values.device)
        if self.strides is not None:
            tangent.as_strided(self.sizes, self.strides).copy_(values.reshape(self.sizes))
        else:
            tangent[self.order] = values
        return tangent


def of_some_tokens(space: Space, flat: Tensor) -> tuple[Labels, Tensor]:
    """Labels of elements of some tokens, counted from 0, and the numbers of these tokens."""
    tokens, counted = torch.unique(flat // space.channels, return_inverse=True)
    renumbered = (counted * space.channels + flat % space.channels).to(flat.dtype)
    return Labels(renumbered, replace(space, token_shape=(len(tokens),), numbers=tokens)), tokens


def flattened(values: Tensor) -> Tensor:
    """Values in the order of their axes, from the start of their memory, where `as_strided` counts from."""
    flat = values.contiguous().view(-1)
    return flat.clone() if flat.storage_offset() else flat


def alike(label: Tensor, axis: int) -> bool:
    """Whether labels do not change along an axis: then a sum along it runs over streams alone."""
    if label.shape[axis] <= 1 or label.stride(axis) == 0:
        return True
    first = label.narrow(axis, 0, 1)
    if bool(first.flatten()[0] != label.narrow(axis, 1, 1).flatten()[0]):  # the common case, at once
        return False
    return bool((label == first).all())


def encode(labels: Labels) -> Tensor:
    """A fresh code: stream j's tangent is non-zero only on the channels that mark it, every m-th one.

    Mixing acts alike on every channel, so that one pass carries all m columns of M side by side.
    """
    return labels.code


def decode(tangent: Tensor, labels: Labels, streams: int) -> tuple[Tensor, Tensor]:
    """Read M off the tangents.

    Formula: channel c of output stream i holds M_ij r_c, where j is the stream that c marks; M_ij is the mean
    over the channels that mark j, and the spread is the largest deviation from it, which bounds its error.
    From token to token each channel marks the next stream.

    Returns:
        M (T, m, n), and the spread (T), both where the path began if a model lies on several devices.
    """
    gathered = labels.gather(tangent)
    tokens = max(1, BLOCK // max(1, gathered[0].numel()))
    marks = labels.space.marks(streams).to(tangent.device)
    blocks = [_decode(block, labels.space, streams, marks) for block in torch.split(gathered, tokens)]
    matrices, spreads = zip(*blocks, strict=True)
    matrix = matrices[0] if len(blocks) == 1 else torch.cat(matrices)
    spread = spreads[0] if len(blocks) == 1 else torch.cat(spreads)
    place = torch.arange(streams, device=matrix.device) - labels.space.turns(matrix.device)[:, None]
    matrix = matrix.gather(2, (place % streams)[:, None, :].expand_as(matrix))
    where = labels.space.magnitudes.device
    return matrix.to(where), spread.to(where)


def _decode(gathered: Tensor, space: Space, streams: int, marks: Tensor) -> tuple[Tensor, Tensor]:
    """`decode` of some tokens (T, C, m)."""
    values = gathered * space.reciprocals.to(gathered.device)[:, None]
    first = values[:, :streams]  # the first n channels mark the streams in order
    if space.channels >= 2 * streams and _repeats(values, first, marks):  # the common case: nothing rounded
        return (first + 0.0).mT.contiguous(), first.new_zeros(len(first))
    values = values[:, space.in_turn(streams).to(values.device)]
    columns, spreads = [], []
    for j in range(streams):
        of_class = values[:, j::streams, :]
        mean = of_class[:, :1, :] + (of_class - of_class[:, :1, :]).mean(dim=1, keepdim=True)
        columns.append(mean[:, 0, :])
        spreads.append((of_class - mean).abs().amax(dim=(1, 2)))
    return torch.stack(columns, dim=-1), torch.stack(spreads, dim=-1).amax(dim=-1)


def _repeats(values: Tensor, first: Tensor, marks: Tensor) -> bool:
    """Whether all channels of (T, C, m) are finite and, to the last digit, the first that mark their stream.

    Marks repeat after n turns of n channels, which saves laying out what is expected of all channels.
    """
    period = first.shape[1] ** 2
    whole = values.shape[1] // period * period
    expected = first[:, marks[:period]]
    turns = values[:, :whole].reshape(len(values), -1, period, values.shape[2])
    rest = first[:, marks[whole:]]
    repeated = bool((turns == expected[:, None]).all()) if whole else True
    return repeated and bool((values[:, whole:] == rest).all()) and bool(first.isfinite().all())
