"""Manifold-constrained Hyper-Connections, judged by the library's own modules while they run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.families import lucidrains_mhc

N, WIDTH = 4, 8
CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "first": ("mHC", {}),
    "first, three proposals": ("mHC", {"num_dynamic_alpha_proposals": 3}),
    "first, log domain": ("mHC", {"log_domain_sinkhorn": True}),
    "second": ("mHCv2", {}),
    "second, three proposals": ("mHCv2", {"num_dynamic_alpha_proposals": 3}),
    "second, fractions": ("mHCv2", {"num_fracs": 2, "streams": 3}),
    "second, both": ("mHCv2", {"num_fracs": 2, "num_dynamic_alpha_proposals": 2}),
}


def site(rng: np.random.Generator, proposals: int | None = 2) -> dict[str, Any]:
    leading = () if proposals is None else (proposals,)
    return {
        "static_alpha": 2 * rng.standard_normal((N, 1 + N)),
        "dynamic_alpha_fn": rng.standard_normal((*leading, WIDTH, 1 + N)),
        "pre_branch_scale": rng.standard_normal(1),
        "residual_scale": rng.standard_normal(1),
        "h_post_scale": rng.standard_normal(()),
        "static_beta": rng.standard_normal(N),
        "dynamic_beta_fn": rng.standard_normal(WIDTH),
        "norm.gamma": rng.standard_normal(WIDTH),
    }


def tiny_checkpoint(proposals: int | None = 2) -> dict[str, Any]:
    """Attention and FFN of each layer in a list of two, the layers shuffled."""
    rng = np.random.default_rng(6)
    return {
        f"layers.{layer}.{kind}.{name}": np.asarray(array, np.float32)
        for layer in (2, 10, 0, 11, 1)
        for kind in (1, 0)
        for name, array in site(rng, proposals).items()
    }


def shapes(tensors: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in tensors.items()}


def slowly(logits: np.ndarray[Any, Any], iterations: int) -> np.ndarray[Any, Any]:
    """The applied matrix, written out by hand."""
    h = np.exp(logits.astype(np.float64))
    for _ in range(iterations):
        h = h / h.sum(axis=0)
        h = h / h.sum(axis=1)[:, None]
    return h.T


@pytest.mark.parametrize("name", CLASSES)
def test_reads_as_the_probe_measures_at_zero_dynamic_input(name: str, library: Any, tmp_path: Path) -> None:
    kind, options = CLASSES[name]
    stack = library.check_still(kind, tmp_path, **options)
    assert stack.provenance.settings == {
        "layout": "lucidrains_mhc",
        "variant": "applied",
        "sinkhorn_iters": 20,
    }
    assert stack.provenance.orientation == "transposed"


@pytest.mark.parametrize("name", CLASSES)
def test_reads_as_the_library_applies_at_given_streams(
    name: str, library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, options = CLASSES[name]
    stack = library.check_dynamic(kind, tmp_path, monkeypatch, **options)
    assert (stack.logits is None) is ("num_dynamic_alpha_proposals" in options)


@pytest.mark.parametrize("name", CLASSES)
def test_no_input_exceeds_the_bounds(name: str, library: Any, tmp_path: Path) -> None:
    kind, options = CLASSES[name]
    for scale, iterations in ((0.7, 20), (0.005, 2)):
        config = {"sinkhorn_iters": iterations}
        stack = library.check_caps(kind, tmp_path, scale, config, **options)
        np.testing.assert_allclose(stack.caps.columns, 1, rtol=1e-12)
    assert (stack.caps.rows < stack.streams).any()
    assert (np.abs(stack.matrices).sum(axis=-1).max(axis=(1, 2)) > 1.0001).all()


def test_the_vision_transformer_of_the_library(library: Any, tmp_path: Path) -> None:
    from hyper_connections.vit import ViT

    from mhc_diag.sources.probe import probe

    torch.manual_seed(0)
    vit = ViT(image_size=16, patch_size=8, num_classes=5, dim=16, depth=2, heads=2, dim_head=8, mlp_dim=16)
    model = library.still(library.perturbed(vit))
    measured = probe(model, torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    (stack,) = library.scan(library.saved(model, tmp_path / "x.pt"))
    assert [s.label for s in stack.sites] == [f"transformer.layers.{i}.{k}" for i in (0, 1) for k in (0, 1)]
    truth = np.asarray(measured.matrices, np.float64)
    np.testing.assert_allclose(np.broadcast_to(stack.matrices, truth.shape), truth, rtol=0, atol=1e-6)


def test_iterations_come_from_the_configuration(library: Any, tmp_path: Path) -> None:
    tensors = tiny_checkpoint()
    state = {k: torch.as_tensor(v) for k, v in tensors.items()}
    torch.save({"model": state, "config": {"sinkhorn_iters": 2}}, tmp_path / "x.pt")
    (stack,) = library.scan(tmp_path / "x.pt")
    assert stack.provenance.notes == ()
    assert [s.path for s in stack.sites][:3] == ["layers.0.0", "layers.0.1", "layers.1.0"]
    for k, found in enumerate(stack.sites):
        logits = tensors[f"{found.path}.static_alpha"][:, 1:]
        np.testing.assert_allclose(stack.matrices[k, 0], slowly(logits, 2), atol=1e-12)
    torch.save(state, tmp_path / "x.pt")
    (stack,) = library.scan(tmp_path / "x.pt")
    assert "sinkhorn_iters: the default 20" in stack.provenance.notes[0]
    for wrong in (0, "20", True, 10**9, None):
        with pytest.raises(MhcDiagError, match="sinkhorn_iters"):
            lucidrains_mhc.settings({"sinkhorn_iters": wrong}, "applied")


def test_versions_0_3_have_one_layout_and_did_three_things(library: Any, tmp_path: Path) -> None:
    tensors = tiny_checkpoint(None)
    torch.save({k: torch.as_tensor(v) for k, v in tensors.items()}, tmp_path / "x.pt")
    applied, unapplied, summed = library.scan(tmp_path / "x.pt")
    logits = tensors["layers.0.0.static_alpha"][:, 1:]
    np.testing.assert_allclose(applied.matrices[0, 0], slowly(logits, 20), atol=1e-12)
    assert (unapplied.matrices == np.eye(N)).all() and (summed.matrices == 1).all()
    assert unapplied.pre is None and summed.post is None and unapplied.logits is None
    assert [s.provenance.settings["variant"] for s in (applied, unapplied, summed)] == [
        "applied",
        "unapplied",
        "summed",
    ]
    assert (summed.caps.rows == N).all() and (unapplied.caps.rows == 1).all()
    sampled = library.scan(tmp_path / "x.pt", samples=5)
    assert [s.matrices.shape for s in sampled] == [(10, 5, N, N)] * 3


def test_the_first_versions_are_known_by_their_norm(library: Any, tmp_path: Path) -> None:
    tensors = tiny_checkpoint(None)
    for name in list(tensors):
        if name.endswith("gamma"):
            tensors[name] = np.tile(tensors[name], N)
    torch.save({k: torch.as_tensor(v) for k, v in tensors.items()}, tmp_path / "x.pt")
    (stack,) = library.scan(tmp_path / "x.pt")
    assert (stack.matrices == np.eye(N)).all() and stack.provenance.settings["variant"] == "unapplied"
    assert len(stack.sites) == 10


def test_the_current_versions_have_one_variant() -> None:
    assert lucidrains_mhc.variants(shapes(tiny_checkpoint()), None) == ("applied",)


CHANGES: dict[str, tuple[dict[str, tuple[int, ...] | None], str]] = {
    "fn": ({"dynamic_alpha_fn": (2, WIDTH, N)}, "do not belong together"),
    "proposals": ({"dynamic_alpha_fn": (65, WIDTH, 1 + N)}, "do not belong together"),
    "two views": (
        {"static_alpha": (N, 2 + N), "dynamic_alpha_fn": (1, WIDTH, 2 + N)},
        "do not belong together",
    ),
    "scale": ({"residual_scale": ()}, "do not belong together"),
    "beta": ({"static_beta": (N, 2, 1)}, "do not belong together"),
    "no fractions": ({"dynamic_beta_fn": (WIDTH, 0)}, "do not belong together"),
    "fractions of the first": (
        {
            "static_alpha": (N, 2 + N),
            "dynamic_alpha_fn": (1, WIDTH, 2 + N),
            "dynamic_beta_fn": (WIDTH, 2),
        },
        "not square",
    ),
    "no norm": ({"norm.gamma": None}, "no norm.gamma beside it"),
    "nothing written": ({"static_beta": None}, "not added to the streams"),
    "mixed before": ({"maybe_mix_streams.weight": (N, N, 1, 1)}, "maybe_mix_streams changes"),
    "gate": ({"depth_residual_fn.gru.weight_ih": (24, WIDTH)}, "depth_residual_fn changes"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_does_not_fit_is_left_out_with_a_reason(name: str) -> None:
    change, reason = CHANGES[name]
    table: dict[str, Any] = shapes(site(np.random.default_rng(0))) | change
    found = lucidrains_mhc.find({f"layers.0.{k}": shape for k, shape in table.items() if shape is not None})
    assert not found.sites and [s.what for s in found.skipped] == ["layers.0"]
    assert reason in found.skipped[0].reason


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        ("mHC", {"num_fracs": 2}, "not square"),
        ("mHCv2", {"mix_streams_before_norm": True}, "maybe_mix_streams"),
    ],
)
def test_what_the_library_saves_and_cannot_be_read(
    kind: str, options: dict[str, Any], reason: str, library: Any
) -> None:
    model, _ = library.build(kind, **options)
    found = lucidrains_mhc.find({name: tuple(t.shape) for name, t in model.state_dict().items()})
    assert not found.sites and len(found.skipped) == 3 and reason in found.skipped[0].reason


def test_sites_with_other_numbers_of_proposals_are_not_mixed_up() -> None:
    rng = np.random.default_rng(0)
    table = {f"layers.{i}.{name}": a.shape for i in (0, 1) for name, a in site(rng, i + 1).items()}
    found = lucidrains_mhc.find(table)
    assert [s.path for s in found.sites] == ["layers.0"] and found.skipped[0].what == "layers.1"


@pytest.mark.parametrize("name", CLASSES)
def test_a_fresh_model_is_where_the_code_starts(name: str, library: Any, tmp_path: Path) -> None:
    kind, options = CLASSES[name]
    library.check_fresh(kind, tmp_path, **options)


@pytest.mark.parametrize(("proposals", "promised"), [(None, 20), (1, 20), (2, 0)])
def test_a_mean_of_several_projections_is_not_taken_for_one_that_was_cut_off(
    proposals: int | None, promised: int, tmp_path: Path
) -> None:
    """Means converge like no single projection, and each of them did its 20 iterations."""
    from safetensors.numpy import save_file

    from mhc_diag import analyse, judge
    from mhc_diag.policy import Policy
    from mhc_diag.sources.checkpoint import scan_checkpoint
    from mhc_diag.sources.checkpoint.options import Options

    save_file(tiny_checkpoint(proposals), tmp_path / "model.safetensors")
    stack = scan_checkpoint(str(tmp_path / "model.safetensors"), Options(samples=8, variant="applied"))
    assert stack.provenance.promise is not None and stack.provenance.promise.iterations == promised
    found = judge([analyse(stack)], Policy(profile="mhc")).findings
    assert not [f for f in found if f.rule == "MHC301" and "iterations that" in f.text]
