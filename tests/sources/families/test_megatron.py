"""Megatron-LM: two codes read the same tensors; which, by settings that only one of them has."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.checkpoint import scan_checkpoint, scan_variants
from mhc_diag.sources.checkpoint.options import Options
from mhc_diag.sources.families import deepseek, megatron, qwen4_exp

N, WIDTH = 4, 8
ROWS = N * N + 2 * N
KINDS = ("self_attention_hyper_connection.", "mlp_hyper_connection.")
NAMES = {"proj": "mapping_proj.weight", "bias": "bias"} | {
    name: name for name in ("alpha_pre", "alpha_post", "alpha_res")
}


def tiny_checkpoint(
    layers: tuple[int, ...] = (0, 1, 2, 10),
    prefix: str = "decoder.layers.",
    kinds: tuple[str, ...] = KINDS,
) -> dict[str, Any]:
    """What the modules of each layer hold, in a shuffled order."""
    rng = np.random.default_rng(11)
    tensors: dict[str, Any] = {}
    for layer in layers[::-1]:
        for kind in kinds[::-1]:
            start = f"{prefix}{layer}.{kind}"
            for alpha in ("alpha_pre", "alpha_post", "alpha_res"):
                tensors[start + alpha] = rng.standard_normal(1).astype(np.float32)
            tensors[start + "bias"] = 2 * rng.standard_normal(ROWS).astype(np.float32)
            tensors[start + "mapping_proj.weight"] = rng.standard_normal((ROWS, N * WIDTH)).astype(np.float32)
    return tensors


def shapes_of(tensors: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in tensors.items()}


def part(layer: int, kind: str) -> dict[str, Any]:
    tensors = tiny_checkpoint()
    return {role: tensors[f"decoder.layers.{layer}.{kind}{name}"] for role, name in NAMES.items()}


def module(
    slow: Any, tensors: dict[str, Any], variant: str, streams: Any, iterations: int = 20
) -> dict[str, Any]:
    """One token: main does H @ x, dev H^T @ x with DeepSeek's projection and an eps in pre."""
    scale = [float(tensors[f"alpha_{name}"][0]) for name in ("pre", "post", "res")]
    pre, post, z = slow.split(tensors["bias"], scale, tensors["proj"], streams)
    made = {"pre": slow.sigmoid(pre), "post": 2 * slow.sigmoid(post)}
    if variant == "main":
        return made | {"matrices": slow.megatron(z, iterations, 1e-6)}
    made["pre"] = made["pre"] + 1e-6
    return made | {"matrices": slow.deepseek(z, iterations, 1e-6).T}


@pytest.mark.parametrize("variant", ["main", "dev"])
def test_at_zero_input_in_order(variant: str, tmp_path: Path, slow: Any) -> None:
    safetensors.numpy.save_file(tiny_checkpoint(), tmp_path / "x.safetensors")
    (stack,) = scan_variants(tmp_path / "x.safetensors", Options(variant=variant))
    assert [(s.path, s.kind) for s in stack.sites] == [
        (f"decoder.layers.{i}", kind) for i in (0, 1, 2, 10) for kind in ("self_attention", "mlp")
    ]
    assert stack.pre is not None and stack.post is not None
    for place, site in enumerate(stack.sites):
        tensors = part(int(site.path.split(".")[-1]), f"{site.kind}_hyper_connection.")
        expected = module(slow, tensors, variant, None)
        np.testing.assert_allclose(stack.matrices[place, 0], expected["matrices"], atol=1e-12)
        np.testing.assert_allclose(stack.pre[place, 0], expected["pre"], atol=1e-12)
        np.testing.assert_allclose(stack.post[place, 0], expected["post"], atol=1e-12)
    exact = stack.matrices.sum(axis=-2 if variant == "main" else -1)
    inexact = stack.matrices.sum(axis=-1 if variant == "main" else -2)
    assert np.abs(exact - 1).max() < 2e-6 < 1e-4 < np.abs(inexact - 1).max()
    assert stack.provenance.orientation == ("direct" if variant == "main" else "transposed")
    assert stack.provenance.notes == (
        "no configuration tells mhc_sinkhorn_iterations: the default 20 of this layout was taken",
    )


