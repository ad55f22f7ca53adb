"""Rows and columns normalised in turn, by divisions, or in logarithms where divisions would lose digits.

The bits of a matrix depend on nothing around it: not on its batch, the blocks or the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mhc_diag.maths.blocks import blocks_of, each, lines, total
from mhc_diag.maths.namespace import contiguous, namespace
from mhc_diag.records import Array

Step = tuple[Callable[..., Array], Array, Array, Array]  # an operation on two arrays, and where to write
OVER_ROWS, OVER_COLUMNS = 0, 1  # the axis of planes to sum over, which gives the sum of each column or row
LINEAR_RANGE = {8: 340.0, 4: 43.0}  # logit range up to which divisions keep every digit, by item size
STEEP_RANGE = {8: 32.0, 4: 16.0}  # from here on the rounding of their differences shows in the last digits
QUARTER = 0.25  # of any two logits the difference fits; a power of two changes no digit


@dataclass(frozen=True, slots=True)
class Rules:
    """What an iteration is: which axis comes first, and what guards the denominators."""

    first: int
    second: int
    eps: float
    floor: bool
    """Whether eps is the least that a denominator can be; otherwise it is added to it."""
    after: bool
    """Whether eps is added to the result of the first normalisation instead of its denominator."""


class Batch:
    """Matrices (*B, n, n) on their way from their logits to doubly stochastic ones, as planes in blocks."""

    def __init__(self, logits: Array, rules: Rules) -> None:
        xp = namespace(logits)
        flat = xp.reshape(logits, (-1, *logits.shape[-2:]))
        cuts = blocks_of(flat) or [slice(0, 0)]
        flat = xp.permute_dims(flat, (1, 2, 0))
        self._shape = logits.shape
        self._numpy = xp.__name__ == "numpy"  # torch has threads of its own
        self._room = None  # with gradients nothing can be done in place
        if not getattr(logits, "requires_grad", False):
            self._room = xp.empty(flat.shape, dtype=flat.dtype, device=flat.device)
        rooms = [None if self._room is None else self._room[..., cut] for cut in cuts]
        self._blocks = [
            (cut, _Block(flat[..., cut], room, rules)) for cut, room in zip(cuts, rooms, strict=True)
        ]

    def iterate(self, count: int, *, copy: bool) -> Array:
        """The matrices (*B, n, n) after `count` more iterations; without `copy`, changed by the next call."""
        xp = namespace(self._blocks[0][1].m)
        room = self._room
        if room is not None and copy:
            room = xp.empty(room.shape, dtype=room.dtype, device=room.device)

        def run(item: tuple[slice, _Block]) -> None:
            cut, block = item
            block.iterate(count)
            if room is not None:
                block.write(room[..., cut], copy=copy)

        each(run, self._blocks, threads=self._numpy)
        if room is None:
            room = xp.concat([block.m for _, block in self._blocks], axis=-1)
            for cut, block in self._blocks:
                block.write(room[..., cut], copy=False)
        made = xp.reshape(xp.permute_dims(room, (2, 0, 1)), self._shape)
        return made if self._numpy else contiguous(made)


class _Block:
    """Some matrices (n, n, b) of a batch. Those that are too wide for divisions are held in logarithms."""

    def __init__(self, logits: Array, room: Array | None, rules: Rules) -> None:
        self.m, self.wide, self.logs = logits, None, None
        self._room, self._rules, self._begun = room, rules, False
        self._steps: dict[int, list[Step]] = {}

    def iterate(self, count: int) -> None:
        rules = self._rules
        for _ in range(count):
            if self._begun:
                self._normalise(rules.first)
            else:
                self._begin()
            self._normalise(rules.second)
        for _ in range(0 if self.wide is None else count):
            self.logs = _in_logarithms(_in_logarithms(self.logs, rules.first), rules.second)

    def write(self, room: Array, *, copy: bool) -> None:
        """Put the matrices there; without `copy` those that were divided are there already."""
        if copy:
            room[...] = self.m
        if self.wide is not None:
            room[..., self.wide] = _exponential(self.logs)

    def _begin(self) -> None:
        """The exponential and the first normalisation, which cancels the shift by the maxima."""
        rules, xp = self._rules, namespace(self.m)
        self._begun = True
        self._put(self.m)
        top = xp.max(self.m, axis=rules.first, keepdims=True)
        steep = None if rules.eps else self._set_wide_aside(top)
        if self.wide is not None:
            top = xp.max(self.m, axis=rules.first, keepdims=True)
        lost = None if steep is None else _digits_lost(self.m, top, steep)
        if self._room is None:
            self.m = xp.exp(self.m - top)
        else:
            xp.subtract(self.m, top, out=self.m)
            xp.exp(self.m, out=self.m)
        if lost is not None:
            self._put(self.m * lost)
        if self._room is not None:
            self._steps = {axis: _steps(self.m, axis, rules) for axis in (OVER_ROWS, OVER_COLUMNS)}
        if rules.after:
            self._put(self.m / _beside(total(lines(self.m, rules.first)), rules.first) + rules.eps)
        else:
            self._normalise(rules.first)

    def _set_wide_aside(self, top: Array) -> Array | None:
        """Find what is too wide for divisions; returns which of the others are steep, if any are."""
        xp, size = namespace(self.m), self.m.dtype.itemsize
        quarter = xp.max(top, axis=(0, 1)) * QUARTER - xp.min(self.m, axis=(0, 1)) * QUARTER
        wide = quarter > LINEAR_RANGE.get(size, 0.0) * QUARTER
        steep = quarter > STEEP_RANGE.get(size, 0.0) * QUARTER
        if bool(xp.any(wide)):
            self.wide, self.logs = wide, self.m[..., wide] * QUARTER
            self._put(xp.where(wide, xp.zeros_like(self.m), self.m))
        return steep if bool(xp.any(steep)) else None

    def _normalise(self, axis: int) -> None:
        if self._room is None:
            self.m = _normalised(self.m, axis, self._rules)
        for operation, left, right, out in self._steps.get(axis, ()):
            operation(left, right, out=out)

    def _put(self, m: Array) -> None:
        """Go on with these numbers, in the memory of the batch or, for gradients, in their own."""
        if self._room is None:
            self.m = contiguous(m)
        else:
            self._room[...] = m
            self.m = self._room


def _normalised(m: Array, axis: int, rules: Rules) -> Array:
    """Planes divided by their sums over an axis."""
    sums = total(lines(m, axis))
    if rules.eps:
        sums = namespace(m).clip(sums, rules.eps, None) if rules.floor else sums + rules.eps
    return m / _beside(sums, axis)


def _steps(m: Array, axis: int, rules: Rules) -> list[Step]:
    """The same in place, as operations with all that they need, so that Python has little left to do."""
    xp = namespace(m)
    first, *others = lines(m, axis)
    sums, zeros, eps = xp.empty_like(first), xp.zeros_like(first), xp.full_like(first[:1, :1], rules.eps)
    steps: list[Step] = [(xp.add, first, others[0] if others else zeros, sums)]
    steps += [(xp.add, sums, line, sums) for line in others[1:]]
    if rules.eps:
        steps.append((xp.maximum if rules.floor else xp.add, sums, eps, sums))
    return [*steps, (xp.divide, m, _beside(sums, axis), m)]


def _digits_lost(m: Array, top: Array, steep: Array) -> Array:
    """What exp(m - top) is to be multiplied by for the digits that the difference loses (Knuth's two-sum)."""
    xp = namespace(m)
    difference = m - top
    taken = difference - m
    lost = (m - (difference - taken)) - (top + taken)
    return xp.where(steep, 1.0 + lost, xp.ones_like(lost))


def _in_logarithms(logs: Array, axis: int) -> Array:
    """Sums over an axis made 1."""
    xp = namespace(logs)
    logs = logs - xp.max(logs, axis=axis, keepdims=True)
    sums = total(lines(_exponential(logs), axis))
    return logs - _beside(xp.log(sums), axis) * QUARTER


def _beside(sums: Array, axis: int) -> Array:
    """Sums over an axis (n, b), to be divided by."""
    return sums[None, ...] if axis == OVER_ROWS else sums[:, None, :]


def _exponential(logs: Array) -> Array:
    xp = namespace(logs)
    return xp.exp(xp.clip(logs, -1000.0, None) / QUARTER)  # 0 below that, where the quotient might overflow
