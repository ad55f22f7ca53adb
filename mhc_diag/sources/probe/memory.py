"""Shadow memory: for each block of a tensor's memory, the tangents of its elements and their labels.

Shadows belong to memory and not to tensors, so that views, slices, transposes and writes through any of them
need no rule at all: what shares memory shares its shadow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from mhc_diag.sources.probe.bases import Bases, Signal
from mhc_diag.sources.probe.codes import Code, shared
from mhc_diag.sources.probe.known import Known
from mhc_diag.sources.probe.layout import BLANK, CUT, Labels, decode, encode, flattened, of_some_tokens
from mhc_diag.sources.probe.space import Division, Space
from mhc_diag.sources.probe.storages import Storages

MOST_STREAMS = 64
MOST_DIVIDED = 16
"""Most streams that an entry is taken to hold already."""


Entry: TypeAlias = Callable[[int, Tensor, int], tuple[int, tuple[Division, ...]]]
"""From an entry's number, tensor and axis of channels to that axis and the streams that it holds."""


def as_it_is(_number: int, _tensor: Tensor, axis: int) -> tuple[int, tuple[Division, ...]]:
    """An entry of one stream."""
    return axis, ()


@dataclass(eq=False)
class Shadow:
    """The shadow of one block of memory."""

    tangent: Tensor
    labels: Labels
    code: Code
    itemsize: int


@dataclass(eq=False)
class _Entry:
    shadow: Shadow | None = None
    stage: int = 0
    made_of: int = 0
    lost: bool = False


