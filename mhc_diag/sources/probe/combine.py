"""How the signals of two operands combine: in a sum, in a product, along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mhc_diag.sources.probe.call import Call, Cut, Enter, Outcome, Pass, strong
from mhc_diag.sources.probe.memory import Signal


def multiply(call: Call, left: Any, right: Any) -> Outcome:
    """A matrix product: mixing where its sum runs over streams, a layer where it runs over channels."""
    one, two = call.signals(left, right)
    if one is not None and two is not None:
        return Cut("product of streams with streams")
    signal = one if one is not None else two
    if signal is None:
        return Cut("no streams among the factors")
    axis = -1 if one is not None or right.ndim == 1 else -2
    if not call.memory.alike(signal, axis):
        call.memory.suspect(signal, axis)
        return layer(signal, "layer over channels or tokens")
    coefficient = (right if one is not None else left).to(signal.tangent.dtype)
    if one is not None:
        tangent = signal.tangent @ coefficient
        label = signal.label.narrow(-1, 0, 1) if right.ndim > 1 else signal.label.select(-1, 0)
    else:
        tangent = coefficient @ signal.tangent
        label = signal.label.narrow(axis, 0, 1) if right.ndim > 1 else signal.label[:1]
    return Pass(Signal(tangent, label.expand(tangent.shape), signal.code, signal.complete))


def layer(signal: Signal, reason: str, axis: int = -1) -> Outcome:
    """A layer over channels is where a branch begins, or where an input is embedded: then a path begins."""
    return Enter(signal.code, reason, axis) if signal.code.before_sites else Cut(reason)


def common_shape(*values: Any) -> Sequence[int]:
    """The shape that tensors among the values are broadcast to."""
    shapes = [x.shape for x in values if isinstance(x, Tensor)]
    if all(shape == shapes[0] for shape in shapes):
        return shapes[0]
    return torch.broadcast_shapes(*shapes)  # type: ignore[no-untyped-call]


def add_signals(
    call: Call, left: Any, one: Signal | None, right: Any, two: Signal | None, shape: Sequence[int]
) -> Outcome:
    """The sum of two terms, each with its signal if any; `right` is what the second one is made of."""
    one, two = strong([one, two])
    if one is not None and two is not None:
        return _sum_of_signals(one, two, shape)
    signal, other = (one, right) if one is not None else (two, left)
    if signal is None:
        return Cut("no streams in the sum", stage=kept_stage(call))
    site = call.is_branch(other, signal.code)
    if call.depends(other) and not site:
        return Cut("sum of branches")
    if not signal.complete and site:
        return Cut("a branch added to what holds streams and other things")
    return Pass(broadcast(signal, shape), site=site)


def _sum_of_signals(one: Signal, two: Signal, shape: Sequence[int]) -> Outcome:
    """Two tracked terms: of one point of the path, of two points of it, or of two paths."""
    if one.code is two.code:
        one, two = broadcast(one, shape), broadcast(two, shape)
        if not torch.equal(one.label, two.label):
            return Cut("sum of different channels or tokens")
        return Pass(Signal(one.tangent + two.tangent, one.label, one.code, one.complete and two.complete))
    if one.code.space is not two.code.space:
        if one.code.parent is None and two.code.parent is None:
            return Enter()
        longer, shorter = sorted((one, two), key=lambda s: sum(1 for _ in s.code.ancestry()), reverse=True)
        if shorter.code.parent is None:  # such as position embeddings, which come from no stream
            return Pass(broadcast(longer, shape))
        return Cut("sum of two residual paths")
    main, other = sorted((one, two), key=lambda s: (s.code.streams, s.code.number), reverse=True)
    bypass = "" if main.code.streams > other.code.streams else "streams of an earlier point are added again"
    return Pass(broadcast(main, shape), site=True, bypass=bypass)


def scaled(signal: Signal | None, factor: Any) -> Signal | None:
    """A signal times a number."""
    if signal is None or factor == 1:
        return signal
    return Signal(signal.tangent * factor, signal.label, signal.code, signal.complete)


def broadcast(signal: Signal, shape: Sequence[int]) -> Signal:
    """A signal in a larger shape."""
    if tuple(signal.label.shape) == tuple(shape):
        return signal
    return Signal(signal.tangent.expand(shape), signal.label.expand(shape), signal.code, signal.complete)


def relabelled(signal: Signal, tangent: Tensor) -> Signal:
    """New tangents, which may have been broadcast, with the labels of a signal."""
    return Signal(tangent, signal.label.expand(tangent.shape), signal.code, signal.complete)


def kept_stage(call: Call, *, reduces: bool = False) -> int:
    """The stage of what is made of powers and statistics of the streams and of nothing else of them."""
    stages = [call.memory.stage(x) for x in call.args[:2] if isinstance(x, Tensor) and call.memory.depends(x)]
    if not stages or not all(stages):
        return 0
    return 2 if reduces else max(stages)
