"""The tokens and channels of a residual path, and the streams that its entry holds already."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Division:
    """Streams that an entry holds already: a digit of the numbers of its elements counts them.

    Elements are numbered token * channels + channel. Streams on an axis before the channels count in steps of
    `channels`, fractions of the channels in steps of a fraction, streams after the channels in steps of 1.
    """

    step: int
    streams: int

    def fits(self, count: int, channels: int) -> bool:
        """Whether numbers up to `count` have such a digit, within the channels or within the tokens."""
        block = self.step * self.streams
        return count % block == 0 and (channels % block == 0 or self.step % channels == 0)

    def without(self, numbers: Tensor) -> Tensor:
        """The numbers with that digit left out: alike where elements differ in their stream only."""
        block = self.step * self.streams
        return numbers.div(block, rounding_mode="floor") * self.step + numbers % self.step


@dataclass(frozen=True, eq=False)
class Space:
    """The tokens and channels of one residual path, and the magnitudes that mark its channels."""

    token_shape: tuple[int, ...]
    channels: int
    magnitudes: Tensor
    """(channels,): plus or minus a power of two each, so that dividing by them is exact."""
    divisions: tuple[Division, ...] = ()
    numbers: Tensor | None = None
    """Which tokens of a larger space these are, where they are not all of them."""

    def turns(self, device: torch.device) -> Tensor:
        """(T,): by how many places each token's streams are marked further on than the first token's.

        What a model does to one channel of one stream is seen at the tokens where that channel marks it.
        """
        return torch.arange(self.tokens, device=device) if self.numbers is None else self.numbers.to(device)

    @cached_property
    def reciprocals(self) -> Tensor:
        """(channels,): to multiply by, which for powers of two gives the same numbers as to divide."""
        return 1 / self.magnitudes

    @cached_property
    def tokens(self) -> int:
        """Number of tokens T."""
        return math.prod(self.token_shape)

    @property
    def streams(self) -> int:
        """Number of streams at the entry."""
        return math.prod(division.streams for division in self.divisions)

    @staticmethod
    def of(
        tensor: Tensor, axis: int = -1, before: Space | None = None, divisions: tuple[Division, ...] = ()
    ) -> Space:
        """The space of a tensor whose channels lie along an axis.

        Its tokens have the shape of those of the space before it, if they are as many. Divisions that do not
        fit the tensor are left out.
        """
        channels = int(tensor.shape[axis])
        shape = tuple(tensor.movedim(axis, -1).shape[:-1])
        if before is not None and before.tokens * channels == tensor.numel():
            shape = before.token_shape
        kept = []
        for division in divisions:
            if division.fits(math.prod(shape) * channels, channels):
                shape, channels = divided(shape, channels, division)
                kept.append(division)
        draw = torch.Generator().manual_seed(channels)
        powers = torch.randint(-2, 3, (channels,), generator=draw)
        signs = torch.randint(0, 2, (channels,), generator=draw) * 2 - 1
        magnitudes = torch.ldexp(signs.to(torch.float32), powers)
        dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
        return Space(shape, channels, magnitudes.to(tensor.device, dtype), tuple(kept))

    def in_turn(self, streams: int) -> Tensor:
        """(channels,): the channels in an order in which every n-th one marks the same stream.

        From n channels to the next n the streams are marked one place further on, so that what differs
        between even and odd channels, or with any other period that divides n, does so within one stream.
        """
        place = torch.arange(self.channels, device=self.magnitudes.device)
        turn = place.div(streams, rounding_mode="floor")
        whole = self.channels // streams * streams
        return torch.where(place < whole, turn * streams + (place - turn) % streams, place)

    def marks(self, streams: int) -> Tensor:
        """(channels,): the stream that each channel marks, of the first token; see `turns`."""
        return self.in_turn(streams).argsort() % streams

    def labels(self, like: Tensor, axis: int = -1) -> Tensor:
        """Labels of a tensor that has this space's tokens in order and its channels along an axis."""
        count = like.numel()
        dtype = torch.int32 if count < 2**31 else torch.int64
        ordered = torch.arange(count, device=like.device, dtype=dtype)
        for division in self.divisions:
            ordered = division.without(ordered)
        return ordered.view(like.movedim(axis, -1).shape).movedim(-1, axis)


def divided(shape: tuple[int, ...], channels: int, division: Division) -> tuple[tuple[int, ...], int]:
    """Token shape and number of channels once the streams are taken out."""
    if division == Division(1, channels) and shape:
        return shape[:-1], shape[-1]  # the stream axis comes last, after the channels
    if channels % (division.step * division.streams) == 0:
        return shape, channels // division.streams
    stride = channels
    for axis in reversed(range(len(shape))):
        size, within = shape[axis], division.step // stride
        if division.step % stride == 0 and size % (within * division.streams) == 0:
            rest = (size // division.streams,) if size > division.streams else ()
            return shape[:axis] + rest + shape[axis + 1 :], channels
        stride *= size
    return (math.prod(shape) // division.streams,), channels
