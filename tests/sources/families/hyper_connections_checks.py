"""Models of the library hyper-connections: saved as its users do, and what they apply while they run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hyper_connections_models import DIM, Stacked, own_matrices, perturbed
from torch import Tensor, nn

from mhc_diag.records import MixingStack
from mhc_diag.sources.checkpoint import scan_variants
from mhc_diag.sources.checkpoint.options import Options
from mhc_diag.sources.probe import probe

INPUT = torch.randn(2, 8, DIM, generator=torch.Generator().manual_seed(0))
IMAGE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
SCALES = ("dynamic_alpha_scale", "residual_scale", "dynamic_alpha_and_branch_input.scale")


class Views(nn.Module):
    """A branch that is given two views of the streams along a first axis."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(DIM, DIM)

    def forward(self, views: Tensor) -> Tensor:
        return self.layer(views[0] * torch.sigmoid(views[1]))


def build(kind: str, depth: int = 3, **options: Any) -> tuple[Any, Tensor]:
    """A model with perturbed parameters, and an input for it."""
    images = kind == "channel first"
    start = {"start": nn.Conv2d(3, DIM, 2, stride=2)} if images else {}
    model = Stacked(kind, depth=depth, **start, **_branch(kind, options), **options)
    return perturbed(model), IMAGE if images else INPUT


def still(model: nn.Module) -> nn.Module:
    """The same model without what depends on the streams."""
    for name, parameter in model.named_parameters():
        if name.endswith(SCALES):
            parameter.data.zero_()
    return model


def saved(model: nn.Module, path: Path) -> Path:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(model.state_dict(), path)
    else:
        torch.save({"model": model.state_dict(), "optimizer": {"state": {}}, "step": 7}, path)
    return path


def scan(path: Path, **options: Any) -> list[MixingStack]:
    return scan_variants(path, Options(**options))


def check_still(kind: str, folder: Path, **options: Any) -> MixingStack:
    """At zero dynamic input a file reads as the probe measures its model, every token alike."""
    model, inputs = build(kind, **options)
    measured = probe(still(model), inputs)
    stack = scan(saved(model, folder / "x.safetensors"))[0]
    assert [site.path for site in stack.sites] == [f"layers.{i}" for i in range(len(stack.sites))]
    truth = np.asarray(measured.matrices, np.float64)
    np.testing.assert_allclose(np.broadcast_to(stack.matrices, truth.shape), truth, rtol=0, atol=1e-6)
    assert np.abs(truth - np.swapaxes(truth, -1, -2)).max(axis=(1, 2, 3)).min() > 0.01
    return stack


def check_dynamic(kind: str, folder: Path, patch: pytest.MonkeyPatch, **options: Any) -> MixingStack:
    """At the streams that came to each site a file reads as what the library's own code applied there."""
    model, inputs = build(kind, **options)
    streams = streams_of(model, inputs)
    own = np.stack([m.double().numpy() for m in own_matrices(model, inputs, patch=patch)])
    safetensors.torch.save_file(streams, folder / "streams.safetensors")
    path = saved(model, folder / "x.pt")
    stack = scan(path, activations=folder / "streams.safetensors")[0]
    assert own.std(axis=1).max() > 1e-3  # the tokens differ
    np.testing.assert_allclose(stack.matrices, own, rtol=0, atol=1e-5)
    measured = probe(model, inputs)
    for read, told in ((stack.pre, measured.pre), (stack.post, measured.post)):
        assert (read is None) == (told is None)
        if told is not None:
            known = np.isfinite(np.asarray(told))
            assert known.mean() > 0.5
            np.testing.assert_allclose(np.asarray(read)[known], np.asarray(told)[known], rtol=0, atol=1e-5)
    return stack


def streams_of(model: Any, inputs: Tensor) -> dict[str, Tensor]:
    """The streams at the input of each site, (T, n f, C / f) by its name."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, streams: Tensor) -> None:
        if model.kind == "channel first":
            streams = streams.unflatten(0, (-1, model.streams)).permute(0, 3, 4, 1, 2)
        elif model.kind != "mHCv2":
            streams = streams.unflatten(0, (-1, model.streams)).transpose(1, 2)
        width = DIM // model.fractions
        seen[name] = streams.reshape(-1, model.streams * model.fractions, width).contiguous()

    handles = [
        layer.register_forward_pre_hook(lambda _, given, name=f"layers.{i}": keep(name, given[0]))
        for i, layer in enumerate(model.layers)
    ]
    with torch.no_grad():
        model(inputs)
    for handle in handles:
        handle.remove()
    return seen


def check_caps(
    kind: str, folder: Path, scale: float, config: dict[str, Any] | None = None, **options: Any
) -> MixingStack:
    """No streams exceed the bounds: neither random ones, nor those along what a site reads."""
    model, _ = build(kind, depth=2, **options)
    for name, parameter in model.named_parameters():
        if name.endswith(SCALES):
            parameter.data.fill_(scale)
    path = folder / "x.pt"
    torch.save({"model": model.state_dict(), "config": config}, path)
    shape = (model.streams * model.fractions, DIM // model.fractions)
    rng = np.random.default_rng(0)
    rows = np.concatenate([_directions(name, p) for name, p in model.named_parameters() if _is_read(name, p)])
    chosen = rows[rng.integers(len(rows), size=(1000, shape[0]))] * rng.choice(
        [-1.0, 1.0], (1000, shape[0], 1)
    )
    np.save(folder / "streams.npy", np.concatenate([chosen, rng.standard_normal((1000, *shape))]))
    stack = scan(path, activations=folder / "streams.npy")[0]
    assert stack.caps is not None
    sums = np.abs(stack.matrices)
    assert (sums.sum(axis=-1).max(axis=(1, 2)) <= stack.caps.rows * (1 + 1e-12)).all()
    assert (sums.sum(axis=-2).max(axis=(1, 2)) <= stack.caps.columns * (1 + 1e-12)).all()
    return stack


def check_fresh(kind: str, folder: Path, **options: Any) -> None:
    """A model that was never trained is told to be so, and one whose mixing alone stood still as well."""
    model: Any = build(kind, **options)[0]
    fresh = Stacked(kind, **_branch(kind, options), **options)
    seen = {item.check: item.text for item in scan(saved(fresh, folder / "x.pt"))[0].provenance.audit}
    assert "unmoved" in seen and "mixing-unmoved" not in seen and "moved" not in seen
    assert "fn is all zero" in seen["reads-nothing"]
    told = scan(saved(model, folder / "x.pt"))[0].provenance.audit
    assert not {"unmoved", "mixing-unmoved", "all-zero"} & {item.check for item in told}


def _branch(kind: str, options: dict[str, Any]) -> dict[str, Any]:
    if kind == "channel first":
        return {"branch": lambda: nn.Conv2d(DIM, DIM, 3, padding=1)}
    return {"branch": Views} if options.get("num_input_views", 1) > 1 else {}


def _is_read(name: str, parameter: Tensor) -> bool:
    return "dynamic_alpha" in name and parameter.dim() > 1


def _directions(name: str, parameter: Tensor) -> np.ndarray[Any, Any]:
    """(R, C): the directions in the channels along which a site reads a stream."""
    numbers = parameter.detach().double().numpy()
    if name.endswith(".weight"):
        return numbers.reshape(len(numbers), -1)
    return np.swapaxes(numbers, -1, -2).reshape(-1, numbers.shape[-2])
