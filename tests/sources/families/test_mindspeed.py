"""MindSpeed-LLM: the transpose under Megatron's names, and either under others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mhc_diag.sources.checkpoint import scan_checkpoint, scan_variants
from mhc_diag.sources.checkpoint.options import Options
from mhc_diag.sources.families import deepseek, mindspeed, primus

N, WIDTH = 4, 8
ROWS = N * N + 2 * N
ROLES = {"base": "hc_base", "scale": "hc_scale", "fn": "hc_fn.weight"}


def tiny_checkpoint(
    layers: tuple[int, ...] = (0, 1, 2, 10), prefix: str = "decoder.layers."
) -> dict[str, Any]:
    """What two modules in each layer and the head hold, in a shuffled order."""
    rng = np.random.default_rng(10)
    tensors: dict[str, Any] = {"hc_head.hc_fn.weight": np.ones((N, N * WIDTH), np.float32)}
    for layer in layers[::-1]:
        for kind in ("mlp", "attn"):
            start = f"{prefix}{layer}.{kind}_mhc."
            tensors[start + "hc_scale"] = rng.standard_normal(3).astype(np.float32)
            tensors[start + "hc_base"] = 3 * rng.standard_normal(ROWS).astype(np.float32)
            tensors[start + "hc_fn.weight"] = rng.standard_normal((ROWS, N * WIDTH)).astype(np.float32)
    return tensors


def part(layer: int, kind: str, prefix: str = "decoder.layers.") -> dict[str, Any]:
    tensors = tiny_checkpoint(prefix=prefix)
    return {role: tensors[f"{prefix}{layer}.{kind}_mhc.{name}"] for role, name in ROLES.items()}


def module(slow: Any, tensors: dict[str, Any], streams: Any, iterations: int, eps: float) -> dict[str, Any]:
    """One token: out_j = sum_i comb[i, j] x_i."""
    pre, post, z = slow.split(tensors["base"], tensors["scale"], tensors["fn"], streams)
    comb = slow.deepseek(z, iterations, eps)
    applied = np.array([[comb[i, j] for i in range(N)] for j in range(N)])
    return {"matrices": applied, "pre": slow.sigmoid(pre) + eps, "post": 2 * slow.sigmoid(post)}


def saved(path: Path, tensors: dict[str, Any], args: dict[str, Any] | None = None) -> Path:
    model = {name: torch.as_tensor(array) for name, array in tensors.items()}
    torch.save({"model": model, "config": {"args": args}} if args else model, path)
    return path


def test_the_transpose_under_megatrons_names(tmp_path: Path, slow: Any) -> None:
    args = {"hc_sinkhorn_iters": 2, "hc_eps": 1e-3, "hc_mult": 4}
    stack = scan_checkpoint(saved(tmp_path / "x.pt", tiny_checkpoint(), args))
    assert [s.label for s in stack.sites] == [
        f"decoder.layers.{i}.{kind}" for i in (0, 1, 2, 10) for kind in ("attn", "mlp")
    ]
    assert stack.provenance.orientation == "transposed" and stack.provenance.notes == ()
    for place, site in enumerate(stack.sites):
        expected = module(slow, part(int(site.path.split(".")[-1]), site.kind), None, 2, 1e-3)
        np.testing.assert_allclose(stack.matrices[place, 0], expected["matrices"], atol=1e-12)
    assert np.abs(stack.matrices - np.swapaxes(stack.matrices, -1, -2)).max() > 0.1


def test_either_under_names_of_hugging_face(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pt", tiny_checkpoint(prefix="model.layers."))
    transposed, direct = scan_variants(path, Options())
    assert (transposed.provenance.orientation, direct.provenance.orientation) == ("transposed", "direct")
    np.testing.assert_array_equal(direct.matrices, np.swapaxes(transposed.matrices, -1, -2))


@pytest.mark.parametrize("variant", list(mindspeed.VARIANTS))
def test_at_given_streams(variant: str, slow: Any) -> None:
    shapes = {name: array.shape for name, array in tiny_checkpoint().items()}
    site, tensors = mindspeed.find(shapes).sites[1], part(0, "mlp")
    settings = mindspeed.settings({"hc_sinkhorn_iters": 3, "hc_eps": 1e-3}, variant)
    streams = np.random.default_rng(0).standard_normal((2000, N, WIDTH))
    values = slow.seen(mindspeed, site, tensors, streams)
    made = mindspeed.build([site], [tensors], values, variant, settings)
    for token in range(3):
        expected = module(slow, tensors, streams[token], 3, 1e-3)
        if variant == "direct":
            expected["matrices"] = expected["matrices"].T
        slow.agree(made, token, expected)
    reach = mindspeed.read(site, tensors).reach()
    slow.hold(mindspeed, site, tensors, variant, settings, reach, streams)


def test_prediction_blocks_odd_shapes_and_other_layouts() -> None:
    tensors = tiny_checkpoint() | tiny_checkpoint((0,), "mtp.layers.")
    shapes = {name: array.shape for name, array in tensors.items()}
    for other in (deepseek, primus):
        assert not other.find(shapes).sites and not other.find(shapes).skipped
    inside = {
        name.replace("mtp.layers.0.", "mtp.layers.0.transformer_layer."): s for name, s in shapes.items()
    }
    for names in (shapes, inside):
        names["decoder.layers.2.attn_mhc.hc_scale"] = (1,)
        found = mindspeed.find(names)
        assert len(found.sites) == 7
        assert [s.what for s in found.skipped] == ["decoder.layers.2.attn", "mtp.layers.0"]


def test_where_a_site_starts() -> None:
    site = mindspeed.find({name: array.shape for name, array in tiny_checkpoint().items()}).sites[0]
    start = mindspeed.initial(site)
    assert not start["base"].any() and not start["scale"].any()
