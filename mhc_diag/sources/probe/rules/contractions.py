"""Sums of products: mixing where they run over streams, a layer or a statistic where over anything else."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mhc_diag.sources.probe.bases import Signal
from mhc_diag.sources.probe.call import Call, Cut, Outcome, Pass
from mhc_diag.sources.probe.combine import (
    add_signals,
    kept_stage,
    layer,
    multiply,
    scaled,
)
from mhc_diag.sources.probe.rules.family import Family


def contract(call: Call) -> Outcome:
    """Matrix products: mixing where the sum runs over streams, a layer where it runs over channels."""
    return multiply(call, *call.args[:2])


def add_product(call: Call) -> Outcome:
    """A sum and a matrix product in one."""
    base, left, right = call.args[:3]
    onto, *_ = call.signals(base, left, right)
    product = multiply(call, left, right)
    if not isinstance(product, Pass) and onto is None:
        return product
    beta, alpha = call.kwargs.get("beta", 1), call.kwargs.get("alpha", 1)
    made = scaled(product.signal, alpha) if isinstance(product, Pass) else None
    if made is not None and call.name == "addbmm":
        if not call.memory.alike(made, 0):
            return Cut("sum over channels or tokens")
        made = Signal(made.tangent.sum(0), made.label[0], made.code, made.complete)
    branch = left if call.depends(left) else right
    shape = [*left.shape[call.name == "addbmm" : -1], *right.shape[left.ndim - 1 :]]
    return add_signals(call, base, scaled(onto, beta), branch, made, shape)


def reduce(call: Call) -> Outcome:
    """Sums and means: mixing where they run over streams, a statistic where over channels or tokens."""
    signal = call.signal(call.args[0])
    if signal is None:
        return Cut("no streams in the sum", stage=kept_stage(call, reduces=True))
    dims = call.option(1, "dim", None)
    axes = tuple(range(signal.label.ndim)) if dims is None or dims == [] else dims
    over = [axis for axis in axes if not call.memory.alike(signal, axis)]
    if over:
        call.memory.suspect(signal, over[0])
        return Cut("sum over channels or tokens", stage=2)
    keep = call.option(2, "keepdim", False)
    label = _first(signal.label, axes, keep=keep)
    tangent = signal.tangent.sum(dim=axes, keepdim=keep)
    if call.name == "mean":
        tangent = tangent * (tangent.numel() / max(1, signal.tangent.numel()))
    return Pass(Signal(tangent, label, signal.code, signal.complete))


def _first(label: Tensor, axes: Sequence[int], *, keep: bool) -> Tensor:
    """Labels at the first place along axes along which they are alike: a view, whose values are known."""
    for axis in sorted((axis % label.ndim for axis in axes), reverse=True):
        label = label.narrow(axis, 0, 1) if keep else label.select(axis, 0)
    return label


def run_along(call: Call) -> Outcome:
    """Running sums: mixing by a triangle of ones where they run over streams."""
    signal = call.signal(call.args[0])
    if signal is None:
        return Cut(call.name)
    axis = call.option(1, "dim", None)
    if not call.memory.alike(signal, axis):
        return Cut(f"{call.name} over channels or tokens")
    return Pass(Signal(signal.tangent.cumsum(axis), signal.label, signal.code, signal.complete))


def convolve(call: Call) -> Outcome:
    """A layer over channels and neighbouring tokens; a mixing where it runs over streams alone."""
    signal = call.signal(call.args[0])
    if signal is None:
        return Cut(call.name)
    weight, _, stride, padding, _, transposed, _, groups = call.args[1:9]
    pointwise = all(size == 1 for size in weight.shape[2:]) and set(stride) == {1} and set(padding) == {0}
    if not (pointwise and call.memory.alike(signal, 1)) or transposed or groups != 1:
        return layer(signal, "convolution", axis=1)
    tangent = call.apply(signal.tangent, weight.to(signal.tangent.dtype), None, *call.args[3:])
    label = signal.label.narrow(1, 0, 1).expand(tangent.shape)
    return Pass(Signal(tangent, label, signal.code, signal.complete))


FAMILIES = (
    Family(
        "matrix products",
        ("mm", "bmm", "mv", "dot"),
        contract,
        "Linear in the streams while the matrix is frozen. A sum over elements of one channel of one token "
        "is a mixing; any other sum is a layer, where a branch begins, or where an input is embedded.",
    ),
    Family(
        "sum and matrix product in one",
        ("addmm", "addmv", "baddbmm", "addbmm"),
        add_product,
        "A matrix product and a sum, each by its own rule.",
    ),
    Family(
        "sums and means along axes",
        ("sum", "mean"),
        reduce,
        "Over streams alone they are a mixing. Over channels or tokens they are a statistic: a coefficient, "
        "or the second half of a norm.",
    ),
    Family(
        "running sums",
        ("cumsum",),
        run_along,
        "Over streams alone they are a mixing by a triangle of ones; over channels or tokens the path ends.",
    ),
    Family(
        "convolutions",
        ("convolution",),
        convolve,
        "A layer, where a branch begins or an image is embedded, unless its kernel has size 1 and its "
        "channels are the streams: then it is a matrix product over streams.",
    ),
)
