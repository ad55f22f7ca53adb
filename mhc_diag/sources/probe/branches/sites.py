"""Sites as their branches see them: what was read to compute each, and how its output was written."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from mhc_diag.sources.probe.branches.added import Added, added
from mhc_diag.sources.probe.branches.reads import Read, Reads
from mhc_diag.sources.probe.branches.weights import weights
from mhc_diag.sources.probe.call import Call, Outcome, Pass, Solved
from mhc_diag.sources.probe.codes import Code
from mhc_diag.sources.probe.layout import Labels
from mhc_diag.sources.probe.lineage import Lineage
from mhc_diag.sources.probe.memory import Memory

OUTPUTS, RESULTS = 3, 2
"""Outputs of modules, and of single operations, that are kept as what a branch may have put out."""


@dataclass(frozen=True, slots=True, eq=False)
class Branch:
    """The branch of one site."""

    reads: tuple[Read, ...]
    """Where it read the streams of the path."""
    post: Tensor | None
    """(T, m): how its output was written; None where this is not known."""


class Branches:
    """The branches of all sites, noted while a model runs."""

    def __init__(self, memory: Memory, lineage: Lineage) -> None:
        self._memory, self._lineage = memory, lineage
        self._outputs: deque[Tensor] = deque(maxlen=OUTPUTS)
        self._results: deque[Tensor] = deque(maxlen=RESULTS)
        self._added: Added | None = None
        self._candidates: list[tuple[Tensor, int]] = []
        self._read = self._of_sum = 0
        self._codes = self._counted = 0
        self._sizes: set[int] = set()
        self.reads = Reads(memory)
        self.of_site: dict[Code, Branch] = {}

    def output(self, tensor: Tensor) -> None:
        """Keep what came out of a module, if it can be the output of a branch."""
        if self._has_one_stream(tensor):
            self._outputs.append(tensor)

    def before(self, call: Call, inputs: Sequence[Tensor], outcome: Outcome) -> None:
        """Look at what goes into an operation, which may be about to overwrite it.

        Args:
            call: the operation.
            inputs: all tensors that go into it.
            outcome: what will become of the tangents.
        """
        self._codes, self._added, self._read = len(self._memory.codes), None, 0
        if not isinstance(outcome, Pass) or not outcome.signal.complete:
            self._read = self.reads.of(inputs)
            return
        code = outcome.signal.code
        if outcome.site and not outcome.bypass:
            self._added = added(call, code)
            self._of_sum = self.reads.of(() if self._added is None else self._added.sources)
            self._candidates = [] if self._added is None else [*self._outputs_of(self._added, code)]
        elif (
            code.tentative
        ):  # what a norm or a layer made is a branch so far, and what scales it a part of it
            self._read = self.reads.noted(inputs)

    def after(self, tensor: Tensor, outcome: Outcome) -> None:
        """Note what an output of the operation was computed from."""
        shadow = self._memory.shadow(tensor)
        fresh = shadow is not None and shadow.code.number >= self._codes and bool(shadow.code.broken)
        if shadow is not None and fresh:
            self.reads.begun(shadow.code, self._read)
        self.reads.note(tensor, 0 if fresh or isinstance(outcome, Solved) else self._read)
        on_path = isinstance(outcome, Solved) or (
            isinstance(outcome, Pass) and not outcome.signal.code.tentative
        )
        if not on_path and self._has_one_stream(tensor):
            self._results.append(tensor)

    def hidden(self, tensor: Tensor) -> None:
        """Note that a tensor was computed from nobody knows what of the streams."""
        self.reads.note(tensor, self.reads.anything())

    def arrived(self, site: Code, result: Tensor, labels: Labels) -> None:
        """Note the branch that the operation added to the streams, which lie in memory with these labels."""
        what = self._added
        if what is None or site.parent is None:
            return
        laid_out = what.laid_out(result, labels)
        of_sum = self.reads.reached(self._of_sum, site.parent)
        orders = [None, *dict.fromkeys(read.order for read in of_sum if read.order is not None)]
        for output, reads in self._candidates:
            for order in orders:
                post = self._weights(laid_out, output, order, what)
                if post is not None:
                    own = self.reads.reached(reads, site.parent)
                    self.of_site[site] = Branch(tuple(own), post)
                    return
        alone = laid_out.new_ones(laid_out.shape[0], 1) if site.streams == 1 else None
        self.of_site[site] = Branch(tuple(of_sum), alone)

    def _weights(self, laid_out: Tensor, output: Tensor, order: Labels | None, what: Added) -> Tensor | None:
        tokens, channels, streams = laid_out.shape
        if output.numel() != tokens * channels:
            return None
        if streams == 1 and _same(output, what.value):
            return laid_out.new_ones(tokens, 1)
        if order is None:
            return weights(laid_out, output.reshape(tokens, channels))
        return weights(laid_out, order.gather(output.contiguous().view(-1))[..., 0])

    def _outputs_of(self, what: Added, streams: Code) -> Iterator[tuple[Tensor, int]]:
        """What the branch may have put out, and its reads: what came last of a module, or of any operation.

        The sum itself is the output where there is one stream only, unless some module's output is.
        """
        cuts, codes = self._lineage.made_of_cuts(what.sources), self._memory.made_of(what.sources)
        results = reversed(self._results) if streams.streams > 1 else ()
        for tensor in (*reversed(self._outputs), *results):
            shadow, cut = self._memory.shadow(tensor), self._lineage.cut(tensor)
            if cuts >> cut & 1 if shadow is None else codes >> shadow.code.number & 1:
                yield what.as_before(tensor), self.reads.of([tensor])

    def _has_one_stream(self, tensor: Tensor) -> bool:
        spaces = self._memory.spaces
        if self._counted < len(spaces):
            self._sizes |= {space.tokens * space.channels for space in spaces[self._counted :]}
            self._counted = len(spaces)
        return tensor.numel() in self._sizes and tensor.is_floating_point()


def _same(one: Tensor, other: Tensor) -> bool:
    return (one.data_ptr(), one.shape, one.stride()) == (other.data_ptr(), other.shape, other.stride())