class Memory:
    """The shadows of all memory that depends on the streams.

    `stage` of memory that depends on the streams without a tangent: 1 a power of the streams, 2 a statistic
    made of powers (such as their mean square), 0 anything else.
    """

    def __init__(self, entry: Entry | None = None) -> None:
        """Entry: says where the channels of an entry lie and which streams it holds already."""
        self._entries = Storages(_Entry)
        self._known: dict[Space, Known] = {}
        self._shadowed: dict[StorageWeakRef, _Entry] = {}
        self._entry = entry or as_it_is
        self.bases = Bases()
        self.codes = self.bases.codes
        self.spaces: list[Space] = []
        self.suspected: Counter[tuple[int, Division]] = Counter()
        """Sums that ran over what may be streams of an entry: its number, and which part of it."""

    def release(self) -> None:
        """Let go of the shadows of memory that the model let go of, and of labels of spaces without any."""
        gone = [
            ref
            for ref, entry in self._shadowed.items()
            if entry.shadow is None or ref.expired()  # type: ignore[no-untyped-call]
        ]
        for ref in gone:
            self._shadowed.pop(ref).shadow = None
        if gone:
            used = {e.shadow.code.space for e in self._shadowed.values() if e.shadow is not None}
            self._known = {space: known for space, known in self._known.items() if space in used}

    def depends(self, tensor: Tensor) -> bool:
        """Whether any element of the tensor was computed from the streams."""
        entry = self._entries.get(tensor)
        if entry is None or entry.shadow is None or entry.shadow.labels.complete:
            return entry is not None
        if entry.shadow.itemsize != tensor.element_size():
            return True
        where = (tensor.shape, tensor.stride(), tensor.storage_offset())
        return bool((entry.shadow.labels.flat.as_strided(*where) != BLANK).any())

    def stage(self, tensor: Tensor) -> int:
        """See the class."""
        entry = self._entries.get(tensor)
        return 0 if entry is None else entry.stage

    def lost(self, value: object) -> bool:
        """Whether a tensor is a part of the streams that could not be followed, and so no branch of them."""
        entry = self._entries.get(value) if isinstance(value, Tensor) else None
        return entry is not None and entry.lost

    def lose(self, tensor: Tensor) -> None:
        """Note that a tensor is linear in the streams and could not be followed."""
        entry = self._entries.get(tensor)
        if entry is not None:
            entry.lost = True

    def made_of(self, tensors: Iterable[Tensor]) -> int:
        """Which codes tensors were computed from, as a set of bits by their numbers."""
        made_of = 0
        for tensor in tensors:
            entry = self._entries.get(tensor)
            if entry is not None:
                made_of |= entry.made_of
                if entry.shadow is not None:
                    made_of |= 1 << entry.shadow.code.number
        return made_of

    def absorb(self, branch: Tensor, streams: Code) -> None:
        """Note that a branch joins streams: paths that lead into it are a part of it, however long."""
        own = sum(1 << code.number for code in streams.ancestry())
        self.bases.absorbed |= self.made_of([branch]) & ~own

    def trace(self, tensor: Tensor, made_of: int) -> None:
        """Note which codes a tensor was computed from."""
        entry = self._entries.get(tensor)
        if entry is not None:
            entry.made_of |= made_of

    def shadow(self, tensor: Tensor) -> Shadow | None:
        """The shadow of the tensor's whole memory."""
        entry = self._entries.get(tensor)
        return None if entry is None else entry.shadow

    def read(self, tensor: Tensor) -> Signal | None:
        """Tangents and labels of a tensor, or None where it is not tracked."""
        shadow = self.shadow(tensor)
        if shadow is None or shadow.itemsize != tensor.element_size() or not tensor.is_floating_point():
            return None  # whole numbers are not linear in the streams, whatever they were made from
        where = (tensor.shape, tensor.stride(), tensor.storage_offset())
        label = shadow.labels.flat.as_strided(*where)
        complete = shadow.labels.complete or bool((label >= 0).all())
        if not complete and bool((label < 0).all()):
            return None
        return Signal(shadow.tangent.as_strided(*where), label, shadow.code, complete)

    def write(self, tensor: Tensor, signal: Signal | None, *, stage: int = 0, blank: bool = False) -> bool:
        """Set the shadow of a tensor's memory; None means that it depends on the streams without a tangent.

        With `blank` as well, it means that a part of what depended on the streams no longer does.

        Returns:
            Whether streams of two different points of the path now lie side by side in this memory.
        """
        rest = BLANK if self._entries.get(tensor) is None else CUT
        entry = self._entries.make(tensor)
        if entry is None:
            return False
        entry.stage = stage
        old = entry.shadow
        whole = tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()
        entry.lost = entry.lost and not whole
        if whole or old is None:
            if signal is None:
                entry.shadow = None
                return False
            old = None
        merged = signal is not None and old is not None and signal.code is not old.code
        if merged:
            assert signal is not None and old is not None
            signal, old = self._beside(signal, old)
        code = signal.code if signal is not None else old.code if old is not None else None
        assert code is not None
        axes = _memory_order(tensor) if whole and signal is not None else None
        if axes is not None and signal is not None:
            tangent = flattened(signal.tangent.permute(axes))
            labels = self._labels(signal.label.permute(axes), code.space)
        else:
            tangent, flat = _patch(tensor, old, signal, BLANK if blank else CUT, rest)
            labels = self._labels(flat, code.space)
        entry.shadow = Shadow(tangent, labels, code, tensor.element_size())
        self._shadowed[self._entries.reference(tensor)] = entry
        return merged

    def _beside(self, signal: Signal, old: Shadow) -> tuple[Signal | None, Shadow]:
        """A signal and the shadow of the memory that it is written into, in the basis that they share."""
        code = shared((signal.code, old.code))
        if code is None:
            return None, old
        if code is not old.code:
            flat = old.labels.flat
            based = self.bases.rebase(Signal(old.tangent, flat, old.code, old.labels.complete), code)
            if based is None:
                based = Signal(old.tangent, torch.where(flat >= 0, CUT, flat).to(flat.dtype), code)
            old = Shadow(based.tangent, self._labels(based.label, code.space), code, old.itemsize)
        return self.bases.rebase(signal, code), old

    def hold(self, shadow: Shadow, path: str, kind: str) -> Code | None:
        """Mark memory that holds the streams of some tokens, to which a branch was added.

        It becomes a site together with the other tokens. None where it cannot be told from another such.
        """
        code = shadow.code
        labels, tokens = of_some_tokens(code.space, shadow.labels.flat)
        if code.part or not labels.streams or len(tokens) == code.space.tokens:
            return None
        eye = torch.eye(code.streams, dtype=shadow.tangent.dtype, device=code.space.magnitudes.device)
        matrix = eye.expand(code.space.tokens, -1, -1)
        spread = matrix.new_zeros(code.space.tokens)
        shadow.code = self.bases.new(
            Code(code.space, code.streams, code, matrix, spread, path, kind, part=True)
        )
        return shadow.code

    def enter(
        self,
        tensor: Tensor,
        path: str,
        kind: str,
        *,
        axis: int = -1,
        parent: Code | None = None,
        broken: str = "",
    ) -> None:
        """Make a tensor the entry of a residual path with one stream and its channels along an axis.

        The parent, if any, is what the tensor was made of in a way that is not linear in single channels.
        """
        axis, divisions = self._entry(len(self.spaces), tensor, axis)
        space = Space.of(tensor, axis, parent.space if parent is not None else None, divisions)
        self.spaces.append(space)
        code = self.bases.new(Code(space, space.streams, parent, path=path, kind=kind, broken=broken))
        label = space.labels(tensor, axis)
        if label.numel():
            tangent = encode(self._labels(label, space)).view(label.shape)
            self.write(tensor, Signal(tangent, label, code))

    def suspect(self, signal: Signal, axis: int) -> None:
        """Note that a sum ran over evenly spaced labels, as those of streams would be."""
        label = signal.label
        line = label[tuple(slice(None) if i == axis % label.ndim else 0 for i in range(label.ndim))]
        levels = line.unique()  # type: ignore[no-untyped-call]
        steps = levels.diff()
        if 1 < len(levels) <= MOST_DIVIDED and int(levels[0]) >= 0 and bool((steps == steps[0]).all()):
            division = Division(int(steps[0]), len(levels))
            self.suspected[self.spaces.index(signal.code.space), division] += 1

    def reseed(self, shadow: Shadow, path: str, kind: str, *, site: bool) -> bool:
        """Record the operator that led to this memory and start a fresh code; False if it cannot be read."""
        made = self._next(shadow.tangent, shadow.labels, shadow.code, path, kind, site)
        if made is None:
            return False
        shadow.tangent, shadow.code = made
        return True

    def settle(self, tensor: Tensor) -> None:
        """Let the path begin at the state that the first branch reads.

        A constant factor between an embedding and the first layer belongs to the embedding and not to a site.
        """
        shadow = self.shadow(tensor)
        if shadow is None or shadow.code.matrix is not None or shadow.labels.streams != 1:
            return
        if shadow.tangent.data_ptr() == encode(shadow.labels).data_ptr():
            return
        factor = shadow.tangent[0] / encode(shadow.labels)[0]
        if factor != 1 and torch.equal(shadow.tangent, factor * encode(shadow.labels)):
            self.reseed(shadow, "", "", site=False)

    def restart(self, tensor: Tensor, signal: Signal, path: str, reason: str) -> None:
        """Start a fresh code where the path goes on after something that is not linear."""
        labels = self._labels(signal.label, signal.code.space)
        if not labels.complete or not labels.streams:
            self.write(tensor, None)
            return
        code = self.bases.new(Code(labels.space, labels.streams, signal.code, path=path, broken=reason))
        self.write(tensor, Signal(encode(labels).view(signal.label.shape), signal.label, code))

    def start(self, tensor: Tensor, label: Tensor, code: Code) -> None:
        """Go on with a code that was made for a tensor with these labels."""
        labels = self.labels(label, code.space)
        self.write(tensor, Signal(encode(labels).view(label.shape), label, self.bases.new(code)))

    def labels(self, label: Tensor, space: Space) -> Labels:
        """The labels of a tensor as one block of memory."""
        return self._labels(label, space)

    def holds_streams(self, signal: Signal, shape: Sequence[int]) -> bool:
        """Whether a signal of this shape holds streams that were told apart, or parts of them."""
        several = signal.label.numel() > signal.code.space.tokens * signal.code.space.channels
        return signal.code.streams > 1 and several and tuple(signal.label.shape) == tuple(shape)

    def crowded(self, signal: Signal) -> str:
        """Why the copies of a stream cannot be told apart."""
        space = signal.code.space
        copies = signal.label.numel() // (space.tokens * space.channels)
        return f"{space.channels} channels are too few to tell {copies} streams apart twice"

    def expand(self, signal: Signal) -> Signal | None:
        """Give the copies of a single stream a code each, so that they are told apart from here on.

        None where there are too few channels for that.
        """
        space = signal.code.space
        copies = signal.label.numel() // max(1, space.tokens * space.channels)
        few = signal.code.streams == space.streams
        if not few or not space.streams < copies <= MOST_STREAMS or not signal.complete:
            return signal
        labels = self._labels(signal.label, signal.code.space)
        tangent = flattened(signal.tangent)
        made = self._next(tangent, labels, signal.code, "", "", False)
        if made is None:
            return None if labels.streams else signal
        return Signal(made[0].view(signal.label.shape), labels.flat.view(signal.label.shape), made[1])

    def _next(
        self, tangent: Tensor, labels: Labels, code: Code, path: str, kind: str, site: bool
    ) -> tuple[Tensor, Code] | None:
        if not labels.complete or not labels.streams or code.space.channels < 2 * labels.streams:
            return None
        matrix, spread = decode(tangent, labels, code.streams)
        made = Code(code.space, labels.streams, code, matrix, spread, path, kind, site)
        return encode(labels), self.bases.new(made)

    def alike(self, signal: Signal, axis: int) -> bool:
        """Whether labels do not change along an axis: then a sum along it runs over streams alone."""
        return self._known_in(signal.code.space).alike(signal.label, axis)

    def _labels(self, label: Tensor, space: Space) -> Labels:
        return self._known_in(space).labels(label)

    def _known_in(self, space: Space) -> Known:
        if space not in self._known:
            self._known[space] = Known(space)
        return self._known[space]


