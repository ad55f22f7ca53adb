"""A model, and everything around it, is after a probe as it was before, whatever happens during it."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from small_models import B, S, Streams
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.probe import probe

TOKENS = torch.randint(0, 11, (B, S), generator=torch.Generator().manual_seed(1))


class Messy(nn.Module):
    """Does in its forward pass all that a forward pass should not do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.streams = Streams("matmul")
        self.batch, self.dropout = nn.BatchNorm1d(11), nn.Dropout(0.5)
        self.tied = self.streams.head  # one module under two names
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("cache", torch.zeros(2, 3))
        self.register_buffer("empty", None)
        self.plain, self.calls = torch.ones(3), 0
        self.streams.sites[1].eval()
        self.streams.sites[0].branch[1].weight.requires_grad_(False)
        self.streams.sites[0].branch[1].bias.grad = torch.ones(16)

    def forward(self, tokens: Tensor) -> Tensor:
        self.calls += 1
        self.steps += 1
        self.cache = torch.full((5, 3), float(self.calls))
        self.empty = torch.ones(2)
        self.plain.mul_(2)
        self.added = nn.Linear(2, 2)
        self.streams.requires_grad_(True)
        self.streams.sites[0].branch[1].bias.grad = None
        self.batch.train()
        self.dropout.train()
        self.register_forward_hook(lambda *_: None)
        torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float64)
        torch.set_autocast_enabled("cpu", True)
        try:
            out = self.streams(tokens).float()
        finally:
            torch.set_autocast_enabled("cpu", False)
        out = self.dropout(self.batch(out.flatten(0, 1))) + 1e-3 * torch.randn(out.flatten(0, 1).shape)
        torch.set_autocast_enabled("cpu", True)
        return out * random.random() + float(np.random.rand())


