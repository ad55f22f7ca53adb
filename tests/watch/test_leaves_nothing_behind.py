"""Training goes on as if nobody watched, and copies, files and interruptions know nothing of it."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from shown_models import TOKENS, Shown
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import mhc_diag


def trained(form: str, *, steps: int = 5, autocast: bool = False, **options: Any) -> dict[str, torch.Tensor]:
    model = Shown(form).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    torch.manual_seed(3)  # dropout
    watch = mhc_diag.watch(model, **options) if options else None
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = model(TOKENS).float().square().sum()
        loss.backward()
        assert all(p.grad is not None for n, p in model.named_parameters() if ".branch." in n)
        optimizer.step()
        optimizer.zero_grad()
    if watch is not None:
        assert len(watch.history) == steps and not watch.notes
        watch.close()
    untouched(model)
    return {**model.state_dict(), "random": torch.get_rng_state()}


def untouched(model: nn.Module) -> None:
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert "_compiled_call_impl" not in vars(model)
    assert torch._C._len_torch_dispatch_stack() == 0 and torch.is_autocast_cache_enabled()


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("form", ["transposed", "result", "scaled"])
def test_the_same_weights_and_random_numbers(form: str, autocast: bool) -> None:
    plain = trained(form, autocast=autocast)
    watched = trained(form, autocast=autocast, verify_every=1, probe_every=1)
    assert all(torch.equal(plain[k], watched[k]) for k in plain)


def test_no_cast_of_a_probe_is_kept_for_training() -> None:
    model, kept = Shown("transposed").train(), []
    model.sites[0].register_forward_pre_hook(lambda *_: kept.append(torch.is_autocast_cache_enabled()))
    with mhc_diag.watch(model), torch.autocast("cpu", torch.bfloat16):
        model(TOKENS)
    assert kept == [False, False, True]  # two probes, and the forward pass itself


@pytest.mark.parametrize("form", ["transposed", "result"])
def test_copies_and_files(form: str) -> None:
    model = Shown(form).train()
    with mhc_diag.watch(model) as w:
        model(TOKENS)
        buffer = io.BytesIO()
        torch.save(model, buffer)
        copies = [copy.deepcopy(model), copy.copy(model), pickle.loads(pickle.dumps(model))]
        assert b"mhc_diag" not in buffer.getvalue() and b"mhc_diag" not in pickle.dumps(model)
        for other in copies:
            untouched(other)
            other(TOKENS)
        assert w.forwards == 1
        model(TOKENS)
        assert w.forwards == 2
    untouched(model)


def test_a_module_that_pickles_all_of_itself() -> None:
    class Own(Shown):
        def __getstate__(self) -> dict[str, Any]:
            return dict(self.__dict__)

    model = Own("transposed").train()
    with mhc_diag.watch(model) as w:
        model(TOKENS)
        other = copy.deepcopy(model)
        other(TOKENS)
        assert other._compiled_call_impl is None and w.forwards == 1


@pytest.mark.parametrize("failure", [RuntimeError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("form", ["transposed", "result"])
def test_a_forward_pass_that_is_interrupted(form: str, failure: BaseException) -> None:
    model = Shown(form).train()
    functions = [site.maker.constrain for site in model.sites]
    watch = mhc_diag.watch(model, verify_every=1000)
    model(TOKENS)
    gains = watch.gains()
    model.fails = failure
    for _ in range(2):
        with pytest.raises(type(failure)):
            model(TOKENS)
        assert not any(m._forward_hooks for m in model.modules())  # without close()
        assert [site.maker.constrain for site in model.sites] == functions
    assert watch.gains() == gains
    model.fails = None
    model(TOKENS)
    assert len(watch.history) == 2
    watch.close()
    watch.close()
    untouched(model)


@pytest.mark.parametrize("first", [0, 1])
def test_two_watches_on_one_model(first: int) -> None:
    model = Shown("transposed").train()
    one, two = mhc_diag.watch(model, verify_every=1), mhc_diag.watch(model, every=2)
    for _ in range(4):
        model(TOKENS)
    assert (one.forwards, len(one.history), two.forwards, len(two.history)) == (4, 4, 4, 2)
    assert one.history[2]["mhc/forward_max"] == two.history[1]["mhc/forward_max"]
    (one, two)[first].close()
    model(TOKENS)
    assert (one, two)[first].forwards == 4 and (one, two)[1 - first].forwards == 5
    (one, two)[1 - first].close()
    untouched(model)


def test_a_watch_on_a_part_of_a_watched_model() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = Shown("transposed"), nn.Linear(11, 11)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.head(self.first(tokens))

    model = Two().train()
    with mhc_diag.watch(model) as outer, mhc_diag.watch(model.first, verify_every=1) as inner:
        for _ in range(4):
            model(TOKENS)
    assert outer.tapped and inner.tapped and inner.forwards == outer.forwards == 4
    gains = [[row["mhc/forward_max"] for row in w.history] for w in (outer, inner)]
    assert gains[0] == gains[1] and len(gains[0]) == 4
    untouched(model.first)


def test_a_probe_of_a_watched_model_is_not_recorded() -> None:
    model = Shown("transposed").train()
    with mhc_diag.watch(model, evaluation=True) as w:
        model(TOKENS)
        mhc_diag.probe(model, TOKENS)
        mhc_diag.probe(model, TOKENS)
    assert w.forwards == 1


class NoWaiting(TorchDispatchMode):
    """Fails where a value is read from the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket not in {
            torch.ops.aten._local_scalar_dense,
            torch.ops.aten.nonzero,
            torch.ops.aten.is_nonzero,
            torch.ops.aten.equal,
            torch.ops.aten.masked_select,
            torch.ops.aten._unique2,
        }, f"{func} waits for the device"
        if func.overloadpacket is torch.ops.aten._to_copy:
            assert (kwargs or {}).get("device") in (None, args[0].device), "moved to another device"
        if func.overloadpacket in {torch.ops.aten.index, torch.ops.aten.index_put_}:
            assert not any(i is not None and i.dtype == torch.bool for i in args[1]), (
                "a mask waits for its count"
            )
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "form", ["transposed", "rounded", "sequence first", "per sample", "result", "parameter", "argument"]
)
def test_a_recorded_forward_pass_does_not_wait_for_the_device(form: str) -> None:
    model = Shown(form).train()
    with mhc_diag.watch(model) as w:
        model(TOKENS)
        model(TOKENS)
        model(TOKENS)  # the first two are compared with a probe, and so is the fifth
        with NoWaiting():
            model(TOKENS)
        assert len(w.history) == 4
    with pytest.raises(AssertionError, match="waits"), NoWaiting():
        torch.ones(1).item()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch, of its own tracing
def test_compiled_models_are_probed() -> None:
    model = Shown("transposed").train()
    compiled = torch.compile(model, backend="eager")
    compiled(TOKENS)
    model.sites[0].compile(backend="eager")
    for watched in (compiled, model):
        with mhc_diag.watch(watched, probe_every=2) as w:
            for _ in range(3):
                watched(TOKENS)
        assert not w.tapped and len(w.history) == 2 and w.taps is not None
        assert "lies inside a compiled module" in w.taps.missing[0].reason
        assert "_compiled_call_impl" not in vars(watched)
    model = Shown("parameter").train()
    model.compile(backend="eager")
    code = model._compiled_call_impl
    with mhc_diag.watch(model) as w:
        model(TOKENS)
        model(TOKENS)
    assert w.tapped and len(w.history) == 2 and model._compiled_call_impl is code
