"""Unconstrained Hyper-Connections, judged by the library's own modules while they run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.checkpoint import scan_checkpoint
from mhc_diag.sources.families import lucidrains_hc

N, WIDTH = 4, 8
CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("HC", {}),
    "two views": ("HC", {"num_input_views": 2}),
    "fractions": ("HC", {"num_fracs": 2, "streams": 3}),
    "images": ("channel first", {}),
    "one branch input": ("branch inputs", {}),
    "two branch inputs": ("branch inputs", {"num_branch_inputs": 2}),
    "input streams": ("input streams", {}),
}


def site(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "static_alpha": rng.standard_normal((N, 1 + N)),
        "dynamic_alpha_fn": rng.standard_normal((WIDTH, 1 + N)),
        "dynamic_alpha_scale": rng.standard_normal(()),
        "static_beta": rng.standard_normal(N),
        "dynamic_beta_fn": rng.standard_normal(WIDTH),
        "dynamic_beta_scale": rng.standard_normal(()),
        "norm.gamma": rng.standard_normal(WIDTH),
    }


def tiny_checkpoint(layers: tuple[int, ...] = (2, 10, 0, 11, 1)) -> dict[str, Any]:
    """Names as nanoGPT's users give them, the layers shuffled and the FFN first."""
    rng = np.random.default_rng(5)
    return {
        f"transformer.h.{layer}.hc_{kind}.{name}": np.asarray(array, np.float32)
        for layer in layers
        for kind in ("mlp", "attn")
        for name, array in site(rng).items()
    }


def shapes(tensors: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in tensors.items()}


@pytest.mark.parametrize("name", CLASSES)
def test_reads_as_the_probe_measures_at_zero_dynamic_input(name: str, library: Any, tmp_path: Path) -> None:
    kind, options = CLASSES[name]
    stack = library.check_still(kind, tmp_path, **options)
    assert stack.provenance.settings["variant"] == "applied"
    assert stack.provenance.orientation == "transposed"


