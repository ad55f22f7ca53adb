"""What is known of the branch of each site: how it reads the streams, and how it is injected."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from mhc_diag.sources.probe import writes
from mhc_diag.sources.probe.call import Call, Cut, Outcome, Pass, written
from mhc_diag.sources.probe.codes import Code
from mhc_diag.sources.probe.memory import Memory
from mhc_diag.sources.probe.reads import ANYTHING, Read, Reads, agreed
from mhc_diag.sources.probe.storages import Storages

UNWRITTEN = "what is added is not the output of one module, or one sum, times a weight for each stream"
KEPT = 4
"""Outputs of modules whose values are kept, the latest ones."""


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """The branch of one site."""

    pre: Tensor | None = None
    """(T, n)."""
    basis: Code | None = None
    """The streams that it reads: those before the site, or before an earlier one if branches are parallel."""
    post: Tensor | None = None
    """(T, n)."""
    unread: str = ""
    """Why its read is not known; empty where it is."""
    unwritten: str = ""
    """Why its direction is not known; empty where it is."""


@dataclass(frozen=True, slots=True, eq=False)
class _Output:
    number: int
    values: Tensor


@dataclass(eq=False)
class _Note:
    outputs: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Now:
    """The operation that runs."""

    made_of: int = 0
    """What was read to make its results, or what it adds to the streams."""
    outputs: int = 0
    term: Tensor | None = None
    beside: int = 0


class Branches:
    """Follows what branches are made of, beside the tangents."""

    def __init__(self, memory: Memory) -> None:
        self.reads = Reads(memory)
        self.found: dict[Code, Branch] = {}
        """By the code that starts at the site."""
        self._memory = memory
        self._notes = Storages(_Note)
        self._outputs: deque[_Output] = deque(maxlen=KEPT)
        self._made_of: dict[int, tuple[int, int]] = {}
        """The size of each output and what was read to make it, for those that came since their site."""
        self._count = 0
        self._now = _Now()

    def before(self, call: Call, inputs: Sequence[Tensor], outcome: Outcome) -> None:
        """Note what an operation is about to be given."""
        outputs = self._outputs_of(inputs)
        if call.func._schema.is_mutable:
            self._keep(call)
        if not isinstance(outcome, Pass):
            self._now = _Now(self.reads.made_of(inputs), outputs)
            return
        beside = self.reads.beside(inputs, outcome.signal)
        found = writes.injected(call, outcome) if outcome.site and not outcome.bypass else None
        if found is None:
            self._now = _Now(outputs=outputs, beside=beside)
            return
        term, made_from = found
        self._now = _Now(self.reads.made_of(made_from), self._outputs_of(made_from), term, beside)

    def after(self, call: Call, tensor: Tensor, outcome: Outcome) -> None:
        """Note what came out of it."""
        if isinstance(outcome, Pass):
            self.reads.passed(tensor, outcome.signal, self._now.beside)
        else:
            self.reads.ended(tensor, self._now.made_of)
        note = self._notes.make(tensor)
        if note is not None:
            note.outputs |= self._now.outputs
        if isinstance(outcome, Cut) and call.name in writes.SUMS:
            self.came_out(tensor)

    def hidden(self, tensor: Tensor) -> None:
        """Note that a tensor may be made of all streams, in ways that nobody has seen."""
        self.reads.ended(tensor, ANYTHING)

    def came_out(self, tensor: Tensor) -> None:
        """Note the output of a module or a sum of several: it may be the output of a branch."""
        sizes = {space.tokens * space.channels for space in self._memory.spaces}
        signal = self._memory.read(tensor)
        tracked = signal is not None and not signal.code.tentative
        note = self._notes.make(tensor)
        if tensor.numel() not in sizes or not tensor.is_floating_point() or tracked or note is None:
            return
        note.outputs |= 1 << self._count
        self._made_of[self._count] = (tensor.numel(), self.reads.made_of([tensor]))
        self._outputs.append(_Output(self._count, tensor))
        self._count += 1

    def site(self, tensor: Tensor, code: Code) -> None:
        """Note the branch that was added to a tensor, from which a code starts."""
        now, self._now = self._now, _Now(beside=self._now.beside)
        if now.term is None:
            return
        size = code.space.tokens * code.space.channels
        fitting = [k for k, (count, _) in self._made_of.items() if count == size and now.outputs >> k & 1]
        latest = max(fitting, default=-1)
        shadow = self._memory.shadow(tensor)
        post, made_of = None, now.made_of
        if fitting and shadow is not None:
            own = agreed(self.reads.of(self._made_of[latest][1]), code)
            b = writes.gathered(now.term, tensor, shadow.labels)
            post = self._direction(b, latest, own.read)
            made_of = now.made_of if post is None else self._made_of[latest][1]
        elif code.streams == 1:
            post = now.term.new_ones(code.space.tokens, 1)
        read = agreed(self.reads.of(made_of), code)
        unwritten = UNWRITTEN if post is None else ""
        self.found[code] = Branch(read.row, read.basis, post, read.why, unwritten)
        for number in [k for k in self._made_of if now.outputs >> k & 1]:  # no branch of a later site
            del self._made_of[number]
        self._outputs = deque((o for o in self._outputs if o.number in self._made_of), KEPT)

    def _direction(self, b: Tensor, number: int, read: Read | None) -> Tensor | None:
        """The weights with which an output is written to the streams; None if that is not what is added."""
        output = next((o.values for o in self._outputs if o.number == number), None)
        if output is None:
            return None
        labels = None
        if read is not None and read.code is not None and read.label is not None:
            labels = self._memory.labels(read.label, read.code.space)
        for f in writes.orders(output, labels, b.shape[0]):
            p, residual = writes.direction(b, f)
            if writes.fits(p, residual, writes.tolerance(b, output)):
                return p
        return None

    def _keep(self, call: Call) -> None:
        """Keep the values of outputs that an operation is about to write to."""
        storages = {x.untyped_storage()._cdata for x in written(call.func, call.args, call.kwargs)}
        for place, o in enumerate(self._outputs):
            if o.values.untyped_storage()._cdata in storages:
                self._outputs[place] = _Output(o.number, o.values.clone())

    def _outputs_of(self, tensors: Iterable[Tensor]) -> int:
        outputs = 0
        for tensor in tensors:
            note = self._notes.get(tensor)
            outputs |= 0 if note is None else note.outputs
        return outputs
