"""What each operation does to the tangents of the streams: the one table that decides what is measured.

A tangent passes only through operations that are linear in the streams and keep channels and tokens apart,
with everything else frozen as a coefficient. Below the table stands one function for each family.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mhc_diag.sources.probe.call import Call, Cut, Enter, Outcome, Pass, Restart
from mhc_diag.sources.probe.combine import (
    add_signals,
    broadcast,
    common_shape,
    expanded,
    kept_stage,
    layer,
    multiply,
    relabelled,
    scaled,
)
from mhc_diag.sources.probe.layout import BLANK, CUT
from mhc_diag.sources.probe.memory import Signal


def move(call: Call) -> Outcome:
    """Elements are copied or rearranged: tangents and labels go the same way."""
    source = call.signal(call.args[0])
    if source is None:
        return Cut("no streams among what is moved")
    if call.name in {"clone", "_to_copy"}:
        device = call.kwargs.get("device") or source.tangent.device
        return Pass(Signal(source.tangent.to(device), source.label.to(device), source.code, source.complete))
    tangent = call.func(source.tangent, *call.args[1:], **call.kwargs)
    label = call.func(source.label, *call.args[1:], **call.kwargs)
    return expanded(call, Signal(tangent, label, source.code, source.complete))


def overwrite(call: Call) -> Outcome:
    """One tensor is written into another."""
    target, source = call.args[0], call.signal(call.args[1])
    if source is None:
        return Cut("overwritten", blank=not call.depends(call.args[1]))
    return Pass(broadcast(source, target.shape))


def join(call: Call) -> Outcome:
    """Tensors are laid side by side: their signals too, in the basis of the earliest of them."""
    parts, axis = call.args[0], call.option(1, "dim", 0)
    signals = call.signals(*parts)
    known = [s for s in signals if s is not None]
    if not known:
        return Cut("no streams among what is joined")
    oldest = min((s.code for s in known), key=lambda code: code.number)
    based = [s if s is None or s.code is oldest else call.memory.rebase(s, oldest) for s in signals]
    tangents, labels = [], []
    for part, signal in zip(parts, based, strict=True):
        if signal is None:
            signal = _without(known[0], CUT if call.depends(part) else BLANK)
        tangents.append(signal.tangent.expand(part.shape))
        labels.append(signal.label.expand(part.shape))
    complete = all(s is not None and s.complete for s in based)
    if not complete and oldest.before_sites and axis % parts[0].ndim != parts[0].ndim - 1:
        return Enter(oldest, "joined to other tokens")
    made = Signal(call.func(tangents, axis), call.func(labels, axis), oldest, complete)
    merged = any(s.code is not oldest for s in known)
    return Pass(made, site=complete) if merged else expanded(call, made)


def scale(call: Call) -> Outcome:
    """Products and quotients with a coefficient. Scaling by a statistic of the streams is a normalisation."""
    left, right = call.args[0], call.args[1]
    one, two = call.signals(left, right)
    if one is not None and two is not None:
        return Cut("product of streams with streams", stage=1 if call.name == "mul" else 0)
    streams, other, signal = (left, right, one) if one is not None else (right, left, two)
    if signal is None:
        return Cut("no streams among the factors", stage=kept_stage(call))
    if call.name == "div" and streams is right:
        return Cut("division by the streams")
    if isinstance(other, Tensor) and call.memory.stage(other):
        return Restart(signal, "a normalisation")
    factor = other.to(signal.tangent.dtype) if isinstance(other, Tensor) else other
    tangent = signal.tangent / factor if call.name == "div" else signal.tangent * factor
    return Pass(relabelled(signal, tangent))


def negate(call: Call) -> Outcome:
    """Change of sign."""
    signal = call.signal(call.args[0])
    if signal is None:
        return Cut("no streams")
    return Pass(Signal(-signal.tangent, signal.label, signal.code, signal.complete))


def add(call: Call) -> Outcome:
    """Sums and differences. A sum of the streams and of something computed from them is a site."""
    factor = call.kwargs.get("alpha", 1) * (-1 if call.name in {"sub", "rsub"} else 1)
    left, right = (call.args[1], call.args[0]) if call.name == "rsub" else (call.args[0], call.args[1])
    one, two = call.signals(left, right)
    return add_signals(call, left, one, right, scaled(two, factor), common_shape(left, right))


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
    branch = left if call.depends(left) else right
    shape = (*left.shape[:-1], right.shape[-1])
    return add_signals(call, base, scaled(onto, beta), branch, made, shape)


def add_scaled(call: Call) -> Outcome:
    """addcmul: base + value * left * right."""
    base, left, right = call.args[:3]
    product = scale(Call(call.func, "mul", (left, right), {}, call.memory))
    value = call.kwargs.get("value", 1)
    made = scaled(product.signal, value) if isinstance(product, Pass) else None
    branch = left if call.depends(left) else right
    return add_signals(call, base, call.signal(base), branch, made, common_shape(base, left, right))


def interpolate(call: Call) -> Outcome:
    """lerp: start + weight * (end - start) = (1 - weight) * start + weight * end."""
    start, end, weight = call.args[:3]
    rest = 1 - weight
    ends = scale(Call(call.func, "mul", (end, weight), {}, call.memory))
    starts = scale(Call(call.func, "mul", (start, rest), {}, call.memory))
    signals = [o.signal if isinstance(o, Pass) else None for o in (starts, ends)]
    return add_signals(call, start, signals[0], end, signals[1], common_shape(start, end, weight))


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


def choose(call: Call) -> Outcome:
    """where(condition, a, b): each element comes from one of the two."""
    condition, left, right = call.args
    one, two = call.signals(left, right)
    if one is not None and two is not None and one.code is not two.code:
        return Cut("choice between streams of two depths")
    known = one or two
    if known is None:
        return Cut("no streams among what is chosen")
    one = one or _without(known, CUT if call.depends(left) else BLANK)
    two = two or _without(known, CUT if call.depends(right) else BLANK)
    label = torch.where(condition, one.label, two.label)
    return Pass(
        Signal(torch.where(condition, one.tangent, two.tangent), label, known.code, bool((label >= 0).all()))
    )


def _without(signal: Signal, label: int) -> Signal:
    """What stands in a signal's place where there is none: no tangent, and a label that says why."""
    return Signal(signal.tangent.new_zeros(()), signal.label.new_full((), label), signal.code, complete=False)


