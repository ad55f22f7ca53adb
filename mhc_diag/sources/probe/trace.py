"""The way of the tangents, kept if a user asks: the operations that they passed, and where they ended."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from mhc_diag.records import Step
from mhc_diag.sources.probe.codes import Code
from mhc_diag.sources.probe.layout import Labels
from mhc_diag.sources.probe.storages import Storages


@dataclass(eq=False)
class _Mark:
    node: int = -1


class Trace:
    """A graph of the operations that tangents passed, in the order in which they ran."""

    def __init__(self) -> None:
        self._nodes: list[tuple[str, str, frozenset[int]]] = []
        self._marks = Storages(_Mark)
        self.ended: defaultdict[Code, Counter[str]] = defaultdict(Counter)
        """For the streams of each code: where their tangents ended."""
        self.ways: dict[Code, tuple[Step, ...]] = {}
        """For each site: what the tangents passed since the site before."""
        self.layouts: dict[Code, str] = {}
        """For each site: how its streams lie in the tensor that the model holds."""

    def passed(self, tensor: Tensor, inputs: Iterable[Tensor], module: str, operation: str) -> None:
        """Note that a tensor's tangents came out of an operation on others."""
        marks = [self._marks.get(x) for x in (*inputs, tensor)]
        before = frozenset(mark.node for mark in marks if mark is not None and mark.node >= 0)
        mark = self._marks.make(tensor)
        if mark is not None:
            mark.node = len(self._nodes)
            self._nodes.append((module, operation, before))

    def arrived(self, tensor: Tensor, code: Code, labels: Labels) -> None:
        """Note that a site or an entry starts a fresh code in a tensor, and forget the way to it."""
        mark = self._marks.make(tensor)
        if mark is not None:
            self.ways[code] = self._way(mark.node)
            self.layouts[code] = layout_of(tensor, labels)
            mark.node = -1

    def _way(self, node: int) -> tuple[Step, ...]:
        found, waiting = set[int](), {node} - {-1}
        while waiting:
            found |= waiting
            waiting = {b for n in waiting for b in self._nodes[n][2]} - found
        steps: list[Step] = []
        for module, operation, _ in (self._nodes[n] for n in sorted(found)):
            if steps and (steps[-1].module, steps[-1].operation) == (module, operation):
                steps[-1] = Step(module, operation, steps[-1].times + 1)
            else:
                steps.append(Step(module, operation))
        return tuple(steps)


def layout_of(tensor: Tensor, labels: Labels) -> str:
    """What each axis of a tensor counts, the slower first where it counts several things.

    Example:
        >>> from mhc_diag.sources.probe.space import Space
        >>> space = Space.of(torch.empty(2, 3, 16))
        >>> label = space.labels(torch.empty(2, 3, 16))[:, :, None].expand(2, 3, 4, 16)
        >>> layout_of(torch.empty(2, 3, 64), Labels(label.reshape(-1), space))
        '[2 tokens, 3 tokens, 64 = streams x channels]'
    """
    numbers = torch.empty_like(labels.flat)
    streams = torch.arange(labels.streams, dtype=numbers.dtype, device=numbers.device)
    numbers[labels.order.flatten()] = streams.expand(labels.order.shape).flatten()
    where = (tensor.shape, tensor.stride(), tensor.storage_offset())
    label, stream = labels.flat.as_strided(*where), numbers.as_strided(*where)
    channels = labels.space.channels
    counted = {"tokens": label // channels, "streams": stream, "channels": label % channels}
    return "[" + ", ".join(_axis(tensor, axis, counted) for axis in range(tensor.ndim)) + "]"


def _axis(tensor: Tensor, axis: int, counted: dict[str, Tensor]) -> str:
    size = tensor.shape[axis]
    first_change = {}
    for name, values in counted.items():
        line = values[tuple(slice(None) if i == axis else 0 for i in range(tensor.ndim))]
        changed = (line != line[0]).nonzero()
        if len(changed):
            first_change[name] = int(changed[0])
    slow_first = sorted(first_change, key=lambda name: -first_change[name])
    if len(slow_first) > 1:
        return f"{size} = {' x '.join(slow_first)}"
    return f"{size} {slow_first[0]}" if slow_first else str(size)