def _memory_order(tensor: Tensor) -> list[int] | None:
    """The axes of a tensor from the slowest to the fastest in memory; None where memory is not dense."""
    if tensor.is_contiguous():
        return list(range(tensor.ndim))
    strides = tensor.stride()
    axes = sorted(range(tensor.ndim), key=lambda axis: -strides[axis])
    return axes if tensor.permute(axes).is_contiguous() else None


def _patch(
    tensor: Tensor, old: Shadow | None, signal: Signal | None, here: int, rest: int
) -> tuple[Tensor, Tensor]:
    """Tangents and labels of the whole memory of a tensor, with those of the tensor itself replaced.

    Without a signal the tensor's labels become `here`; without an old shadow those around it become `rest`.
    """
    if old is not None:
        tangent, flat = old.tangent.clone(), old.labels.flat.clone()
    else:
        assert signal is not None
        count = tensor.untyped_storage().nbytes() // tensor.element_size()
        tangent, flat = signal.tangent.new_zeros(count), signal.label.new_full((count,), rest)
    where = (tensor.shape, tensor.stride(), tensor.storage_offset())
    if signal is None:
        flat.as_strided(*where).fill_(here)
    else:
        tangent.as_strided(*where).copy_(signal.tangent)
        flat.as_strided(*where).copy_(signal.label)
    return tangent, flat
