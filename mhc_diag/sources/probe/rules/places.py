"""Operations by which tensors are laid side by side, or one is written into a part of another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mhc_diag.sources.probe.bases import Signal
from mhc_diag.sources.probe.call import Call, Cut, Enter, Outcome, Pass
from mhc_diag.sources.probe.combine import (
    add_signals,
    broadcast,
    expanded,
    on_common_ground,
    relabelled,
    side_by_side,
)
from mhc_diag.sources.probe.layout import BLANK
from mhc_diag.sources.probe.rules.family import Family

SOURCE = {
    **dict.fromkeys(("select_scatter", "slice_scatter", "diagonal_scatter", "as_strided_scatter"), 1),
    **dict.fromkeys(("index_put", "_unsafe_index_put", "_index_put_impl", "masked_scatter"), 2),
    **dict.fromkeys(("index_copy", "scatter", "index_add", "scatter_add"), 3),
}
"""Which argument of an operation is what it writes into its first."""

REPLACING = {"index_add": ("index_copy", "index_select"), "scatter_add": ("scatter", "gather")}
"""For operations that add to a part: the one that replaces it, and the one that reads it."""


def overwrite(call: Call) -> Outcome:
    """One tensor is written over another."""
    target, source = call.args[0], call.signal(call.args[1])
    if source is None:
        return Cut("overwritten", blank=not call.depends(call.args[1]))
    if not target.is_floating_point():
        return Cut("rounded to whole numbers")
    tangent, label = source.tangent.to(target.device), source.label.to(target.device)
    return Pass(broadcast(Signal(tangent, label, source.code, source.complete), target.shape))


def clear(call: Call) -> Outcome:
    """Fill and zero: nothing of the streams is left."""
    return Cut("overwritten", blank=True)


def join(call: Call) -> Outcome:
    """Tensors are laid side by side: their signals too, in the basis of what they all come from."""
    parts, axis = call.args[0], call.option(1, "dim", 0)
    known = call.signals(*parts)
    if not any(known):
        return Cut("no streams among what is joined")
    signals, merged = on_common_ground(call, known, parts)
    code = signals[0].code
    complete = all(s.complete for s in signals)
    if not complete and code.before_sites and axis % parts[0].ndim != parts[0].ndim - 1:
        return Enter(code, "joined to other tokens")
    tangent, label = (
        call.apply(of, axis) for of in ([s.tangent for s in signals], [s.label for s in signals])
    )
    made = Signal(tangent, label, code, complete)
    return side_by_side(call, known, made, merged=True) if merged else expanded(call, made)


def place(call: Call) -> Outcome:
    """Written into a part. What is constant leaves a stream's place in the memory, with a tangent of zero."""
    position = SOURCE[call.name]
    if call.option(3, "accumulate", False) is True and "index_put" in call.name:
        return accumulate(call)
    base, source = call.args[0], call.args[position]
    strided = call.name == "as_strided_scatter"
    if strided and (not base.is_contiguous() or base.storage_offset()):
        return Cut(call.name)
    known = call.signals(base, source)
    if not any(known) or call.kwargs.get("reduce"):
        return Cut("no streams in what is written into a part")
    (onto, extra), merged = on_common_ground(call, known, (base, source))
    rest = call.args[position + 1 :]

    def written(into: Tensor, what: Tensor) -> Tensor:
        return call.apply(
            into.contiguous(), *call.args[1:position], what if isinstance(source, Tensor) else 0.0, *rest
        )

    label = onto.label
    if known[1] is not None or call.depends(source):
        label = written(onto.label, extra.label)
    made = Signal(written(onto.tangent, extra.tangent), label, onto.code, bool((label >= 0).all()))
    return side_by_side(call, known, made, merged=merged)


def accumulate(call: Call) -> Outcome:
    """Added to a part: a sum with zeros elsewhere."""
    position = SOURCE[call.name]
    base, source = call.args[0], call.args[position]
    onto, extra = call.signals(base, source)
    made = None
    if extra is not None:
        label = _labels_of_part(call, extra.label, base.shape)
        if label is None:
            return Cut("sum of different channels or tokens", lost=True)
        zeros = extra.tangent.new_zeros(base.shape)
        tangent = call.apply(zeros, *call.args[1:position], extra.tangent, *call.args[position + 1 :])
        made = Signal(tangent, label, extra.code, bool((label >= 0).all()))
    return add_signals(call, base, onto, source, made, base.shape)


