"""Reads: the places at which tangents end, as rows over the streams, and what was computed from them."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from mhc_diag.sources.probe.bases import Signal
from mhc_diag.sources.probe.codes import Code
from mhc_diag.sources.probe.layout import Labels, decode, encode, flattened
from mhc_diag.sources.probe.memory import Memory, Shadow
from mhc_diag.sources.probe.storages import Storages

TOLERANCE = 1e-5
"""Largest spread over the channels with which a read counts as linear, relative to its largest entry or 1."""
PENDING = 4
"""Reads that are kept, in case that the streams that a norm or a layer made turn out to be a path."""

Place: TypeAlias = tuple[int, tuple[int, ...], tuple[int, ...], int]


@dataclass(eq=False)
class Read:
    """One place at which the tangents of a code ended."""

    code: Code
    order: Labels | None = None
    """How tokens and channels lie in what was read."""
    row: Tensor | None = None
    """(T, n): the weights of the streams; None where it is no such row, or is not known."""
    pending: Signal | None = None

    def settle(self) -> None:
        """Take the row from the tangents."""
        signal, self.pending = self.pending, None
        if signal is None or self.order is None:
            return
        if self.code.streams == 1 and signal.tangent.data_ptr() == encode(self.order).data_ptr():
            self.row = signal.tangent.new_ones(self.code.space.tokens, 1)  # as they began
        else:
            matrix, spread = decode(flattened(signal.tangent), self.order, self.code.streams)
            row = matrix[:, 0]
            finite = row.isfinite().all(dim=1)
            largest = row.abs().amax(dim=1).clamp(min=1.0)
            if bool((spread <= TOLERANCE * largest)[finite].all()):
                self.row = row.masked_fill(~finite[:, None], torch.nan)


@dataclass(eq=False)
class _Note:
    reads: int = 0


class Reads:
    """Which reads memory was computed from, as sets of bits by their numbers."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._all: list[Read] = []
        self._notes = Storages(_Note)
        self._seen: weakref.WeakKeyDictionary[Shadow, dict[Place, int]] = weakref.WeakKeyDictionary()
        self._of_code: dict[Code, int] = {}
        self._pending: deque[Read] = deque()

    def of(self, tensors: Sequence[Tensor]) -> int:
        """The reads that tensors were computed from, and those that they are if a tangent ends here."""
        reads = 0
        for tensor in tensors:
            shadow = self._memory.shadow(tensor)
            if shadow is not None and tensor.is_floating_point():
                reads |= 1 << self._number(shadow, tensor)
        return reads | self.noted(tensors)

    def noted(self, tensors: Iterable[Tensor]) -> int:
        """The reads that tensors were computed from."""
        reads = 0
        for tensor in tensors:
            note = self._notes.get(tensor)
            if note is not None:
                reads |= note.reads
        return reads

    def note(self, tensor: Tensor, reads: int) -> None:
        """Note what a tensor was computed from; whole numbers carry no part of the streams any further."""
        note = self._notes.make(tensor)
        if note is not None:
            note.reads = reads if tensor.is_floating_point() else 0

    def begun(self, code: Code, reads: int) -> None:
        """Note what streams were computed from that a norm or a layer made."""
        self._of_code[code] = reads

    def anything(self) -> int:
        """What was computed from nobody knows what of the streams so far."""
        self._all += [Read(code) for code in self._memory.codes]
        return (1 << len(self._all)) - 1

    def reached(self, reads: int, path: Code) -> list[Read]:
        """Of reads, and of those that lie before them, the ones at points of the path to a code."""
        points = set(path.ancestry())
        found: dict[Read, None] = {}
        seen, left = 0, reads
        while left:
            seen |= left
            further = 0
            for read in self._numbered(left):
                if read.code in points:
                    read.settle()
                    found[read] = None
                else:
                    further |= self._before(read, points, found)
            left = further & ~seen
        return list(found)

    def _before(self, read: Read, points: set[Code], found: dict[Read, None]) -> int:
        """The reads from which streams beside the path came, unless they came straight from it."""
        if read.code in self._of_code:
            return self._of_code[read.code]
        read.settle()
        row = read.row
        for code in read.code.ancestry():
            if code in points:
                found[Read(code, read.order, row)] = None
                return 0
            if code in self._of_code:
                return self._of_code[code]
            through = None if code.site or code.fit is not None else code.matrix
            row = None if row is None or through is None else (row[:, None] @ through)[:, 0]
        return 0

    def _numbered(self, reads: int) -> Iterator[Read]:
        while reads:
            lowest = reads & -reads
            yield self._all[lowest.bit_length() - 1]
            reads ^= lowest

    def _number(self, shadow: Shadow, tensor: Tensor) -> int:
        where = (shadow.code.number, tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()))
        known = self._seen.setdefault(shadow, {})
        if where not in known:
            known[where] = len(self._all)
            self._all.append(self._read(shadow.code, self._memory.read(tensor)))
        return known[where]

    def _read(self, code: Code, signal: Signal | None) -> Read:
        slots = code.space.tokens * code.space.channels
        if signal is None or not signal.complete or signal.label.numel() != slots:
            return Read(code)
        order = self._memory.labels(signal.label, code.space)
        if order.streams != 1:
            return Read(code)
        read = Read(code, order, pending=signal)
        if not code.tentative:
            read.settle()
            return read
        self._pending.append(read)
        if len(self._pending) > PENDING:
            self._pending.popleft().pending = None
        return read