def clear(call: Call) -> Outcome:
    """Fill and zero: nothing of the streams is left."""
    return Cut("overwritten", blank=True)


def mask(call: Call) -> Outcome:
    """masked_fill: elements are replaced by a constant."""
    signal = call.signal(call.args[0])
    if signal is None:
        return Cut("no streams")
    return Pass(relabelled(signal, signal.tangent.masked_fill(call.args[1], 0.0)))


def power(call: Call) -> Outcome:
    """Powers and absolute values of the streams: the first half of a norm."""
    if call.signal(call.args[0]) is not None:
        return Cut(call.name, stage=1)
    return Cut(call.name, stage=kept_stage(call))


def norm(call: Call) -> Outcome:
    """Norms, variances and extremes: a statistic of the streams."""
    return Cut(call.name, stage=2 if call.signal(call.args[0]) else kept_stage(call, reduces=True))


def normalise(call: Call) -> Outcome:
    """A whole normalisation in one operation. What comes out may be the streams of a post-norm model."""
    signal = call.signal(call.args[0])
    return Cut(call.name) if signal is None else Restart(signal, "a normalisation")


def convolve(call: Call) -> Outcome:
    """A layer over channels and neighbouring tokens."""
    signal = call.signal(call.args[0])
    return Cut(call.name) if signal is None else layer(signal, "convolution", axis=1)


def keep_stage(call: Call) -> Outcome:
    """What may be done to a statistic on its way to being divided by: roots, clamps, constants."""
    return Cut(call.name, stage=kept_stage(call))


Rule = Callable[[Call], Outcome]
RULES: dict[str, Rule] = {
    # copies and rearrangements: no arithmetic
    **dict.fromkeys(("clone", "_to_copy", "repeat", "index_select", "index", "gather", "roll", "flip"), move),
    "copy": overwrite,
    **dict.fromkeys(("zero", "fill"), clear),
    **dict.fromkeys(("cat", "stack"), join),
    # linear in the streams, channel by channel
    **dict.fromkeys(("mul", "div"), scale),
    "neg": negate,
    **dict.fromkeys(("add", "sub", "rsub"), add),
    "addcmul": add_scaled,
    "lerp": interpolate,
    "where": choose,
    "masked_fill": mask,
    # linear in the streams where the sum runs over streams only
    **dict.fromkeys(("mm", "bmm", "mv"), contract),
    **dict.fromkeys(("addmm", "baddbmm"), add_product),
    **dict.fromkeys(("sum", "mean"), reduce),
    # not linear: what they make is a coefficient, or the statistic of a normalisation
    **dict.fromkeys(("pow", "square", "abs"), power),
    "convolution": convolve,
    **dict.fromkeys(("native_layer_norm", "_fused_rms_norm", "native_group_norm"), normalise),
    **dict.fromkeys(("native_batch_norm", "_native_batch_norm_legit_no_training"), normalise),
    **dict.fromkeys(("linalg_vector_norm", "norm", "var", "std", "amax", "amin"), norm),
    **dict.fromkeys(
        ("sqrt", "rsqrt", "reciprocal", "clamp", "clamp_min", "clamp_max", "maximum"), keep_stage
    ),
}
"""By the operation's name without the underscore of its in-place form. Any other operation ends the path."""

INDEPENDENT = {"zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like"} | {
    "new_zeros",
    "new_ones",
    "new_empty",
    "new_full",
    "new_empty_strided",
    "sym_size",
    "is_same_size",
}
"""Operations that take only the shape of their argument."""
