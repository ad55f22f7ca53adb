"""tokenbender's mHC, judged by its formula written out slowly, in logarithms as the code has it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.checkpoint import scan_variants
from mhc_diag.sources.checkpoint.options import Options
from mhc_diag.sources.families import lucidrains_hc, tokenbender

Floats = np.ndarray[Any, Any]
N, WIDTH = 4, 8
LABELS = [f"transformer.h.{i}.hc_{kind}" for i in (0, 1, 2, 10, 11) for kind in ("attn", "mlp")]


def logits(rng: np.random.Generator, size: int = N) -> Floats:
    return 0.1 * rng.standard_normal((size, size))


def tiny_checkpoint(size: int = N, unused: bool = True) -> dict[str, Any]:
    """Layers shuffled, the FFN first, and the parameters that this code keeps and does not use."""
    rng = np.random.default_rng(9)
    tensors = {}
    for layer in (2, 10, 0, 11, 1):
        for kind in ("mlp", "attn"):
            parts = {
                "H_res_logits": logits(rng, size),
                "H_pre_logits": rng.standard_normal(N),
                "H_post_logits": rng.standard_normal(N),
            }
            if unused:
                parts |= {
                    "static_alpha": rng.standard_normal((N, 1 + N)),
                    "dynamic_alpha_fn": rng.standard_normal((WIDTH, 1 + N)),
                    "dynamic_alpha_scale": rng.standard_normal(()),
                    "static_beta": rng.standard_normal(N),
                    "dynamic_beta_fn": rng.standard_normal(WIDTH),
                    "dynamic_beta_scale": rng.standard_normal(()),
                    "norm.gamma": rng.standard_normal(WIDTH),
                }
            start = f"transformer.h.{layer}.hc_{kind}."
            tensors |= {start + name: np.asarray(array, np.float32) for name, array in parts.items()}
    return tensors


def sinkhorn(z: Floats, tau: float, iterations: int) -> Floats:
    z = z.astype(np.float64) / tau
    u, v = np.zeros(len(z)), np.zeros(len(z))
    for _ in range(iterations):
        u = -np.log(np.exp(z + v).sum(axis=1))
        v = -np.log(np.exp(z + u[:, None]).sum(axis=0))
    return np.exp(z + u[:, None] + v)


def orthostochastic(z: Floats) -> Floats:
    x = z.astype(np.float64)
    x = x / (np.sqrt((x * x).sum()) + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.0 * x + (-3.2 * a + 1.2 * a @ a) @ x
    return x * x


def scan(tensors: dict[str, Any], folder: Path, config: dict[str, Any] | None = None) -> list[Any]:
    state = {name: torch.as_tensor(array) for name, array in tensors.items()}
    torch.save({"model": state, "config": config} if config else state, folder / "ckpt.pt")
    return scan_variants(folder / "ckpt.pt", Options())


def test_the_configuration_of_the_training_script_tells_all(tmp_path: Path) -> None:
    tensors = tiny_checkpoint()
    config = {"mhc": True, "sinkhorn_tau": 0.1, "sinkhorn_iters": 3, "mhc_h_res_proj": "sinkhorn"}
    (stack,) = scan(tensors, tmp_path, config)
    assert [s.label for s in stack.sites] == LABELS and stack.provenance.notes == ()
    assert stack.provenance.orientation == "transposed"
    for k, label in enumerate(LABELS):
        z = tensors[f"{label}.H_res_logits"]
        np.testing.assert_allclose(stack.matrices[k, 0], sinkhorn(z, 0.1, 3).T, rtol=0, atol=1e-12)
        np.testing.assert_allclose(stack.logits[k, 0], z / 0.1, rtol=1e-6)
        for gates, name in ((stack.pre, "H_pre_logits"), (stack.post, "H_post_logits")):
            e = np.exp(tensors[f"{label}.{name}"].astype(np.float64))
            np.testing.assert_allclose(gates[k, 0], e / e.sum(), atol=1e-12)
    assert np.abs(stack.matrices - np.swapaxes(stack.matrices, -1, -2)).max() > 0.01


def test_orthostochastic(tmp_path: Path) -> None:
    tensors = tiny_checkpoint()
    (stack,) = scan(tensors, tmp_path, {"mhc_h_res_proj": "orthostochastic", "sinkhorn_tau": 0.05})
    for k, label in enumerate(LABELS):
        expected = orthostochastic(tensors[f"{label}.H_res_logits"]).T
        np.testing.assert_allclose(stack.matrices[k, 0], expected, rtol=0, atol=1e-9)


def test_without_a_configuration_both_are_shown(tmp_path: Path) -> None:
    tensors = tiny_checkpoint()
    first, second = scan(tensors, tmp_path)
    assert [s.provenance.settings["variant"] for s in (first, second)] == ["sinkhorn", "orthostochastic"]
    assert len(first.provenance.notes) == 2 and "sinkhorn_tau: the default 0.05" in first.provenance.notes[0]
    z = tensors[f"{LABELS[3]}.H_res_logits"]
    np.testing.assert_allclose(first.matrices[3, 0], sinkhorn(z, 0.05, 10).T, rtol=0, atol=1e-12)


def test_the_code_that_knows_one_projection(tmp_path: Path) -> None:
    tensors = tiny_checkpoint(unused=False)
    for name in list(tensors):
        if not name.endswith("H_res_logits"):
            tensors[name] = tensors[name][None]
    (stack,) = scan(tensors, tmp_path)
    assert stack.pre.shape == (10, 1, N)
    table = {name: array.shape for name, array in tiny_checkpoint().items()}
    assert tokenbender.variants(table, {"sinkhorn_tau": 1.0}) == ("sinkhorn",)


def test_a_stream_that_is_kept_apart(tmp_path: Path) -> None:
    tensors = tiny_checkpoint(N - 1)
    (stack,) = scan(tensors, tmp_path, {"sinkhorn_tau": 1.0, "sinkhorn_iters": 10})
    assert stack.streams == N and stack.logits is None
    for k, label in enumerate(LABELS):
        expected = np.eye(N)
        expected[1:, 1:] = sinkhorn(tensors[f"{label}.H_res_logits"], 1.0, 10).T
        np.testing.assert_allclose(stack.matrices[k, 0], expected, rtol=0, atol=1e-12)


def test_logits_so_far_apart_that_their_exponentials_vanish() -> None:
    z = np.array([[0.0, -80.0], [0.0, -80.0]])
    site = tokenbender.find({"0.H_res_logits": (2, 2), "0.H_pre_logits": (2,), "0.H_post_logits": (2,)}).sites
    tensors = {"H_res_logits": z, "H_pre_logits": np.zeros(2), "H_post_logits": np.zeros(2)}
    settings = tokenbender.settings({"sinkhorn_tau": 0.05}, "sinkhorn")
    made = tokenbender.build(site, [tensors], None, "sinkhorn", settings).matrices[0, 0]
    np.testing.assert_allclose(made, 0.5, atol=1e-12)


def test_the_parameters_of_the_other_mode_are_unused_and_nobody_claims_them() -> None:
    table = {name: array.shape for name, array in tiny_checkpoint().items()}
    found = tokenbender.find(table)
    assert len(found.sites) == 10 and len(found.unused) == 70
    assert f"{LABELS[0]}.static_alpha" in found.unused
    assert not lucidrains_hc.find(table).sites and not lucidrains_hc.find(table).skipped


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"H_res_logits": (N, N + 1)}, "do not belong together"),
        ({"H_res_logits": (N - 2, N - 2)}, "do not belong together"),
        ({"H_pre_logits": (2, N)}, "do not belong together"),
        ({"H_pre_logits": ()}, "do not belong together"),
        ({"H_pre_logits": None}, "do not belong together"),
        ({"H_post_logits": None}, "not added to the streams"),
        ({"residual_transform.weight": (3, 3)}, "residual_transform changes"),
    ],
)
def test_what_does_not_fit_is_left_out_with_a_reason(change: dict[str, Any], reason: str) -> None:
    table: dict[str, Any] = {"H_res_logits": (N, N), "H_pre_logits": (N,), "H_post_logits": (N,)} | change
    found = tokenbender.find({f"layers.0.{k}": shape for k, shape in table.items() if shape is not None})
    assert not found.sites and [s.what for s in found.skipped] == ["layers.0"]
    assert reason in found.skipped[0].reason


@pytest.mark.parametrize(
    "config",
    [{"sinkhorn_tau": 0}, {"sinkhorn_tau": "0.05"}, {"sinkhorn_tau": float("nan")}, {"sinkhorn_iters": 0}],
)
def test_a_configuration_that_cannot_be_meant(config: dict[str, Any]) -> None:
    (name,) = config
    with pytest.raises(MhcDiagError, match=f"the configuration says {name} = "):
        tokenbender.settings(config, "sinkhorn")


def test_where_the_code_starts() -> None:
    (site, *_) = tokenbender.find({k: v.shape for k, v in tiny_checkpoint().items()}).sites
    tensors = {name: tiny_checkpoint()[full] for name, full in site.tensors.items()} | tokenbender.initial(
        site
    )
    mixing = tokenbender.build([site], [tensors], None, "sinkhorn", tokenbender.settings(None, "sinkhorn"))
    np.testing.assert_allclose(mixing.matrices[0, 0], np.eye(N), atol=1e-15)
