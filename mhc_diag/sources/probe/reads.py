"""How branches read the streams: rows h of weights, known where a branch starts from one linear sum of them.

Where a tangent ends, what it had become by then is what was read. Every tensor without a tangent keeps the
set of the reads that it was computed from, as bits by their numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias
from weakref import WeakKeyDictionary

from torch import Tensor

from mhc_diag.sources.probe.bases import Signal
from mhc_diag.sources.probe.codes import Code
from mhc_diag.sources.probe.layout import decode, encode, flattened
from mhc_diag.sources.probe.memory import Memory, Shadow
from mhc_diag.sources.probe.storages import Storages

TOLERANCE = 1e-5
"""Largest spread of a row over channels, relative to its largest entry, and difference of rows that agree."""

ANYTHING = 1
"""The set of the read that stands for any."""

Place: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], int] | None


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """What an operation that ends the tangents was given of the streams."""

    code: Code | None
    """The basis of the row; None for what may be made of any streams."""
    row: Tensor | None = None
    """(T, n): the weight of each stream; None where it is no such sum, such as one with gates a channel."""
    label: Tensor | None = None
    """Labels of what was read: where in it each token and channel lies."""


@dataclass(frozen=True, slots=True, eq=False)
class Agreed:
    """One read that stands for all that a branch was made of."""

    row: Tensor | None = None
    """(T, n); None where there is no such read."""
    basis: Code | None = None
    """The streams that it is a row over."""
    read: Read | None = None
    why: str = ""
    """Why there is none."""


@dataclass(eq=False)
class _Note:
    made_of: int = 0
    """Of memory with tangents: what its parts without tangents were computed from."""


class Reads:
    """All reads, and which of them each tensor was computed from."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._notes = Storages(_Note)
        self._found: list[Read] = [Read(None)]
        self._before: dict[Code, int] = {}
        """What was read to make streams that only a norm or a layer made: they may be those of a branch."""
        self._closed: dict[Code, int] = {}
        self._whole: dict[Code, int] = {}
        self._known: WeakKeyDictionary[Shadow, dict[Place, tuple[Tensor, int]]] = WeakKeyDictionary()

    def made_of(self, tensors: Iterable[Tensor]) -> int:
        """The reads of an operation on these tensors, and those before it that led to them.

        A sum of streams with coefficients is one read, whatever its coefficients were computed from.
        """
        made_of = 0
        for tensor in tensors:
            signal, note = self._memory.read(tensor), self._notes.get(tensor)
            if signal is not None:
                made_of |= 1 << self._read(tensor, signal)
                made_of |= self._of_code(signal.code)
            if (signal is None and self._memory.depends(tensor)) or (signal and not signal.complete):
                made_of |= ANYTHING if note is None else note.made_of
        return made_of

    def beside(self, tensors: Iterable[Tensor], passed: Signal) -> int:
        """Of what goes into an operation that passes tangents on, the reads of what has no tangents after it.

        A coefficient is no part of that: what is made of the streams with it is a read of its own.
        """
        if passed.complete:
            return 0
        apart = []
        for tensor in tensors:
            signal = self._memory.read(tensor)
            if signal is None or not signal.complete or signal.code is not passed.code:
                apart.append(tensor)
        return self.made_of(apart)

    def ended(self, tensor: Tensor, made_of: int) -> None:
        """Note which reads a tensor comes of whose tangents end, or start afresh after a norm or a layer."""
        self._add(tensor, made_of)
        shadow = self._memory.shadow(tensor)
        if shadow is not None and shadow.code.broken:
            self._before[shadow.code] = made_of

    def passed(self, tensor: Tensor, passed: Signal, beside: int) -> None:
        """Note that tangents were passed to a tensor, and what is beside them."""
        now = self._memory.read(tensor)
        lost = bool((passed.label >= 0).any()) if now is None else passed.complete and not now.complete
        self._add(tensor, ANYTHING if lost else beside)

    def _add(self, tensor: Tensor, made_of: int) -> None:
        note = self._notes.make(tensor)
        if note is not None:
            whole = tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()
            note.made_of = made_of if whole else note.made_of | made_of

    def of(self, made_of: int) -> Iterator[Read]:
        """The reads of a set."""
        while made_of:
            lowest = made_of & -made_of
            yield self._found[lowest.bit_length() - 1]
            made_of ^= lowest

    def _of_code(self, code: Code) -> int:
        """What was read to make these streams, where a norm or a layer did, and those that they come from."""
        if code not in self._closed:
            above = 0 if code.parent is None else self._of_code(code.parent)
            self._closed[code] = self._before.get(code, 0) | above
        return self._closed[code]

    def _read(self, tensor: Tensor, signal: Signal) -> int:
        """The number of the read of this tensor, decoded once for each memory or view of a larger one."""
        shadow = self._memory.shadow(tensor)
        assert shadow is not None  # it has a signal
        slots = signal.code.space.tokens * signal.code.space.channels
        whole = shadow.labels.flat.numel() == slots and shadow.labels.complete
        place = None if whole else (tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()))
        if not signal.complete or (not whole and tensor.numel() != slots):
            return self._unreadable(signal.code)
        known = self._known.setdefault(shadow, {})
        if place not in known or known[place][0] is not shadow.tangent:
            part = shadow if whole else signal
            label = signal.label if tensor.numel() == slots else shadow.labels.flat
            known[place] = (shadow.tangent, self._decoded(part, label))
        return known[place][1]

    def _decoded(self, part: Shadow | Signal, label: Tensor) -> int:
        code = part.code
        labels = part.labels if isinstance(part, Shadow) else self._memory.labels(part.label, code.space)
        if labels.streams != 1:
            return self._unreadable(code)
        flat = flattened(part.tangent)
        if code.streams == 1 and flat.data_ptr() == encode(labels).data_ptr():  # the stream as it is
            return self._new(Read(code, flat.new_ones(code.space.tokens, 1), label))
        matrix, spread = decode(flat, labels, code.streams)
        row = matrix[:, 0]
        finite = row.isfinite().all(dim=1)
        sure = bool((spread[finite] <= TOLERANCE * largest(row[finite])).all())
        return self._new(Read(code, row, label)) if sure else self._unreadable(code)

    def _unreadable(self, code: Code) -> int:
        if code not in self._whole:
            self._whole[code] = self._new(Read(code))
        return self._whole[code]

    def _new(self, read: Read) -> int:
        self._found.append(read)
        return len(self._found) - 1


