"""mHC in the code of mHC-lite, judged by its formula written out slowly."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.families import kromhc, lucidrains_hc, lucidrains_mhc, mhc_lite, mhc_lite_sinkhorn

Floats = np.ndarray[Any, Any]


def tiny_checkpoint() -> dict[str, Any]:
    """Four streams, which are read together."""
    rng = np.random.default_rng(8)
    tensors = {}
    for layer in (2, 10, 0, 11, 1):
        for kind in ("mlp", "attn"):
            parts = {
                "static_alpha": rng.standard_normal((4, 5)),
                "dynamic_alpha_fn": rng.standard_normal((12, 20)),
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
        h = np.exp((static + scale * dynamic.reshape(static.shape))[:, 1:])
        for _ in range(20):
            h = h / h.sum(axis=0)
            h = h / h.sum(axis=1)[:, None]
        return h

    return matrix


@pytest.mark.parametrize("n", [2, 3, 4])
def test_reads_as_the_formula_says(n: int, joint_code: Any, tmp_path: Path) -> None:
    stack = joint_code.check(n, (n, 1 + n), tmp_path, slowly(n))
    assert stack.provenance.settings["layout"] == "mhc_lite_sinkhorn"
    assert "sinkhorn_iters: the default 20" in stack.provenance.notes[0]
    assert stack.logits is not None and (stack.caps.columns <= 1).all()


def test_nobody_else_claims_it() -> None:
    table = {k: v.shape for k, v in tiny_checkpoint().items()}
    assert len(mhc_lite_sinkhorn.find(table).sites) == 10
    for family in (kromhc, lucidrains_hc, lucidrains_mhc, mhc_lite):
        found = family.find(table)
        assert not found.sites and not found.skipped


def test_a_configuration_that_cannot_be_meant() -> None:
    assert mhc_lite_sinkhorn.settings({"sinkhorn_iters": 3}, "sinkhorn").values == {"sinkhorn_iters": 3}
    with pytest.raises(MhcDiagError, match="sinkhorn_iters = 0"):
        mhc_lite_sinkhorn.settings({"sinkhorn_iters": 0}, "sinkhorn")


def test_where_the_code_starts() -> None:
    (site, *_) = mhc_lite_sinkhorn.find({k: v.shape for k, v in tiny_checkpoint().items()}).sites
    tensors = {name: tiny_checkpoint()[full] for name, full in site.tensors.items()}
    tensors |= mhc_lite_sinkhorn.initial(site)
    mixing = mhc_lite_sinkhorn.build(
        [site], [tensors], None, "sinkhorn", mhc_lite_sinkhorn.settings(None, "sinkhorn")
    )
    np.testing.assert_allclose(mixing.matrices[0, 0], np.eye(4), atol=3 * np.exp(-8))
