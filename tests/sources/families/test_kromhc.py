"""KromHC, judged by its formula written out slowly."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhc_diag.sources.families import kromhc, mhc_lite

Floats = np.ndarray[Any, Any]


def tiny_checkpoint() -> dict[str, Any]:
    """Four streams, so two factors and 4 + 2 * 2 numbers a site."""
    rng = np.random.default_rng(8)
    tensors = {}
    for layer in (2, 10, 0, 11, 1):
        for kind in ("mlp", "attn"):
            parts = {
                "static_alpha": rng.standard_normal(8),
                "dynamic_alpha_fn": rng.standard_normal((12, 8)),
                "pre_branch_scale": rng.standard_normal(1),
                "residual_scale": rng.standard_normal(1),
                "static_beta": rng.standard_normal(4),
                "dynamic_beta_fn": rng.standard_normal((12, 4)),
                "h_post_scale": rng.standard_normal(()),
                "norm.gamma": rng.standard_normal(12),
            }
            tensors |= {f"h.{layer}.hc_{kind}.{k}": np.asarray(v, np.float32) for k, v in parts.items()}
    return tensors


def slowly(n: int) -> Any:
    def matrix(static: Floats, dynamic: Floats, scale: float) -> Floats:
        h = np.ones((1, 1))
        for one, other in (static + scale * dynamic)[n:].reshape(-1, 2):
            keeps = np.exp(one) / (np.exp(one) + np.exp(other))
            h = np.kron(h, np.array([[keeps, 1 - keeps], [1 - keeps, keeps]]))
        return h

    return matrix


@pytest.mark.parametrize(("n", "factors"), [(4, 2), (8, 3), (16, 4)])
def test_reads_as_the_formula_says(n: int, factors: int, joint_code: Any, tmp_path: Path) -> None:
    stack = joint_code.check(n, (n + 2 * factors,), tmp_path, slowly(n))
    assert stack.provenance.settings["layout"] == "kromhc" and (stack.caps.columns == 1).all()


@pytest.mark.parametrize(("n", "numbers"), [(2, 4), (3, 9), (4, 28), (4, 9), (6, 12)])
def test_other_numbers_are_not_claimed(n: int, numbers: int, joint_code: Any) -> None:
    assert not kromhc.find(joint_code.shapes(joint_code.checkpoint(n, (numbers,)))).sites


def test_nobody_else_claims_it() -> None:
    assert not mhc_lite.find({k: v.shape for k, v in tiny_checkpoint().items()}).sites


def test_where_the_code_starts() -> None:
    (site, *_) = kromhc.find({k: v.shape for k, v in tiny_checkpoint().items()}).sites
    tensors = {name: tiny_checkpoint()[full] for name, full in site.tensors.items()} | kromhc.initial(site)
    mixing = kromhc.build([site], [tensors], None, "kronecker", kromhc.settings(None, "kronecker"))
    np.testing.assert_allclose(mixing.matrices[0, 0], np.eye(4), atol=2 * np.exp(-8))
