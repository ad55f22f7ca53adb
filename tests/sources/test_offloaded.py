"""Models that accelerate offloads or spreads: measured as if they were not, and left as they were."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from mhc_diag.errors import MhcDiagError
from mhc_diag.records import MixingStack
from mhc_diag.sources import offloaded
from mhc_diag.sources.exposed.capture import capture
from mhc_diag.sources.exposed.findings import told
from mhc_diag.sources.inputs import random_tokens
from mhc_diag.sources.probe import probe
from mhc_diag.watch import watch
from sample_models import architectures

accelerate = pytest.importorskip("accelerate", reason="offloading is the work of accelerate")
IDS = torch.arange(12).reshape(1, 12)
Way = Callable[[nn.Module, Path], nn.Module]


def dispatched(model: nn.Module, folder: Path) -> nn.Module:
    """Some layers in memory and some on disk, as device_map="auto" leaves a model that does not fit."""
    layers = {f"layers.{k}": "disk" if k % 2 else "cpu" for k in range(len(model.layers))}
    rest = dict.fromkeys((n for n, _ in model.named_children() if n != "layers"), "cpu")
    return accelerate.dispatch_model(model, layers | rest, main_device="cpu", offload_dir=str(folder))


WAYS: dict[str, Way] = {
    "memory": lambda m, _: accelerate.cpu_offload(m, execution_device="cpu", offload_buffers=True),
    "disk": lambda m, folder: accelerate.disk_offload(m, str(folder), execution_device="cpu"),
    "some of each": dispatched,
}


def seeded(factory: Callable[[], nn.Module]) -> nn.Module:
    """A few layers, whose matrices are not those that all start with."""
    torch.manual_seed(0)
    model = factory()
    model.layers = model.layers[:3]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def scanned(model: nn.Module) -> MixingStack:
    with capture(model) as seen:
        stack = probe(model, IDS)
    return told(stack, seen)


@pytest.mark.parametrize(
    ("factory", "way"), [*((architectures.hc, way) for way in WAYS), (architectures.mhc, "memory")]
)
def test_it_measures_what_the_plain_model_measures(tmp_path: Path, factory, way: str) -> None:
    plain = seeded(factory)
    expected = scanned(copy.deepcopy(plain))
    model = WAYS[way](plain, tmp_path)
    assert any(p.is_meta for p in model.parameters())
    found = scanned(model)
    assert len(found.sites) == 6 and torch.equal(found.matrices, expected.matrices)
    assert [s.label for s in found.sites] == [s.label for s in expected.sites]
    assert found.provenance.exposed == expected.provenance.exposed
    assert bool(found.provenance.exposed) == (factory is architectures.hc)  # whose matrices are parameters


def state(model: nn.Module) -> tuple[object, ...]:
    hooks = [(path, dict(vars(hook))) for path, _, hook in offloaded.hooks(model)]
    tied = [{k: dict(v) for k, v in (h["tied_params_map"] or {}).items()} for _, h in hooks]
    tensors = [(n, id(t), t.device.type) for n, t in (*model.named_parameters(), *model.named_buffers())]
    return hooks, tied, tensors, [m.training for m in model.modules()]


class Tied(nn.Module):
    """Its embedding is its head, so that hooks keep it while several modules use it."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.site = nn.Embedding(5, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 5, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        x = 0.5 * x + self.site(x)
        return self.head(x)


class Failing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("out of order")


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("way", ["memory", "disk"])
def test_it_is_left_as_it_was(tmp_path: Path, way: str, fails: bool) -> None:
    model = WAYS[way](Tied(), tmp_path)
    if fails:
        inner = model.head._old_forward
        model.head._old_forward = Failing().forward
    before = state(model)
    stack = probe(model, IDS % 5)
    assert stack.matrices.flatten().tolist() == [0.5] * 12
    assert ("out of order" in stack.provenance.failure) == fails
    assert state(model) == before
    if fails:
        model.head._old_forward = inner
    assert torch.isfinite(model(IDS % 5)).all() and {p.device.type for p in model.parameters()} == {"meta"}


def test_random_tokens_do_not_go_where_the_weights_are_not(tmp_path: Path) -> None:
    model = WAYS["memory"](seeded(architectures.hc), tmp_path)
    drawn, vocabulary = random_tokens(model, tokens=4, batch=1, seed=0)
    assert drawn.device.type == "cpu" and vocabulary == architectures.VOCABULARY


def test_weights_on_the_meta_device_that_nothing_brings_in_are_still_refused(tmp_path: Path) -> None:
    model = WAYS["memory"](Tied(), tmp_path)
    model.register_parameter("lost", nn.Parameter(torch.ones(2, device="meta")))
    with pytest.raises(MhcDiagError, match="shapes but no numbers: lost"):
        probe(model, IDS % 5)


def test_a_watch_says_that_it_needs_the_weights_in_place(tmp_path: Path) -> None:
    model = WAYS["memory"](seeded(architectures.hc), tmp_path)
    with pytest.raises(MhcDiagError, match="offloaded, and it cannot be watched"):
        watch(model, example=IDS)


def test_it_runs_where_its_hooks_say() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1]._hf_hook = accelerate.hooks.AlignDevicesHook(execution_device=3)
    found = {(device.type, device.index) for device in offloaded.devices(model)}
    assert found == {("cpu", None), ("cuda", 3)}