@pytest.mark.parametrize("variant", ["main", "dev"])
def test_at_given_streams(variant: str, slow: Any) -> None:
    site, tensors = megatron.find(shapes_of(tiny_checkpoint())).sites[0], part(0, KINDS[0])
    settings = megatron.settings({"args": {"mhc_sinkhorn_iterations": 3}}, variant)
    assert settings.notes == ()
    streams = np.random.default_rng(0).standard_normal((2000, N, WIDTH))
    made = megatron.build([site], [tensors], slow.seen(megatron, site, tensors, streams), variant, settings)
    for token in range(3):
        slow.agree(made, token, module(slow, tensors, variant, streams[token], 3))
    reach = megatron.read(site, tensors).reach()
    slow.hold(megatron, site, tensors, variant, settings, reach, streams)
    near = {**tensors, "alpha_res": tensors["alpha_res"] * 1e-3, "bias": 0.1 * tensors["bias"]}
    slow.hold(megatron, site, near, variant, settings, reach, streams)
    caps = megatron.caps([site], [near], reach[None], variant, settings)
    assert max(caps.rows[0], caps.columns[0]) < 1.1


def test_layers_stacked_in_one_tensor(tmp_path: Path) -> None:
    layers = (0, 1, 2)
    apart = tiny_checkpoint(layers)
    stacked = {
        f"decoder.layers.{kind}{name}": np.stack([apart[f"decoder.layers.{i}.{kind}{name}"] for i in layers])
        for kind in KINDS[::-1]
        for name in NAMES.values()
    }
    found = []
    for number, tensors in enumerate((apart, stacked)):
        safetensors.numpy.save_file(tensors, tmp_path / f"{number}.safetensors")
        found.append(scan_variants(tmp_path / f"{number}.safetensors", Options(variant="dev", samples=50)))
    (one,), (other,) = found
    assert one.sites == other.sites and len(one.sites) == 6
    np.testing.assert_array_equal(one.matrices, other.matrices)
    np.testing.assert_array_equal(one.pre, other.pre)
    assert one.caps is not None and other.caps is not None
    np.testing.assert_array_equal(one.caps.columns, other.caps.columns)


def test_hybrid_models_have_one_site_in_a_layer() -> None:
    tensors = tiny_checkpoint((0, 1, 2), kinds=("hyper_connection.",))
    tensors |= tiny_checkpoint((0,), "mtp.layers.", ("transformer_layer.self_attention_hyper_connection.",))
    found = megatron.find(shapes_of(tensors))
    assert [(s.path, s.kind) for s in found.sites] == [(f"decoder.layers.{i}", "") for i in range(3)]
    assert [s.what for s in found.skipped] == ["mtp.layers.0"]


def test_wrapped_and_virtual_pipelines_stay_apart(tmp_path: Path) -> None:
    tensors = tiny_checkpoint((0, 1), "model.decoder.layers.") | tiny_checkpoint(
        (0,), "model1.decoder.layers."
    )
    safetensors.numpy.save_file(tensors, tmp_path / "x.safetensors")
    stack = scan_variants(tmp_path / "x.safetensors", Options())[0]
    assert [s.path for s in stack.sites] == [f"model.decoder.layers.{i}" for i in (0, 0, 1, 1)]
    assert any("model1.decoder.layers." in s.what for s in stack.provenance.skipped)


HEAD = {"decoder.hc_head_fn": (N, N * WIDTH)}
NORM = {"decoder.layers.0.mlp_hyper_connection.norm.weight": (N * WIDTH,)}


@pytest.mark.parametrize(
    ("beside", "config", "expected"),
    [
        ({}, None, ["main", "single-pass"]),
        (HEAD, None, ["dev", "main"]),
        ({"mtp.layers.0.hc_head_fn": (N, N * WIDTH)}, None, ["main", "single-pass"]),
        ({}, {"enable_mhc_connections": True, "mhc_num_residual_streams": 4}, ["main"]),
        ({}, {"args": {"mhc_num_residual_streams": 4}}, ["main"]),
        (NORM, None, ["main"]),
        ({}, {"enable_hyper_connections": True, "num_residual_streams": 4}, ["main", "single-pass"]),
        (HEAD, {"enable_hyper_connections": True, "use_fused_mhc": False}, ["dev", "main"]),
        ({}, {"mhc_single_pass": True, "enable_mhc_connections": True}, ["single-pass"]),
        (HEAD, {"mhc_single_pass": False, "mhc_epsilon": 1e-6}, ["dev"]),
    ],
)
def test_the_code_is_told_by_evidence(
    beside: dict[str, tuple[int, ...]], config: dict[str, Any] | None, expected: list[str]
) -> None:
    assert list(megatron.variants(shapes_of(tiny_checkpoint()) | beside, config)) == expected


