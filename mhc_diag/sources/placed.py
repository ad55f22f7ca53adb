"""On which device a live model runs, and in which numbers: what `--device` and `--dtype` ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources import offloaded
from mhc_diag.sources.printable import printable

if TYPE_CHECKING:
    import torch
    from torch import nn

    from mhc_diag.sources.inputs import Arguments

DTYPES = {"fp64": "float64", "fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
AUTO = "auto"
"""Wherever there is room: the work of accelerate."""


def checked_device(text: str) -> None:
    """Refuse a device that cannot be used here.

    Raises:
        MhcDiagError: torch knows no such device, or there is none in this machine.

    Example:
        >>> checked_device("cpu")
    """
    import torch

    if text == AUTO:
        return
    try:
        device = torch.device(text)
    except RuntimeError as e:
        hint = "give cpu, cuda, cuda:1, mps, or auto for wherever there is room"
        raise MhcDiagError(f"--device is {printable(text)}, which torch does not know", hint=hint) from e
    if device.type == "cuda" and not torch.cuda.is_available():
        built = "sees no CUDA device" if torch.version.cuda else "is built without CUDA"
        raise MhcDiagError(
            f"--device is {text}, but torch {torch.__version__} {built}",
            hint="leave it out to measure on the CPU, or install a torch for this machine's GPU",
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise MhcDiagError(
            f"--device is {text}, but there are {torch.cuda.device_count()} CUDA devices",
            hint="they are counted from 0",
        )
    try:
        torch.ones(1, device=device).tolist()  # on the meta device there is nothing to read
    except Exception as e:  # of many kinds, and an assertion among them
        raise MhcDiagError(
            f"--device is {text}, which cannot be used here: {printable(' '.join(str(e).split())[:200])}",
            hint="leave it out to measure where the factory puts the model",
        ) from e


def dtype(name: str) -> torch.dtype:
    """A torch dtype by its short name.

    Raises:
        MhcDiagError: there is none of that name.

    Example:
        >>> dtype("bf16")
        torch.bfloat16
    """
    import torch

    if name not in DTYPES:
        raise MhcDiagError(f"--dtype is {printable(name)}", hint=f"give {', '.join(DTYPES)}")
    found: torch.dtype = getattr(torch, DTYPES[name])
    return found


def place(
    module: nn.Module,
    arguments: Arguments,
    device: str | None,
    numbers: str | None,
    *,
    spread: bool = False,
) -> tuple[nn.Module, Arguments]:
    """The module and its input where they are to be measured, and in these numbers.

    Tensors of the input that are floating-point numbers take the dtype too. A model whose weights are
    brought in by hooks is where those say, and stays there. `auto` is for models that were spread when they
    were loaded.

    Raises:
        MhcDiagError: the model is placed by accelerate, there is no room for it, or it was not spread.

    Example:
        >>> import torch
        >>> module, ((x,), _) = place(torch.nn.Linear(2, 2), ((torch.ones(1, 2),), {}), "cpu", "bf16")
        >>> module(x).dtype
        torch.bfloat16
    """
    import torch
    from torch.utils._pytree import tree_map_only

    if device == AUTO and not spread:
        raise MhcDiagError(
            f"--device is auto, but {type(module).__name__} comes from no Hugging Face folder",
            hint="call accelerate.dispatch_model in the factory, or name a device",
        )
    where = None if device in (None, AUTO) else torch.device(str(device))
    kind = None if numbers is None else dtype(numbers)
    if where is None and kind is None:
        return module, arguments
    _refuse_hooked(module, device if where is not None else None, numbers)
    try:
        module = module.to(device=where, dtype=kind)
    except torch.cuda.OutOfMemoryError as e:
        raise MhcDiagError(
            f"{type(module).__name__} does not fit on {where}",
            hint="--dtype bf16 halves what it takes; --device auto spreads a Hugging Face folder",
        ) from e

    def placed(tensor: Any) -> Any:
        return tensor.to(device=where, dtype=kind if tensor.is_floating_point() else None)

    return module, tree_map_only(torch.Tensor, placed, arguments)


def _refuse_hooked(module: nn.Module, device: str | None, numbers: str | None) -> None:
    name = type(module).__name__
    if device is not None and any(True for _ in offloaded.hooks(module)):
        raise MhcDiagError(
            f"--device is {device}, but {name} is already placed by accelerate",
            hint="leave --device out: it is measured where it runs",
        )
    if numbers is not None and offloaded.away(module):
        raise MhcDiagError(
            f"--dtype is {numbers}, but the weights of {name} are offloaded",
            hint="convert the model before it is offloaded, in the factory",
        )
