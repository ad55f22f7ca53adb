"""Everything that a forward pass can change, and putting it back."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mhc_diag.sources import offloaded

PLAIN = (bool, int, float, str)


@contextlib.contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for all modules, and all that a forward pass changes put back as it was.

    That is: flags, submodules, parameters, hooks and counters of each module, the contents of buffers and of
    attributes that are tensors, gradients, random numbers, what hooks of offloaded modules note, and torch's
    global switches.
    """
    undo = [_attributes(model), _contents(model), _gradients(model), *_switches(), *_random_numbers()]
    undo += [offloaded.kept(model), _shards(model)]
    stance = contextlib.nullcontext()
    if "torch._dynamo" in sys.modules:
        stance = torch.compiler.set_stance("force_eager")
    with torch.random.fork_rng(devices=_devices(model)), torch.no_grad(), stance:
        try:
            with contextlib.suppress(NotImplementedError):  # an exported program runs as it was exported
                model.eval()
            yield
        finally:
            for put_back in undo:
                put_back()


def _attributes(model: nn.Module) -> Callable[[], None]:
    """What modules register, and plain values such as counters.

    Tensors and lists that a forward pass binds to plain attributes stay: it keeps them to be read.
    """
    held = [(module, dict(vars(module))) for module in model.modules()]
    plain = [(module, {k: v for k, v in kept.items() if isinstance(v, PLAIN)}) for module, kept in held]
    registers = [v for _, kept in held for k, v in kept.items() if k.startswith("_") and isinstance(v, dict)]
    registered = [(register, register.copy()) for register in registers]

    def put_back() -> None:
        for module, values in plain:
            vars(module).update(values)
            if "training" not in values:  # a frozen script has no such flag until it is set
                vars(module).pop("training", None)
        for register, items in registered:
            register.clear()
            register.update(items)

    return put_back


def _shards(model: nn.Module) -> Callable[[], None]:
    """FSDP2 leaves the parameters of its root whole until a backward pass, which a probe does not have."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    sharded = [module for module in model.modules() if fsdp and isinstance(module, fsdp.FSDPModule)]

    def put_back() -> None:
        for module in sharded:
            module.reshard()

    return put_back


def _contents(model: nn.Module) -> Callable[[], None]:
    """The numbers in buffers and in tensors that are plain attributes; a probe writes into no parameter."""
    attributes = (v for m in model.modules() for v in vars(m).values() if isinstance(v, Tensor))
    tensors = {id(t): t for t in (*model.buffers(), *attributes) if not isinstance(t, nn.Parameter)}
    saved = [(tensor, tensor.detach().clone()) for tensor in tensors.values()]

    def put_back() -> None:
        for tensor, was in saved:
            if tensor.shape != was.shape or not _equal(tensor, was):
                tensor.detach().resize_(was.shape).copy_(was)

    return put_back


def _equal(one: Tensor, two: Tensor) -> bool:
    if one.layout != torch.strided or one.is_meta:
        return one.is_meta
    return torch.equal(one, two) or bool(((one == two) | ((one != one) & (two != two))).all())


def _gradients(model: nn.Module) -> Callable[[], None]:
    flags = [(p, p.requires_grad, p.grad) for p in model.parameters()]

    def put_back() -> None:
        for parameter, wanted, grad in flags:
            if parameter.requires_grad != wanted:
                parameter.requires_grad_(wanted)
            if parameter.grad is not grad:
                parameter.grad = grad

    return put_back


def _switches() -> list[Callable[[], None]]:
    """Global switches that a model may have left turned."""
    dtype, kinds = (
        torch.get_default_dtype(),
        [k for k in ("cpu", "cuda") if torch.amp.is_autocast_available(k)],
    )
    casts = [(k, torch.is_autocast_enabled(k), torch.get_autocast_dtype(k)) for k in kinds]

    def put_back() -> None:
        torch.set_default_dtype(dtype)
        for kind, enabled, to in casts:
            torch.set_autocast_enabled(kind, enabled)
            torch.set_autocast_dtype(kind, to)

    return [put_back]


def _random_numbers() -> list[Callable[[], None]]:
    """Python's and numpy's; torch has a context of its own for its."""
    state = random.getstate()
    undo: list[Callable[[], None]] = [lambda: random.setstate(state)]
    if "numpy" in sys.modules:
        numpy: Any = sys.modules["numpy"].random
        drawn = numpy.get_state()
        undo.append(lambda: numpy.set_state(drawn))
    return undo


def _devices(model: nn.Module) -> list[int]:
    """The accelerators that the model is on: others' random numbers need not be kept."""
    found = {device for device in offloaded.devices(model) if device.type == "cuda"}
    return sorted(device.index or 0 for device in found)
