"""What is known of the branch of each site: how it reads the streams, and how it is injected."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from mhc_diag.sources.probe import writes
from mhc_diag.sources.probe.call import Call, Cut, Outcome, Pass
from mhc_diag.sources.probe.codes import Code
from mhc_diag.sources.probe.memory import Memory
from mhc_diag.sources.probe.reads import ANYTHING, Read, Reads, agreed
from mhc_diag.sources.probe.storages import Storages

KEPT = 4
"""Outputs of modules whose values are kept, the latest ones."""


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """The branch of one site."""

    pre: Tensor | None
    """(T, n)."""
    post: Tensor | None
    """(T, n)."""
    unread: str
    """Why its read is not known; empty where it is."""
    unwritten: str
    """Why its direction is not known; empty where it is."""


@dataclass(frozen=True, slots=True, eq=False)
class _Output:
    number: int
    values: Tensor
    made_of: int


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
        self._made_of: dict[int, int] = {}
        """What each output was made of, for those of which no site has been made yet."""
        self._count = 0
        self._spent = 0
        """Outputs that came before a site: no branch of a later one."""
        self._now = _Now()

    def before(self, call: Call, inputs: Sequence[Tensor], outcome: Outcome) -> None:
        """Note what an operation is about to be given."""
        outputs = self._outputs_of(inputs)
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
        if call.func._schema.is_mutable:
            self._changed(tensor)
        if isinstance(outcome, Cut) and outcome.reason == "sum of branches":
            self.came_out(tensor)

    def hidden(self, tensor: Tensor) -> None:
        """Note that a tensor may be made of all streams, in ways that nobody has seen."""
        self.reads.ended(tensor, ANYTHING)

    def came_out(self, tensor: Tensor) -> None:
        """Note the output of a module or a sum of several: it may be the output of a branch."""
        spaces = {(code.space.tokens * code.space.channels) for code in self._memory.codes[-1:]}
        signal = self._memory.read(tensor)
        tracked = signal is not None and not signal.code.tentative
        note = self._notes.make(tensor)
        if tensor.numel() not in spaces or not tensor.is_floating_point() or tracked or note is None:
            return
        made_of = self.reads.made_of([tensor])
        note.outputs |= 1 << self._count
        self._made_of[self._count] = made_of
        self._outputs.append(_Output(self._count, tensor, made_of))
        self._count += 1

    def site(self, tensor: Tensor, code: Code) -> None:
        """Note the branch that was added to a tensor, from which a code starts."""
        now, self._now = self._now, _Now(beside=self._now.beside)
        if now.term is None:
            reason = "what is added cannot be told from the streams"
            self.found[code] = Branch(None, None, reason, reason)
            return
        latest = (now.outputs & ~self._spent).bit_length() - 1
        made_of = self._made_of.get(latest, now.made_of)
        pre, read, unread = agreed(self.reads.of(made_of), _basis(code))
        post, unwritten = self._direction(now.term, tensor, code, latest, read)
        self.found[code] = Branch(pre, post, unread, unwritten)
        self._spent |= now.outputs
        for number in [k for k in self._made_of if self._spent >> k & 1]:
            del self._made_of[number]
        self._outputs = deque((o for o in self._outputs if not self._spent >> o.number & 1), KEPT)

    def _direction(
        self, term: Tensor, tensor: Tensor, code: Code, latest: int, read: Read | None
    ) -> tuple[Tensor | None, str]:
        if latest < 0 and code.streams == 1:
            return term.new_ones(code.space.tokens, 1, dtype=code.space.magnitudes.dtype), ""
        output = next((o.values for o in self._outputs if o.number == latest), None)
        shadow = self._memory.shadow(tensor)
        if output is None or shadow is None:
            return None, "no module gave what it adds"
        space = code.space
        b = writes.gathered(term, tensor, shadow.labels)
        labels = None if read is None or read.label is None else self._memory.labels(read.label, space)
        for f in writes.orders(output, labels, space.tokens):
            if f.shape == b.shape[:2]:
                p, residual = writes.direction(b, f)
                if writes.fits(p, residual, writes.tolerance(term, output)):
                    return p.to(space.magnitudes.dtype), ""
        return None, "what it adds is not the output of one module times a weight for each stream"

    def _changed(self, tensor: Tensor) -> None:
        """Forget the values of outputs in memory that was written to."""
        storage = tensor.untyped_storage()._cdata
        kept = (o for o in self._outputs if o.values.untyped_storage()._cdata != storage)
        self._outputs = deque(kept, KEPT)

    def _outputs_of(self, tensors: Iterable[Tensor]) -> int:
        outputs = 0
        for tensor in tensors:
            note = self._notes.get(tensor)
            outputs |= 0 if note is None else note.outputs
        return outputs


def _basis(code: Code) -> list[Code]:
    """The code that a site starts from, and those before it if fitted operations lie between them."""
    assert code.parent is not None  # a site is no entry
    basis = [code.parent]
    while basis[-1].fit is not None and not basis[-1].site and basis[-1].parent is not None:
        basis.append(basis[-1].parent)
    return basis