def everything(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """All that could be changed: of each module, and of the process."""
    for name, module in model.named_modules(remove_duplicate=False):
        for key, value in vars(module).items():
            if key == "applied":  # kept by the model for whoever wants to read it
                continue
            yield f"{name}.{key}", copied(value)
    for name, parameter in model.named_parameters():
        yield name, (parameter._version, parameter.requires_grad, copied(parameter.grad), id(parameter))
    yield "random", (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist())
    yield "grad mode", (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
    yield "autocast", (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"))
    yield "dtype", torch.get_default_dtype()
    yield "modes", (torch._C._len_torch_dispatch_stack(), torch._C._len_torch_function_stack())
    yield "dual level", forward_ad._current_level
    for kind in ("forward", "forward_pre", "backward", "backward_pre"):
        hooks = getattr(torch.nn.modules.module, f"_global_{kind}_hooks")
        yield kind, len(hooks)
    yield "stance", torch.compiler._stance if hasattr(torch.compiler, "_stance") else None


def copied(value: Any) -> Any:
    """Something to compare with later, also where the value itself is changed in place."""
    if isinstance(value, Tensor):
        return (str(value.dtype), value.detach().tolist())
    if isinstance(value, Mapping):
        return [(key, copied(item)) for key, item in value.items()]
    if isinstance(value, (list, set, tuple)):
        return [copied(item) for item in value]
    return value if isinstance(value, (int, str, float, bool, type(None))) else id(value)


class Sabotage(TorchDispatchMode):
    """Counts operations, and raises at one of them."""

    def __init__(self, at: int, error: BaseException) -> None:
        super().__init__()
        self.at, self.error, self.count = at, error, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        if self.count == self.at:
            raise self.error
        return func(*args, **(kwargs or {}))


class Sabotaged(nn.Module):
    def __init__(self, inner: nn.Module, sabotage: Sabotage) -> None:
        super().__init__()
        self.inner, self.sabotage = inner, [sabotage, sabotage]

    def forward(self, tokens: Tensor) -> Tensor:
        with self.sabotage[0]:
            return self.inner(tokens)


@pytest.fixture(autouse=True)
def switches() -> Iterator[None]:
    """What a messy model leaves turned when it runs without a probe."""
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_autocast_enabled("cpu", False)
    torch.set_grad_enabled(True)


def test_after_a_probe() -> None:
    model = Messy()
    before = dict(everything(model))
    assert len(probe(model, TOKENS).sites) == 3
    assert dict(everything(model)) == before


def test_the_test_notices_a_messy_model() -> None:
    model = Messy()
    before = dict(everything(model))
    model(TOKENS)
    changed = {key for key, value in everything(model) if before.get(key) != value}
    switches = {"random", "autocast", "dtype"}
    assert changed >= switches | {".calls", "._buffers", ".plain", "._modules", "._forward_hooks"}
    assert "streams.sites.0.branch.1.bias" in changed


def test_outputs_are_the_same_to_the_last_bit() -> None:
    model = Streams("matmul").train()
    before = model(TOKENS)
    probe(model, TOKENS)
    assert torch.equal(model(TOKENS), before)


def operations() -> int:
    """How many there are inside the model while it is probed, those of the probe's hooks among them."""
    sabotage = Sabotage(0, RuntimeError())
    probe(Sabotaged(Streams("in place", depth=2), sabotage), TOKENS)
    return sabotage.count


@pytest.mark.parametrize("error", [RuntimeError("out of luck"), KeyboardInterrupt(), SystemExit(3)])
def test_after_an_error_at_any_operation(error: BaseException) -> None:
    seen = set()
    for at in range(1, operations() + 1, 1 if isinstance(error, RuntimeError) else 9):
        model = Sabotaged(Streams("in place", depth=2), Sabotage(at, error))
        before = dict(everything(model))
        try:
            stack = probe(model, TOKENS)
            assert stack.provenance.failure == "RuntimeError: out of luck"
            seen.add(len(stack.sites))
        except MhcDiagError as e:
            assert "raised RuntimeError: out of luck" in e.message
            seen.add(0)
        except (KeyboardInterrupt, SystemExit) as e:
            assert e is error
        assert dict(everything(model)) == before, at
    assert seen == ({0, 1, 2} if isinstance(error, RuntimeError) else set())


def test_a_messy_model_that_raises() -> None:
    class Raises(Messy):
        def forward(self, tokens: Tensor) -> Tensor:
            super().forward(tokens)
            raise RuntimeError("out of luck")

    model = Raises()
    before = dict(everything(model))
    assert probe(model, TOKENS).provenance.failure == "RuntimeError: out of luck"
    assert dict(everything(model)) == before


@pytest.mark.parametrize("where", ["register_forward_hook", "register_forward_pre_hook"])
def test_after_an_error_in_a_hook_of_the_user(where: str) -> None:
    def hook(*_: Any) -> None:
        raise RuntimeError("from the hook")

    model = Streams("matmul")
    getattr(model.sites[2].branch, where)(hook)
    before = dict(everything(model))
    stack = probe(model, TOKENS)
    assert stack.provenance.failure == "RuntimeError: from the hook" and len(stack.sites) == 2
    assert dict(everything(model)) == before


def test_a_hook_that_raises_and_is_caught_does_not_move_later_sites() -> None:
    def hook(*_: Any) -> None:
        raise RuntimeError("from the hook")

    class Catches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.broken, self.streams = nn.Linear(16, 16), Streams("matmul")

        def forward(self, tokens: Tensor) -> Tensor:
            with pytest.raises(RuntimeError):
                self.broken(torch.ones(16))
            return self.streams(tokens)

    model = Catches()
    model.broken.register_forward_pre_hook(hook)
    assert [s.path for s in probe(model, TOKENS).sites] == [f"streams.sites.{i}" for i in range(3)]


def test_a_model_that_is_not_initialised_is_refused_and_left_so() -> None:
    class Lazy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch = nn.LazyLinear(16)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.branch(x)

    model = Lazy()
    with pytest.raises(MhcDiagError, match="branch.weight gets its shape from the first call") as caught:
        probe(model, torch.ones(1, 3, 16))
    assert "call the model once" in caught.value.hint
    assert isinstance(model.branch, nn.LazyLinear)
    model(torch.ones(1, 3, 16))
    assert probe(model, torch.ones(1, 3, 16)).matrices.flatten().tolist() == [1.0] * 3


@pytest.mark.parametrize("grad", [False, True])
def test_grad_and_inference_mode_around_a_probe(grad: bool) -> None:
    model = Streams("matmul")
    with torch.set_grad_enabled(grad):
        one = probe(model, TOKENS)
        assert torch.is_grad_enabled() is grad
    with torch.inference_mode():
        two = probe(model, TOKENS)
        assert torch.is_inference_mode_enabled()
    assert torch.equal(one.matrices, two.matrices)


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x,), lambda x: {"x": x}, lambda x: ([x],)])
def test_the_input_is_not_written_to(wrap: Callable[[Any], Any]) -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branch = nn.Linear(16, 16)

        def forward(self, x: Any) -> Tensor:
            x = x[0] if isinstance(x, list) else x
            return x.add_(self.branch(x.clone()))

    x = torch.randn(2, 3, 16)
    was, version = copy.deepcopy(x), x._version
    assert probe(InPlace(), wrap(x)).matrices.flatten().tolist() == [1.0] * 6
    assert torch.equal(x, was) and x._version == version
