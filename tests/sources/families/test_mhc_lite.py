"""mHC-lite, judged by its formula written out slowly."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhc_diag.sources.families import kromhc, lucidrains_hc, lucidrains_mhc, mhc_lite, mhc_lite_sinkhorn

Floats = np.ndarray[Any, Any]


def tiny_checkpoint() -> dict[str, Any]:
    """Three streams, so 3 + 3! numbers a site."""
    rng = np.random.default_rng(8)
    tensors = {}
    for layer in (2, 10, 0, 11, 1):
        for kind in ("mlp", "attn"):
            parts = {
                "static_alpha": rng.standard_normal(9),
                "dynamic_alpha_fn": rng.standard_normal((12, 9)),
                "pre_branch_scale": rng.standard_normal(1),
                "residual_scale": rng.standard_normal(1),
                "static_beta": rng.standard_normal(3),
                "dynamic_beta_fn": rng.standard_normal((12, 3)),
                "h_post_scale": rng.standard_normal(()),
                "norm.gamma": rng.standard_normal(12),
            }
            tensors |= {f"h.{layer}.hc_{kind}.{k}": np.asarray(v, np.float32) for k, v in parts.items()}
    return tensors


def slowly(n: int) -> Any:
    def matrix(static: Floats, dynamic: Floats, scale: float) -> Floats:
        logits = (static + scale * dynamic)[n:]
        weights = np.exp(logits) / np.exp(logits).sum()
        h = np.zeros((n, n))
        for weight, permutation in zip(weights, itertools.permutations(range(n)), strict=True):
            for i, j in enumerate(permutation):
                h[i, j] += weight
        return h

    return matrix


@pytest.mark.parametrize("n", [2, 3, 4])
def test_reads_as_the_formula_says(n: int, joint_code: Any, tmp_path: Path) -> None:
    stack = joint_code.check(n, (n + math.factorial(n),), tmp_path, slowly(n))
    assert stack.provenance.settings["layout"] == "mhc_lite"
    assert stack.provenance.orientation == "transposed" and (stack.caps.rows == 1).all()
    if n > 2:
        assert np.abs(stack.matrices - np.swapaxes(stack.matrices, -1, -2)).max() > 0.01


@pytest.mark.parametrize("n", [2, 4, 8])
def test_nobody_else_claims_it_and_it_claims_nothing_else(n: int, joint_code: Any) -> None:
    lite = joint_code.shapes(joint_code.checkpoint(n, (n + math.factorial(min(n, 4)),)))
    for family in (kromhc, lucidrains_hc, lucidrains_mhc, mhc_lite_sinkhorn):
        assert not family.find(lite).sites
    for static in ((n + 2 * int(math.log2(n)),) if n > 2 else (n, n + 1), (n, n + 1)):
        assert not mhc_lite.find(joint_code.shapes(joint_code.checkpoint(n, static))).sites


@pytest.mark.parametrize(
    "change",
    [
        {"static_alpha": (10,)},
        {"dynamic_alpha_fn": (12, 8)},
        {"norm.gamma": (13,)},
        {"dynamic_beta_fn": (12, 2)},
        {"residual_scale": ()},
        {"static_beta": (3, 1)},
        {"norm.gamma": ()},
    ],
)
def test_other_shapes_under_the_same_names_are_not_claimed(change: dict[str, Any]) -> None:
    table: dict[str, Any] = {k: v.shape for k, v in tiny_checkpoint().items() if k.startswith("h.0.hc_attn")}
    assert len(mhc_lite.find(table).sites) == 1
    assert not mhc_lite.find(table | {f"h.0.hc_attn.{k}": v for k, v in change.items()}).sites


def test_a_gate_on_the_residual_path_is_left_out() -> None:
    table: dict[str, Any] = {k: v.shape for k, v in tiny_checkpoint().items() if k.startswith("h.0.hc_attn")}
    found = mhc_lite.find(table | {"h.0.hc_attn.depth_residual_fn.weight": (3,)})
    assert not found.sites and "depth_residual_fn" in found.skipped[0].reason


def test_where_the_code_starts() -> None:
    (site, *_) = mhc_lite.find({k: v.shape for k, v in tiny_checkpoint().items()}).sites
    tensors = {name: tiny_checkpoint()[full] for name, full in site.tensors.items()} | mhc_lite.initial(site)
    mixing = mhc_lite.build([site], [tensors], None, "permutations", mhc_lite.settings(None, "permutations"))
    np.testing.assert_allclose(mixing.matrices[0, 0], np.eye(3), atol=5 * math.exp(-8))
