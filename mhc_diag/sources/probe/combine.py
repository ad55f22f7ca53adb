"""How the signals of two operands combine: in a sum, in a product, along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mhc_diag.sources.probe.bases import Signal
from mhc_diag.sources.probe.call import Call, Cut, Enter, Outcome, Pass, Restart, strong
from mhc_diag.sources.probe.codes import shared
from mhc_diag.sources.probe.layout import BLANK, CUT
from mhc_diag.sources.probe.memory import MOST_STREAMS


def multiply(call: Call, left: Any, right: Any) -> Outcome:
    """A matrix product: mixing where its sum runs over streams, a layer where it runs over channels."""
    one, two = call.signals(left, right)
    if one is not None and two is not None:
        return Cut("product of streams with streams")
    signal = one if one is not None else two
    if signal is None:
        return Cut("no streams among the factors")
    axis = -1 if one is not None or right.ndim == 1 else -2
    coefficient = right if one is not None else left
    if not call.memory.alike(signal, axis):
        call.memory.suspect(signal, axis)
        return _layer_or_mixing(call, signal, coefficient, axis)
    coefficient = coefficient.to(signal.tangent.dtype)
    if one is not None:
        tangent = signal.tangent @ coefficient
        label = signal.label.narrow(-1, 0, 1) if right.ndim > 1 else signal.label.select(-1, 0)
    else:
        tangent = coefficient @ signal.tangent
        label = signal.label.narrow(axis, 0, 1) if right.ndim > 1 else signal.label[0]
    return Pass(Signal(tangent, label.expand(tangent.shape), signal.code, signal.complete))


def _layer_or_mixing(call: Call, signal: Signal, coefficient: Tensor, axis: int) -> Outcome:
    """A product whose sum runs over what are channels or tokens, as far as is known.

    At the beginning of a path it may be a layer that embeds an input, where a path begins, or the mixing of
    streams that the entry holds unknown to us. Beginning a path after a mixing would leave it out.
    """
    sizes = {coefficient.shape[-1], coefficient.shape[-2] if coefficient.ndim > 1 else 1}
    small = max(sizes) <= MOST_STREAMS
    tokens = (signal.label.select(axis, 1) - signal.label.select(axis, 0)).flatten()[0]
    if call.depends(coefficient) or (small and (axis == -2 or tokens % signal.code.space.channels == 0)):
        return Cut("layer over channels or tokens, or over streams that the entry holds")
    return layer(signal, "layer over channels or tokens", axis)


def layer(signal: Signal, reason: str, axis: int = -1) -> Outcome:
    """A layer over channels is where a branch begins, or where an input is embedded: then a path begins."""
    return Enter(signal.code, reason, axis, signal) if signal.code.before_sites else Cut(reason)


def expanded(call: Call, signal: Signal) -> Outcome:
    """A signal of which parts may be copies of one another, told apart from here on."""
    told_apart = call.memory.expand(signal)
    return Cut(call.memory.crowded(signal)) if told_apart is None else Pass(told_apart)


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
        for streams, other, term in ((one, two, right), (two, one, left)):
            if _is_fed_by(call, streams, other, term):
                return Pass(broadcast(streams, shape), site=True)
        return _sum_of_signals(call, one, two, shape)
    signal, other = (one, right) if one is not None else (two, left)
    if signal is None:
        return Cut("no streams in the sum", stage=kept_stage(call))
    site = call.is_branch(other, signal.code)
    if call.depends(other) and not site:
        return Cut("sum of branches")
    if call.memory.lost(other):
        return Cut("added to streams that could not be followed", lost=True)
    if site and _is_mean_of_channels(call, signal, other, shape):
        return Restart(signal, "a normalisation")
    if not signal.complete and site:
        return Cut("a branch added to what holds streams and other things")
    if site:
        call.memory.absorb(other, signal.code)
    return Pass(broadcast(signal, shape), site=site)


def _is_fed_by(call: Call, streams: Signal, other: Signal, term: Any) -> bool:
    """Whether a term with a path of its own, as a second embedding has, was computed from the streams.

    Then it is a branch of theirs. They were not computed from it, or it would be the same path.
    """
    own = call.signal(term)
    if own is None or own.code is not other.code or other.code.space is streams.code.space:
        return False
    return bool(call.memory.made_of([term]) >> streams.code.number & 1)


def _is_mean_of_channels(call: Call, signal: Signal, other: Tensor, shape: Sequence[int]) -> bool:
    """Whether a statistic that all channels share is added: the streams are centred, as norms begin."""
    if call.memory.stage(other) != 2 or signal.label.shape != torch.Size(shape):
        return False
    number = torch.arange(other.numel(), device=signal.label.device).view(other.shape).expand(shape)
    token = signal.label // signal.code.space.channels == signal.label.max() // signal.code.space.channels
    count = len(torch.unique(number[token]))
    return count * signal.code.space.channels <= int(token.sum())


def _sum_of_signals(call: Call, one: Signal, two: Signal, shape: Sequence[int]) -> Outcome:
    """Two tracked terms: of one point of the path, of two points of it, or of two paths."""
    if one.code.space is not two.code.space:
        return _sum_of_paths(one, two, shape)
    site = False
    if one.code is not two.code and (both := call.memory.bases.in_one(one, two)) is not None:
        site = one.code.part or two.code.part
        one, two = both
    if one.code is two.code:
        one, two = broadcast(one, shape), broadcast(two, shape)
        label = torch.where(two.label == BLANK, one.label, two.label)
        if not bool(((one.label == label) | (one.label == BLANK)).all()):
            return Cut("sum of different channels or tokens", lost=True)
        complete = (one.complete and two.complete) or bool((label >= 0).all())
        return Pass(Signal(one.tangent + two.tangent, label, one.code, complete), site=site)
    main, other = sorted((one, two), key=lambda s: (s.code.streams, s.code.number), reverse=True)
    bypass = "" if main.code.streams > other.code.streams else "streams of an earlier point are added again"
    return Pass(broadcast(main, shape), site=True, bypass=bypass)


def _sum_of_paths(one: Signal, two: Signal, shape: Sequence[int]) -> Outcome:
    """Terms of two residual paths."""
    if one.code.parent is None and two.code.parent is None:
        return Enter()
    longer, shorter = sorted((one, two), key=lambda s: sum(1 for _ in s.code.ancestry()), reverse=True)
    if shorter.code.parent is None:  # such as position embeddings, which come from no stream
        return Pass(broadcast(longer, shape))
    return Cut("sum of two residual paths")


def on_common_ground(
    call: Call, known: Sequence[Signal | None], values: Sequence[Any]
) -> tuple[list[Signal], bool]:
    """Signals that lie side by side, in the basis of what they all come from, and whether they had others.

    Where there is no signal, or none in that basis, stands one without tangents whose labels say why.
    """
    present = [s for s in known if s is not None]
    code = shared(s.code for s in present) or min((s.code for s in present), key=lambda c: c.number)
    found = []
    for signal, value in zip(known, values, strict=True):
        based = signal if signal is None or signal.code is code else call.memory.bases.rebase(signal, code)
        size = value.shape if isinstance(value, Tensor) else ()
        if based is None:
            why = CUT if call.depends(value) else BLANK
            like = present[0]
            tangent, label = like.tangent.new_zeros(()), like.label.new_full((), why)
            based = Signal(tangent, label, code, complete=False)
        found.append(Signal(based.tangent.expand(size), based.label.expand(size), code, based.complete))
    return found, any(s.code is not code for s in present)


def side_by_side(call: Call, known: Sequence[Signal | None], made: Signal, *, merged: bool) -> Pass:
    """What was made of signals that lie side by side: a site where they come from different points."""
    site = merged and made.complete
    bypass = call.memory.bases.across([s.code for s in known if s is not None]) if site else ""
    return Pass(made, site=site, bypass=bypass)


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
