"""The library hyper-connections: every class of it against the matrix that its own code applies."""

from typing import Any

import pytest
import torch
from hyper_connections import AttentionPoolReduceStream, StreamEmbed
from hyper_connections.residuals import GatedResidual, OrthogonalResidualUpdate
from hyper_connections.vit import ViT
from hyper_connections_models import DIM, STREAMS, Stacked, own_matrices, perturbed
from torch import Tensor, nn

from mhc_diag.errors import NothingToCheck
from mhc_diag.sources.probe import probe

INPUT = torch.randn(2, 8, DIM, generator=torch.Generator().manual_seed(0))


class Views(nn.Module):
    """A branch that is given several views of the streams along a first axis."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(DIM, DIM)

    def forward(self, views: Tensor) -> Tensor:
        return self.layer(views[0] * torch.sigmoid(views[1]))


class Beside(nn.Module):
    """A branch that is given a second residual stream."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(DIM, DIM)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return self.layer(x + context)


def check(model: Any, *inputs: Tensor, patch: pytest.MonkeyPatch, atol: float = 1e-5) -> None:
    own = own_matrices(model, *inputs, patch=patch)
    stack = probe(model, inputs)
    assert len(own) == len(model.layers) == stack.matrices.shape[0]
    for matrix, applied in zip(stack.matrices, own, strict=True):
        assert matrix.shape == applied.shape
        assert torch.allclose(matrix, applied.to(matrix.dtype), atol=atol, rtol=atol)
        assert (applied - applied.mT).abs().max() > 0.01  # so that a mix-up of the two would show
    assert max(matrix.std(dim=0).max() for matrix in own) > 1e-4  # they differ between tokens
    assert max(stack.provenance.certificates or [1.0]) < atol
    assert not stack.provenance.skipped


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "HC": ("HC", {}),
    "HC without tanh": ("HC", {"tanh": False}),
    "HC with two views": ("HC", {"num_input_views": 2, "branch": Views}),
    "HC, layers not numbered": ("HC", {"indexed": False}),
    "mHC": ("mHC", {}),
    "mHC in the log domain": ("mHC", {"log_domain_sinkhorn": True}),
    "mHC with three proposals": ("mHC", {"num_dynamic_alpha_proposals": 3}),
    "mHC, layers not numbered": ("mHC", {"indexed": False}),
    "mHCv2": ("mHCv2", {}),
    "mHCv2 with three proposals": ("mHCv2", {"num_dynamic_alpha_proposals": 3}),
    "mHCv2 with streams mixed before the norm": ("mHCv2", {"mix_streams_before_norm": True}),
    "branch inputs": ("branch inputs", {"num_branch_inputs": 2}),
    "input streams": ("input streams", {}),
}


@pytest.mark.parametrize("name", CASES)
def test_each_class(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, options = CASES[name]
    check(perturbed(Stacked(kind, **options)), INPUT, patch=monkeypatch)


@pytest.mark.parametrize("streams", [2, 3, 4])
@pytest.mark.parametrize("kind", ["HC", "mHC", "mHCv2"])
def test_fractions_of_each_stream(kind: str, streams: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = perturbed(Stacked(kind, streams=streams, num_fracs=2))
    check(model, INPUT, patch=monkeypatch)
    assert probe(model, INPUT).matrices.shape[2:] == (2 * streams, 2 * streams)


def test_streams_that_start_apart_and_are_pooled_by_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    embed, pool = StreamEmbed(STREAMS, DIM, expand_to_streams=True), AttentionPoolReduceStream(STREAMS, DIM)
    check(perturbed(Stacked("HC", expand=embed, reduce=pool)), INPUT, patch=monkeypatch)


def test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    model = Stacked(
        "channel first",
        start=nn.Conv2d(3, DIM, 2, stride=2),
        branch=lambda: nn.Conv2d(DIM, DIM, 3, padding=1),
    )
    check(perturbed(model), image, patch=monkeypatch)


def test_a_second_path_of_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    other = torch.randn(2, 8, DIM, generator=torch.Generator().manual_seed(1))
    model = Stacked("input streams", branch=Beside, additional_input_paths=[1])
    check(perturbed(model), INPUT, other, patch=monkeypatch)


def test_the_vision_transformer(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    vit: Any = ViT(
        image_size=16, patch_size=8, num_classes=5, dim=DIM, depth=2, heads=2, dim_head=8, mlp_dim=16
    )
    vit.kind, vit.streams, vit.fractions = "mHCv2", STREAMS, 1
    vit.layers = [site for layer in vit.transformer.layers for site in layer]
    image = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    check(perturbed(vit), image, patch=monkeypatch)


@pytest.mark.parametrize("kind", ["HC", "mHC", "mHCv2"])
def test_in_bfloat16(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = perturbed(Stacked(kind)).bfloat16()
    check(model, INPUT.bfloat16(), patch=monkeypatch, atol=4e-3)


def test_a_gate_on_the_residual_path(monkeypatch: pytest.MonkeyPatch) -> None:
    model = perturbed(Stacked("HC", depth_residual_fn=GatedResidual(DIM)))
    gates: list[Tensor] = []
    handle = model.layers[0].depth_residual_fn.to_learned_mix.register_forward_hook(
        lambda _module, _inputs, out: gates.append(out.sigmoid())
    )
    own = own_matrices(model, INPUT, patch=monkeypatch)
    handle.remove()
    stack = probe(model, INPUT)
    for matrix, mixing, gate in zip(stack.matrices, own, gates, strict=True):
        rows = gate.unflatten(0, (-1, STREAMS)).transpose(1, 2).flatten(0, 1)  # one gate for each stream
        assert torch.allclose(matrix, rows * mixing, atol=1e-5)


def test_a_gate_for_each_channel_has_no_matrix() -> None:
    model = perturbed(Stacked("HC", depth_residual_fn=GatedResidual(DIM, fine_gate=True)))
    with pytest.raises(NothingToCheck) as error:
        probe(model, INPUT)
    told = [line for line in error.value.looked_at if line.startswith("not measured")]
    assert len(told) == 3 and all("acts differently on different channels" in line for line in told)


def test_an_update_made_orthogonal_to_the_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    function = OrthogonalResidualUpdate(double_precision=False)
    check(perturbed(Stacked("HC", depth_residual_fn=function)), INPUT, patch=monkeypatch)
