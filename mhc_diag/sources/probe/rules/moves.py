"""Operations without arithmetic: copies, rearrangements, views, and those that only ask for a shape."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from mhc_diag.sources.probe.bases import Signal
from mhc_diag.sources.probe.call import Call, Cut, Outcome, Pass, Rewrite, Untouched
from mhc_diag.sources.probe.combine import expanded
from mhc_diag.sources.probe.rules.family import Family


def move(call: Call) -> Outcome:
    """Tangents and labels go the way of the elements. Copies of a single stream get a code each."""
    source = call.signal(call.args[0])
    if source is None:
        return Cut("no streams among what is moved")
    tangent, label = (call.apply(part, *call.args[1:]) for part in (source.tangent, source.label))
    return expanded(call, Signal(tangent, label, source.code, source.complete))


def copy(call: Call) -> Outcome:
    """Copies and casts: the operator that is measured is the one after the cast."""
    source = call.signal(call.args[0])
    if source is None:
        return Cut("no streams among what is moved")
    dtype = call.kwargs.get("dtype")
    if dtype is not None and not dtype.is_floating_point:
        return Cut("rounded to whole numbers")
    device = call.kwargs.get("device") or source.tangent.device
    return Pass(Signal(source.tangent.to(device), source.label.to(device), source.code, source.complete))


def view_and_copy(call: Call) -> Outcome:
    """A view, copied at once: followed as the two that it is."""

    def run() -> Any:
        view = getattr(torch.ops.aten, call.name.removesuffix("_copy"))(*call.args, **call.options)
        return tree_map_only(Tensor, torch.ops.aten.clone, view)

    return Cut(call.name) if call.mutates else Rewrite(run)


def view(call: Call) -> Outcome:
    """Nothing happens to memory, and shadows belong to memory: also where the view replaces its tensor."""
    return Untouched() if call.mutates else Cut(call.name)


def shape(call: Call) -> Outcome:
    """The output has nothing of the streams."""
    return Untouched()


VIEWS = (
    *("alias", "as_strided", "detach", "diagonal", "expand", "permute", "select", "slice", "split"),
    *("split_with_sizes", "squeeze", "t", "transpose", "unbind", "unfold", "unsqueeze", "view"),
)

FAMILIES = (
    Family(
        "copies and casts",
        ("clone", "_to_copy", "lift_fresh_copy"),
        copy,
        "Each element stays what it was. A cast to another floating-point type rounds the streams, not the "
        "coefficients of what follows; one to whole numbers ends the path.",
    ),
    Family(
        "rearrangements",
        (
            *("index", "_unsafe_index", "index_select", "gather", "take", "repeat", "roll", "flip", "rot90"),
            *("pixel_shuffle", "pixel_unshuffle", "channel_shuffle"),
        ),
        move,
        "Each element of the output is one element of the input, and tangents and labels go the same way; "
        "whether streams, tokens or channels were exchanged is read off the labels.",
    ),
    Family(
        "views that are copied",
        tuple(f"{name}_copy" for name in VIEWS),
        view_and_copy,
        "The forms that views take in functionalised programs: followed as a view and a copy.",
    ),
    Family(
        "views",
        (*VIEWS, "_unsafe_view", "_reshape_alias", "unsafe_split", "unsafe_split_with_sizes"),
        view,
        "Shadows belong to memory and not to tensors, so that what shares memory shares its tangents "
        "without any rule. A view of another element type ends the path.",
    ),
    Family(
        "questions about a shape",
        (
            *(
                "zeros_like",
                "ones_like",
                "empty_like",
                "full_like",
                "rand_like",
                "randn_like",
                "randint_like",
            ),
            *("new_zeros", "new_ones", "new_empty"),
            *("new_full", "new_empty_strided", "sym_size", "is_same_size"),
        ),
        shape,
        "They take only the shape of their argument: the output does not depend on the streams.",
    ),
)
