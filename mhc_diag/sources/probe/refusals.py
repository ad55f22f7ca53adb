"""Models and inputs that cannot be measured, and what to do about it, in the user's terms."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources import offloaded
from mhc_diag.sources.inputs import Arguments


def refuse_what_cannot_run(model: nn.Module, call: Arguments) -> None:
    """Refuse models and inputs without numbers, before the model is run.

    Raises:
        MhcDiagError: weights are lazy, on the meta device or fake, or an input has no elements.
    """
    name, brought = type(model).__name__, offloaded.away(model)
    for path, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise MhcDiagError(
                f"{name} is not initialised: {path} gets its shape from the first call",
                hint="call the model once with this input before it is measured",
            )
        if _has_no_numbers(tensor) and path not in brought:
            raise MhcDiagError(
                f"{name} has shapes but no numbers: {path} is {_kind(tensor)}",
                hint="load its weights, or build it without the context that leaves them out",
            )
    for tensor in tree_leaves(call):
        if isinstance(tensor, Tensor) and _has_no_numbers(tensor):
            raise MhcDiagError(
                f"the input of {name} has a shape but no numbers: it is {_kind(tensor)}",
                hint="give a tensor with numbers in it, on the device of the model",
            )
        if isinstance(tensor, Tensor) and not tensor.numel():
            raise MhcDiagError(
                f"the input of {name} is empty: its shape is {tuple(tensor.shape)}",
                hint="give at least one token",
            )


def advice(error: Exception, call: Arguments) -> str:
    """What to do about an exception of the model's, judged by what it was called with."""
    args, kwargs = call
    if isinstance(error, TypeError) and "argument" in str(error):
        given = ", ".join([*(_shape(a) for a in args), *(f"{k}={_shape(v)}" for k, v in kwargs.items())])
        return f"it was called with ({given}); a dictionary of keyword arguments names every one of them"
    return "check that the input has the shape and dtype the model expects"


def no_entry(call: Arguments) -> str:
    """Why no residual path begins anywhere."""
    floats = [x for x in tree_leaves(call) if isinstance(x, Tensor) and x.is_floating_point()]
    if floats:
        shapes = ", ".join(_shape(x) for x in floats)
        return f"a floating-point input needs axes of tokens and of channels, and this one has {shapes}"
    return "the model was given no floating-point input and looked nothing up in an embedding"


def _has_no_numbers(tensor: Tensor) -> bool:
    return tensor.is_meta or isinstance(tensor, FakeTensor)


def _kind(tensor: Tensor) -> str:
    return "a fake tensor" if isinstance(tensor, FakeTensor) else "on the meta device"


def _shape(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}[{', '.join(map(str, value.shape))}]"
    return type(value).__name__
