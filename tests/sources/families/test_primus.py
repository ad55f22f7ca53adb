"""AMD Primus: names of its own, and both orientations, as nothing in a file tells which version wrote it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.checkpoint import scan_checkpoint, scan_variants
from mhc_diag.sources.checkpoint.options import Options
from mhc_diag.sources.families import deepseek, hy_v4, mindspeed, primus

N, WIDTH = 4, 8
ROWS = N * N + 2 * N


def tiny_checkpoint(
    layers: tuple[int, ...] = (0, 1, 2, 10), prefix: str = "decoder.layers."
) -> dict[str, Any]:
    """What two mixers in each layer hold, in a shuffled order."""
    rng = np.random.default_rng(9)
    tensors: dict[str, Any] = {"decoder.hyper_head.fn.weight": np.ones((N, N * WIDTH), np.float32)}
    for layer in layers[::-1]:
        for kind in ("ffn", "attn"):
            start = f"{prefix}{layer}.{kind}_hc."
            tensors[start + "scale"] = rng.standard_normal(3).astype(np.float32)
            tensors[start + "base"] = 3 * rng.standard_normal(ROWS).astype(np.float32)
            tensors[start + "fn.weight"] = rng.standard_normal((ROWS, N * WIDTH)).astype(np.float32)
    return tensors


def saved(path: Path, tensors: dict[str, Any], config: dict[str, Any] | None = None) -> Path:
    model = {name: torch.as_tensor(array) for name, array in tensors.items()}
    torch.save({"model": model, "config": config} if config else model, path)
    return path


def mixer(slow: Any, part: dict[str, Any], streams: Any, iterations: int, eps: float) -> dict[str, Any]:
    """One token through a mixer of the first versions: new[h] = post[h] out + sum_k comb[h, k] x[k]."""
    pre, post, z = slow.split(part["base"], part["scale"], part["fn"], streams)
    comb = slow.deepseek(z, iterations, eps)
    mixed = np.zeros((N, N))
    for h in range(N):
        for k in range(N):
            mixed[h, k] = comb[h, k]
    return {"matrices": mixed, "pre": slow.sigmoid(pre) + eps, "post": 2 * slow.sigmoid(post)}


def part(layer: int, kind: str) -> dict[str, Any]:
    names = {"base": "base", "scale": "scale", "fn": "fn.weight"}
    return {
        role: tiny_checkpoint()[f"decoder.layers.{layer}.{kind}_hc.{name}"] for role, name in names.items()
    }


def test_both_versions_of_the_code_are_shown(tmp_path: Path, slow: Any) -> None:
    path = saved(tmp_path / "x.pt", tiny_checkpoint(), {"hc_sinkhorn_iters": 2, "hc_eps": 1e-3})
    direct, transposed = scan_variants(path, Options())
    assert [s.label for s in direct.sites] == [
        f"decoder.layers.{i}.{kind}" for i in (0, 1, 2, 10) for kind in ("attn", "ffn")
    ]
    for place, site in enumerate(direct.sites):
        expected = mixer(slow, part(int(site.path.split(".")[-1]), site.kind), None, 2, 1e-3)
        np.testing.assert_allclose(direct.matrices[place, 0], expected["matrices"], atol=1e-12)
        np.testing.assert_allclose(transposed.matrices[place, 0], expected["matrices"].T, atol=1e-12)
    assert (direct.provenance.orientation, transposed.provenance.orientation) == ("direct", "transposed")
    assert direct.provenance.skipped == () and direct.provenance.notes == ()
    assert np.abs(direct.matrices - transposed.matrices).max() > 0.1
    with pytest.raises(MhcDiagError, match="direct, transposed"):
        scan_checkpoint(path)


@pytest.mark.parametrize("variant", ["direct", "transposed"])
def test_at_given_streams(variant: str, slow: Any) -> None:
    (site, *_), tensors = (
        primus.find({k: v.shape for k, v in tiny_checkpoint().items()}).sites,
        part(0, "attn"),
    )
    settings = primus.settings({"hc_sinkhorn_iters": 3, "hc_eps": 1e-3}, variant)
    streams = np.random.default_rng(0).standard_normal((2000, N, WIDTH))
    made = primus.build([site], [tensors], slow.seen(primus, site, tensors, streams), variant, settings)
    for token in range(3):
        expected = mixer(slow, tensors, streams[token], 3, 1e-3)
        if variant == "transposed":
            expected["matrices"] = expected["matrices"].T
        slow.agree(made, token, expected)
    reach = primus.read(site, tensors).reach()
    slow.hold(primus, site, tensors, variant, settings, reach, streams)
    small = {**tensors, "scale": 1e-3 * tensors["scale"], "base": 0.1 * tensors["base"]}
    slow.hold(primus, site, small, variant, settings, reach, streams)


def test_nobody_elses_names_and_nobody_else_takes_these() -> None:
    shapes = {name: array.shape for name, array in tiny_checkpoint().items()}
    bare = {name.replace("fn.weight", "fn"): shape for name, shape in shapes.items()}
    for family in (deepseek, hy_v4, mindspeed):
        assert not family.find(shapes).sites and not family.find(shapes).skipped
    assert len(deepseek.find(bare).sites) == 8
    assert not primus.find(bare).sites and not primus.find(bare).skipped


def test_prediction_blocks_and_odd_shapes_are_named() -> None:
    tensors = tiny_checkpoint() | tiny_checkpoint((0,), "mtp.layers.")
    shapes = {name: array.shape for name, array in tensors.items()}
    shapes["decoder.layers.2.attn_hc.fn.weight"] = (ROWS, N * WIDTH + 1)
    found = primus.find(shapes)
    assert len(found.sites) == 7
    assert [s.what for s in found.skipped] == ["decoder.layers.2.attn", "mtp.layers.0"]


def test_where_a_site_starts() -> None:
    site = primus.find({k: v.shape for k, v in tiny_checkpoint().items()}).sites[0]
    start = primus.initial(site)
    assert not start["base"].any() and start["scale"].tolist() == [1, 1, 1]