@pytest.mark.parametrize("name", CLASSES)
def test_reads_as_the_library_applies_at_given_streams(
    name: str, library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, options = CLASSES[name]
    library.check_dynamic(kind, tmp_path, monkeypatch, **options)


@pytest.mark.parametrize("name", CLASSES)
def test_no_input_exceeds_the_bounds(name: str, library: Any, tmp_path: Path) -> None:
    kind, options = CLASSES[name]
    stack = library.check_caps(kind, tmp_path, 0.7, **options)
    assert (np.abs(stack.matrices).sum(axis=-1).max(axis=(1, 2)) > 0.6 * stack.caps.rows).all()


def test_without_tanh_as_the_configuration_says(
    library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = library.saved
    monkeypatch.setattr(
        library, "saved", lambda model, path: with_config(plain(model, path), {"tanh": False})
    )
    stack = library.check_dynamic("HC", tmp_path, monkeypatch, tanh=False)
    assert stack.provenance.settings["activation"] == "none" and not stack.provenance.notes


def with_config(path: Path, config: dict[str, Any]) -> Path:
    torch.save(torch.load(path) | {"config": config}, path)
    return path


def test_without_a_tanh_the_bounds_are_wider() -> None:
    tensors = tiny_checkpoint()
    (first, *_) = lucidrains_hc.find(shapes(tensors)).sites
    numbers = {role: tensors[name] for role, name in {**first.tensors, **first.reads}.items()}
    reach = lucidrains_hc.read(first, numbers).reach()[None]
    numbers = {role: numbers[role] for role in first.tensors}
    bounds = [
        lucidrains_hc.caps([first], [numbers], reach, "applied", lucidrains_hc.settings(config, "applied"))
        for config in ({"tanh": True}, {"tanh": False})
    ]
    scale, static = abs(float(numbers["scale"])), np.abs(numbers["static_alpha"][:, 1:].astype(np.float64))
    assert (bounds[1].rows > bounds[0].rows).all()
    np.testing.assert_allclose(bounds[0].rows, static.sum(axis=0).max() + N * scale, rtol=1e-4)


def test_sites_of_one_model_may_read_several_views_or_one(tmp_path: Path, library: Any) -> None:
    """As where attention is given its own views for queries and keys."""
    rng = np.random.default_rng(3)
    tensors = {f"0.{name}": array for name, array in site(rng).items()}
    tensors |= {f"1.{name}": array for name, array in site(rng).items()}
    tensors["0.static_alpha"] = rng.standard_normal((N, 3 + N))
    tensors["0.dynamic_alpha_fn"] = rng.standard_normal((WIDTH, 3 + N))
    torch.save({k: torch.as_tensor(v) for k, v in tensors.items()}, tmp_path / "x.pt")
    streams = rng.standard_normal((5, N, WIDTH))
    np.save(tmp_path / "streams.npy", streams)
    stack = library.scan(tmp_path / "x.pt", activations=tmp_path / "streams.npy")[0]
    for k, views in enumerate((3, 1)):
        t = {name: tensors[f"{k}.{name}"] for name in site(rng)}
        normed = streams / np.sqrt((streams**2).mean(axis=-1, keepdims=True)) * (t["norm.gamma"] + 1)
        alpha = t["static_alpha"] + t["dynamic_alpha_scale"] * np.tanh(normed @ t["dynamic_alpha_fn"])
        np.testing.assert_allclose(stack.matrices[k], np.swapaxes(alpha[..., views:], -1, -2), atol=1e-12)
        post = t["static_beta"] + t["dynamic_beta_scale"] * np.tanh(normed @ t["dynamic_beta_fn"])
        np.testing.assert_allclose(stack.post[k], post, atol=1e-12)
    assert np.isnan(stack.pre[0]).all() and np.isfinite(stack.pre[1]).all()


def test_order_of_layers_and_names(tmp_path: Path, library: Any) -> None:
    torch.save({k: torch.as_tensor(v) for k, v in tiny_checkpoint().items()}, tmp_path / "x.pt")
    applied, unapplied = library.scan(tmp_path / "x.pt")
    expected = [(f"transformer.h.{i}", f"hc_{kind}") for i in (0, 1, 2, 10, 11) for kind in ("attn", "mlp")]
    assert [(s.path, s.kind) for s in applied.sites] == expected
    tensors = tiny_checkpoint()
    for matrix, (path, kind) in zip(applied.matrices[:, 0], expected, strict=True):
        np.testing.assert_array_equal(matrix, tensors[f"{path}.{kind}.static_alpha"][:, 1:].T)
    assert (unapplied.matrices == np.eye(N)).all()
    assert (applied.name, unapplied.name) == ("x.pt, applied", "x.pt, unapplied")


def test_names_alone_do_not_tell_whether_the_mixing_is_applied(tmp_path: Path, library: Any) -> None:
    table = shapes(tiny_checkpoint())
    assert lucidrains_hc.variants(table, None) == ("applied", "unapplied")
    assert lucidrains_hc.variants(table, {"hyper_conn_type": "hc"}) == ("applied",)
    assert lucidrains_hc.variants(table, {"mhc": False, "hc_num_streams": 4}) == ("unapplied",)
    torch.save({k: torch.as_tensor(v) for k, v in tiny_checkpoint().items()}, tmp_path / "x.pt")
    with pytest.raises(MhcDiagError, match="applied, unapplied"):
        scan_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize("kind", ["branch inputs", "input streams"])
def test_classes_that_have_always_mixed_have_one_variant(kind: str, library: Any, tmp_path: Path) -> None:
    model, _ = library.build(kind)
    path = library.saved(model, tmp_path / "x.pt")
    assert len(library.scan(path)) == 1
    (stack,) = library.scan(path, variant="unapplied")
    np.testing.assert_array_equal(stack.matrices, library.scan(path)[0].matrices)


CHANGES: dict[str, tuple[dict[str, tuple[int, ...]], str]] = {
    "static_beta": ({"static_beta": (N + 1,)}, "do not belong together"),
    "fn": ({"dynamic_alpha_fn": (1 + N, WIDTH)}, "do not belong together"),
    "gamma": ({"norm.gamma": (WIDTH + 1,)}, "do not belong together"),
    "scalar": ({"dynamic_alpha_scale": (2,)}, "do not belong together"),
    "no views": ({"static_alpha": (N, N), "dynamic_alpha_fn": (WIDTH, N)}, "do not belong together"),
    "no fractions": ({"dynamic_beta_fn": (WIDTH, 0)}, "do not belong together"),
    "empty": ({"norm.gamma": ()}, "do not belong together"),
    "no norm": ({"norm.gamma": None}, "no norm.gamma beside it"),
    "nothing written": ({"static_beta": None, "dynamic_beta_fn": None}, "not added to the streams"),
    "transform": ({"residual_transform.weight": (WIDTH, WIDTH)}, "residual_transform changes the streams"),
    "gate": ({"depth_residual_fn.gru.weight_ih": (24, WIDTH)}, "depth_residual_fn changes the streams"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_does_not_fit_is_left_out_with_a_reason(name: str) -> None:
    change, reason = CHANGES[name]
    table: dict[str, Any] = shapes(site(np.random.default_rng(0))) | change
    found = lucidrains_hc.find(
        {f"layers.0.{key}": shape for key, shape in table.items() if shape is not None}
    )
    assert not found.sites and [s.what for s in found.skipped] == ["layers.0"]
    assert reason in found.skipped[0].reason


@pytest.mark.parametrize("other", ["H_res_logits", "residual_scale", "h_post_scale"])
def test_sites_of_other_codes_are_not_claimed(other: str) -> None:
    table = shapes(tiny_checkpoint())
    table |= {
        f"transformer.h.{i}.hc_{kind}.{other}": (1,) for i in (0, 1, 2, 10, 11) for kind in ("attn", "mlp")
    }
    found = lucidrains_hc.find(table)
    assert not found.sites and not found.skipped


@pytest.mark.parametrize("name", CLASSES)
def test_a_fresh_model_is_where_the_code_starts(name: str, library: Any, tmp_path: Path) -> None:
    kind, options = CLASSES[name]
    library.check_fresh(kind, tmp_path, **options)