def _labels_of_part(call: Call, label: Tensor, shape: Sequence[int]) -> Tensor | None:
    """Labels of a part, blank elsewhere; None where elements of several channels or tokens land on one."""
    replace, read = REPLACING.get(call.name, ("index_put", "index"))
    where = [x.long() if isinstance(x, Tensor) else x for x in call.args[1 : SOURCE[call.name]]]
    placed = getattr(torch.ops.aten, replace)(label.new_full(shape, BLANK), *where, label)
    found = getattr(torch.ops.aten, read)(placed, *where)
    given = label[tuple(map(slice, found.shape))] if replace == "scatter" else label.expand(found.shape)
    return placed if torch.equal(found, given) else None


def choose(call: Call) -> Outcome:
    """where(condition, a, b): each element comes from one of the two, and from a constant nothing comes."""
    condition, *both = call.args
    known = call.signals(*both)
    if not any(known):
        return Cut("no streams among what is chosen")
    shape = torch.broadcast_shapes(*(x.shape for x in call.args if isinstance(x, Tensor)))  # type: ignore[no-untyped-call]
    signals, merged = on_common_ground(call, known, both)
    tangent = torch.where(condition, signals[0].tangent, signals[1].tangent).expand(shape)
    labels = [s.label for s in signals]
    for i, (signal, value) in enumerate(zip(known, both, strict=True)):
        if signal is None and not call.depends(value):
            labels[i] = labels[1 - i]
    label = torch.where(condition, labels[0], labels[1]).expand(shape)
    made = Signal(tangent, label, signals[0].code, bool((label >= 0).all()))
    return side_by_side(call, known, made, merged=merged)


def mask(call: Call) -> Outcome:
    """Elements are replaced by a constant: their tangent is zero, and their place remains."""
    signal = call.signal(call.args[0])
    if signal is None:
        return Cut("no streams")
    zero = {"masked_fill": (0.0,), "index_fill": (0.0,), "tril": (), "triu": ()}[call.name]
    arguments = call.args[1:-1] if zero else call.args[1:]
    return Pass(relabelled(signal, call.apply(signal.tangent, *arguments, *zero)))


def keep_finite(call: Call) -> Outcome:
    """nan_to_num: what is a number stays as it is."""
    signal = call.signal(call.args[0])
    if signal is None:
        return Cut("no streams")
    return Pass(relabelled(signal, signal.tangent * torch.isfinite(call.args[0])))


def pad(call: Call) -> Outcome:
    """Constants around the streams."""
    signal = call.signal(call.args[0])
    if signal is None:
        return Cut("no streams")
    tangent = torch.constant_pad_nd(signal.tangent, call.args[1], 0.0)
    label = torch.constant_pad_nd(signal.label, call.args[1], BLANK)
    sizes = zip(range(label.ndim - 1, -1, -1), call.args[1][::2], call.args[1][1::2], strict=False)
    for axis, before, after in sizes:
        if (before or after) and signal.label.shape[axis] > 1 and call.memory.alike(signal, axis):
            first = label.narrow(axis, max(0, before), 1)  # among several streams stands one that is constant
            label = first.expand_as(label) if bool((first >= 0).all()) else label
    return Pass(Signal(tangent, label, signal.code, bool((label >= 0).all())))


FAMILIES = (
    Family(
        "writing over",
        ("copy",),
        overwrite,
        "What is written brings its tangents and labels; what was there is gone. Written parts of one tensor "
        "that come from different points of the path make one site, in the basis of what they share.",
    ),
    Family("clearing", ("zero", "fill"), clear, "Nothing of the streams is left: the memory is free again."),
    Family(
        "laying side by side",
        ("cat", "stack"),
        join,
        "Elements stay what they were. Parts to which a branch was added and parts to which none was make "
        "one site; parts that are not streams leave gaps, and nothing is measured across a gap.",
    ),
    Family(
        "writing into a part",
        tuple(name for name in SOURCE if name not in REPLACING),
        place,
        "The output is linear in both operands and copies elements of either. Constants leave a tangent of "
        "zero; what was computed from the streams otherwise leaves a gap.",
    ),
    Family(
        "adding to a part",
        ("index_add", "scatter_add"),
        accumulate,
        "A sum with zeros elsewhere: as sums, and only where channels and tokens meet their own.",
    ),
    Family(
        "choosing",
        ("where",),
        choose,
        "With the condition frozen, each element is copied from one operand, and none comes from a constant.",
    ),
    Family(
        "masking",
        ("masked_fill", "index_fill", "tril", "triu"),
        mask,
        "A product with a frozen mask of zeros and ones.",
    ),
    Family(
        "replacing what is no number",
        ("nan_to_num",),
        keep_finite,
        "Where the streams are finite, the identity.",
    ),
    Family(
        "padding", ("constant_pad_nd",), pad, "Elements are copied; the constants around them are no streams."
    ),
)