def largest(row: Tensor) -> Tensor:
    """The largest absolute entry; 0 where there is none.

    Example:
        >>> largest(torch.tensor([[1.0, -3.0]])).item(), largest(torch.empty(0, 2)).item()
        (3.0, 0.0)
    """
    return row.abs().amax() if row.numel() else row.new_zeros(())


def agreed(reads: Iterable[Read], site: Code) -> Agreed:
    """The one row with which the branch of a site reads the streams, or why there is none.

    Of reads at several sites the latest count: what was read before, such as by attention whose keys are
    those of an earlier layer, is no read of the streams that the branch is added to.
    """
    bases = {code.basis for code in site.ancestry() if code.site}
    at: dict[Code, list[tuple[Tensor | None, Read]]] = {}
    for read in reads:
        if read.code is None:
            return Agreed(
                why="it may be made of what a kernel wrote out of sight, or of streams that were lost"
            )
        found = _at(read, bases)
        if found is not None:
            at.setdefault(found[0], []).append((found[1], read))
    if not at:
        return Agreed(why="it does not read the streams of this path")
    basis = max(at, key=lambda code: code.number)
    rows = [row for row, _ in at[basis] if row is not None]
    if len(rows) < len(at[basis]):
        return Agreed(why="it reads the streams otherwise than as one sum with a weight for each")
    apart = [(row - rows[0]).abs().nan_to_num(0.0) for row in rows[1:]]
    if any(bool(largest(d) > TOLERANCE * largest(rows[0].nan_to_num(0.0))) for d in apart):
        return Agreed(why="it reads the streams in several ways", read=at[basis][0][1])
    return Agreed(rows[0], basis, at[basis][0][1])


def _at(read: Read, bases: set[Code | None]) -> tuple[Code, Tensor | None] | None:
    """A read as a row over the streams that come into a site of the path, if it is not a read elsewhere.

    What was read to make streams that start with a norm or a layer is on record as a read of its own.
    """
    row, code = read.row, read.code
    while code not in bases:
        if code is None or code.broken or code.matrix is None or code.spread is None:
            return None
        sure = not code.site and (code.fit is not None or bool((code.spread <= TOLERANCE).all()))
        row = (row[:, None] @ code.matrix)[:, 0] if row is not None and sure else None
        code = code.parent
    assert code is not None  # a site starts from some code
    return code, row