def test_without_evidence_both_are_shown(tmp_path: Path) -> None:
    safetensors.numpy.save_file(tiny_checkpoint(), tmp_path / "x.safetensors")
    main, single_pass = scan_variants(tmp_path / "x.safetensors", Options())
    assert (main.provenance.orientation, single_pass.provenance.orientation) == ("direct", "transposed")
    np.testing.assert_allclose(main.matrices, np.swapaxes(single_pass.matrices, -1, -2), atol=1e-4)
    assert np.abs(main.matrices - single_pass.matrices).max() > 0.1
    assert main.pre is not None and single_pass.pre is None
    with pytest.raises(MhcDiagError, match="main, single-pass"):
        scan_checkpoint(tmp_path / "x.safetensors")


def test_eps_is_configured_for_single_pass_models_only() -> None:
    config = {"mhc_single_pass": True, "mhc_epsilon": 1e-3, "mhc_sinkhorn_iterations": 5}
    assert megatron.settings(config, "single-pass").values == {
        "mhc_sinkhorn_iterations": 5,
        "mhc_epsilon": 1e-3,
    }
    assert megatron.settings(config, "main").values == {"mhc_sinkhorn_iterations": 5}
    with pytest.raises(MhcDiagError, match="mhc_sinkhorn_iterations = 0"):
        megatron.settings({"mhc_sinkhorn_iterations": 0}, "dev")


STACKED = "decoder.layers.mlp_hyper_connection."


@pytest.mark.parametrize(
    "change",
    [
        {"bias": (23,)},
        {"bias": ()},
        {"alpha_res": (2,)},
        {"alpha_pre": (1, 1)},
        {"mapping_proj.weight": (ROWS, N * WIDTH + 1)},
        {"mapping_proj.weight": (ROWS, 10**9)},
        {"mapping_proj.weight": (N * WIDTH, ROWS)},
    ],
)
@pytest.mark.parametrize("stacked", [False, True])
def test_other_shapes_are_not_claimed(change: dict[str, tuple[int, ...]], stacked: bool) -> None:
    shapes = {"bias": (ROWS,), "mapping_proj.weight": (ROWS, N * WIDTH)}
    shapes |= {f"alpha_{name}": (1,) for name in ("pre", "post", "res")}
    prefix, layers = (STACKED, (3,)) if stacked else ("decoder.layers.7.mlp_hyper_connection.", ())
    usual = {prefix + name: layers + shape for name, shape in shapes.items()}
    assert len(megatron.find(usual).sites) == (3 if stacked else 1)
    found = megatron.find(usual | {prefix + name: layers + shape for name, shape in change.items()})
    assert not found.sites
    (skipped,) = found.skipped
    assert skipped.what == ("decoder.layers.mlp" if stacked else "decoder.layers.7.mlp")


@pytest.mark.parametrize("layers", [0, 10**6])
def test_absurd_numbers_of_layers_are_not_claimed(layers: int) -> None:
    shapes = {"bias": (layers, ROWS)} | {f"alpha_{name}": (layers, 1) for name in ("pre", "post", "res")}
    assert not megatron.find({STACKED + name: shape for name, shape in shapes.items()}).sites
    uneven = {"bias": (3, ROWS)} | {f"alpha_{name}": (2, 1) for name in ("pre", "post", "res")}
    assert not megatron.find({STACKED + name: shape for name, shape in uneven.items()}).sites


def test_names_are_nobody_elses() -> None:
    shapes = shapes_of(tiny_checkpoint())
    for other in (deepseek, qwen4_exp):
        assert not other.find(shapes).sites and not other.find(shapes).skipped
    inject = {"decoder.layers.0.mlp_hyper_connection.block_inject_weight.weight": (N, N * WIDTH)}
    assert megatron.find(inject) == type(megatron.find({}))()


@pytest.mark.parametrize("variant", ["main", "dev"])
def test_where_a_site_starts_is_uniform(variant: str) -> None:
    for names in (tiny_checkpoint((0,)), {}):
        if not names:
            names = {
                STACKED + name: np.zeros((3, *a.shape), np.float32) for name, a in part(0, KINDS[0]).items()
            }
            names = {name.replace("proj", "mapping_proj.weight"): array for name, array in names.items()}
        for site in megatron.find(shapes_of(names)).sites:
            made = megatron.build(
                [site], [megatron.initial(site)], None, variant, megatron.settings(None, variant)
            )
            np.testing.assert_allclose(made.matrices, 0.25, atol=1e-5)
            assert made.pre is not None
            np.testing.assert_allclose(made.pre, 0.5, atol=1e-5)
