"""DeepSeek naming, judged by what transformers' own module computes."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from mhc_diag.errors import MhcDiagError, NothingToCheck
from mhc_diag.sources.checkpoint import scan_checkpoint
from mhc_diag.sources.families import deepseek

N, WIDTH = 4, 32
ROWS = N * N + 2 * N


def tiny_checkpoint(layers: tuple[int, ...] = (0, 1, 2, 10, 11), prefix: str = "layers.") -> dict[str, Any]:
    """The official names, written layer by layer in a shuffled order."""
    rng = np.random.default_rng(7)
    tensors = {}
    for layer in (*layers[1::2], *layers[::2]):
        for kind in ("ffn", "attn"):
            start = f"{prefix}{layer}.hc_{kind}_"
            tensors[start + "scale"] = rng.standard_normal(3).astype(np.float32)
            tensors[start + "base"] = rng.standard_normal(ROWS).astype(np.float32)
            tensors[start + "fn"] = rng.standard_normal((ROWS, N * WIDTH)).astype(np.float32)
    return tensors


def save(tensors: dict[str, Any], path: Path) -> Path:
    torch.save({k: torch.as_tensor(v) for k, v in tensors.items()}, path)
    return path


def slowly(base: np.ndarray[Any, Any], iterations: int, eps: float) -> np.ndarray[Any, Any]:
    """The applied matrix of one site, written out by hand."""
    comb = np.exp(base[2 * N :].astype(np.float64)).reshape(N, N)
    comb = comb / comb.sum(1)[:, None] + eps
    comb = comb / (comb.sum(0) + eps)
    for _ in range(iterations - 1):
        comb = comb / (comb.sum(1)[:, None] + eps)
        comb = comb / (comb.sum(0) + eps)
    return comb.T


@pytest.fixture(scope="module")
def model() -> Any:
    """A tiny DeepSeek-V4 with perturbed mixing parameters; seconds of import, so built once."""
    transformers = importlib.import_module("transformers")
    config = transformers.DeepseekV4Config(
        vocab_size=64,
        hidden_size=WIDTH,
        moe_intermediate_size=16,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=16,
        q_lora_rank=16,
        num_experts_per_tok=2,
        n_routed_experts=4,
        n_shared_experts=1,
        max_position_embeddings=64,
        layer_types=["sliding_attention", "sliding_attention", "compressed_sparse_attention"],
        mlp_layer_types=["hash_moe", "moe", "moe"],
        sliding_window=16,
        o_groups=2,
        o_lora_rank=8,
        index_n_heads=2,
        index_head_dim=8,
        index_topk=4,
        qk_rope_head_dim=8,
        pad_token_id=0,
        hc_mult=N,
        hc_sinkhorn_iters=3,
        hc_eps=1e-3,
    )
    torch.manual_seed(0)
    model = transformers.DeepseekV4ForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "_hc." in name:
                parameter.normal_(std=1.5)
    return model


@pytest.fixture(scope="module")
def truth(model: Any) -> tuple[list[str], np.ndarray[Any, Any]]:
    """Every site's name and comb^T as the module itself computes it at fn = 0, in the order of execution."""
    cls = importlib.import_module("transformers.models.deepseek_v4.modeling_deepseek_v4")
    names, matrices = [], []
    for index, layer in enumerate(model.model.layers):
        for kind in ("attn", "ffn"):
            site = cls.DeepseekV4HyperConnection(model.config)
            site.load_state_dict(getattr(layer, f"{kind}_hc").state_dict())
            torch.nn.init.zeros_(site.fn)
            with torch.no_grad():
                comb = site(torch.randn(1, 1, N, WIDTH))[1]
            names.append(f"model.layers.{index}.{kind}")
            matrices.append(comb[0, 0].T.double().numpy())
    return names, np.stack(matrices)


@pytest.mark.parametrize("original", [True, False])
def test_agrees_with_transformers_in_both_of_its_layouts(
    model: Any, truth: tuple[list[str], np.ndarray[Any, Any]], original: bool, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path, save_original_format=original)
    stack = scan_checkpoint(tmp_path / "model.safetensors")
    names, matrices = truth
    keys = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert ("model.layers.0.hc_attn_base" in keys) is original
    assert [site.label for site in stack.sites] == names
    np.testing.assert_allclose(stack.matrices[:, 0], matrices, rtol=0, atol=1e-6)
    assert stack.provenance.settings == {"layout": "deepseek", "hc_sinkhorn_iters": 3, "hc_eps": 1e-3}
    assert stack.provenance.notes == ()


def test_the_truth_is_neither_symmetric_nor_exact(truth: tuple[list[str], np.ndarray[Any, Any]]) -> None:
    _, matrices = truth
    assert np.abs(matrices - np.swapaxes(matrices, 1, 2)).max(axis=(1, 2)).min() > 1e-2
    assert np.abs(matrices.sum(axis=1) - 1).max() > 1e-2


def test_layers_are_ordered_as_numbers_and_attention_comes_first(tmp_path: Path) -> None:
    stack = scan_checkpoint(save(tiny_checkpoint(), tmp_path / "x.pt"))
    expected = [(f"layers.{i}", kind) for i in (0, 1, 2, 10, 11) for kind in ("attn", "ffn")]
    assert [(s.path, s.kind) for s in stack.sites] == expected
    assert [s.depth for s in stack.sites] == list(range(10))
    tensors = tiny_checkpoint()
    for matrix, (path, kind) in zip(stack.matrices[:, 0], expected, strict=True):
        np.testing.assert_allclose(matrix, slowly(tensors[f"{path}.hc_{kind}_base"], 20, 1e-6), atol=1e-12)


def test_what_it_is_and_is_not_is_said(tmp_path: Path) -> None:
    stack = scan_checkpoint(save(tiny_checkpoint(), tmp_path / "x.pt"))
    provenance = stack.provenance
    assert (provenance.method, provenance.orientation) == ("static", "transposed")
    assert "transpose" in provenance.how and "zero dynamic input" in provenance.how
    assert len(provenance.notes) == 2
    assert any("hc_sinkhorn_iters: the default 20" in note for note in provenance.notes)
    assert any("hc_eps: the default 1e-06" in note for note in provenance.notes)
    assert stack.logits is not None
    np.testing.assert_array_equal(
        stack.logits[0, 0], tiny_checkpoint()["layers.0.hc_attn_base"][8:].reshape(4, 4)
    )


def test_settings_come_from_the_configuration(tmp_path: Path) -> None:
    tensors = tiny_checkpoint()
    for config in (
        {"hc_sinkhorn_iters": 2, "hc_eps": 0.125},
        {"text_config": {"hc_sinkhorn_iters": 2, "hc_eps": 0.125}},
    ):
        state = {k: torch.as_tensor(v) for k, v in tensors.items()}
        torch.save({"model": state, "config": config}, tmp_path / "x.pt")
        stack = scan_checkpoint(tmp_path / "x.pt")
        assert stack.provenance.notes == ()
        np.testing.assert_allclose(
            stack.matrices[0, 0], slowly(tensors["layers.0.hc_attn_base"], 2, 0.125), atol=1e-12
        )


@pytest.mark.parametrize(
    "config",
    [
        {"hc_sinkhorn_iters": "20"},
        {"hc_sinkhorn_iters": 0},
        {"hc_sinkhorn_iters": 10**9},
        {"hc_sinkhorn_iters": True},
        {"hc_eps": None},
        {"hc_eps": float("nan")},
        {"hc_eps": -1e-6},
    ],
)
def test_a_configuration_that_cannot_be_meant(config: dict[str, Any]) -> None:
    (name,) = config
    with pytest.raises(MhcDiagError, match=f"the configuration says {name} = ") as error:
        deepseek.settings(config, "deepseek")
    assert "config.json" in error.value.hint


def test_prediction_blocks_are_left_out_and_named(tmp_path: Path) -> None:
    tensors = tiny_checkpoint() | tiny_checkpoint((0, 1), "mtp.")
    stack = scan_checkpoint(save(tensors, tmp_path / "x.pt"))
    assert len(stack.sites) == 10
    assert [s.what for s in stack.provenance.skipped] == ["mtp.0", "mtp.1"]
    assert all("multi-token-prediction" in s.reason for s in stack.provenance.skipped)


def test_names_that_two_codes_read_differently_are_left_out(tmp_path: Path) -> None:
    tensors = tiny_checkpoint(prefix="model.layers.") | {"model.hc_head_fn": np.ones((4, 128))}
    with pytest.raises(NothingToCheck) as nothing:
        scan_checkpoint(save(tensors, tmp_path / "x.pt"))
    assert any("applies its transpose" in line for line in nothing.value.looked_at)


SHAPES = {"base": (24,), "scale": (3,), "fn": (24, 128)}


@pytest.mark.parametrize(
    "change",
    [
        {"scale": (2,), "base": (8,), "fn": (8, 128)},
        {"scale": (2,)},
        {"base": (23,)},
        {"base": (24, 1)},
        {"base": (10**12 + 2 * 10**6,), "fn": (10**12 + 2 * 10**6, 10**6)},
        {"fn": (8, 128)},
        {"fn": (24, 127)},
        {"base": ()},
    ],
)
def test_other_shapes_under_the_same_names_are_not_claimed(change: dict[str, tuple[int, ...]]) -> None:
    shapes = {f"model.layers.0.attn_hc.{part}": shape for part, shape in (SHAPES | change).items()}
    found = deepseek.find(shapes)
    assert not found.sites
    assert [s.what for s in found.skipped] == ["model.layers.0.attn"]
    assert str(tuple((SHAPES | change)["base"])) in found.skipped[0].reason


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_the_number_of_streams_follows_from_the_shapes(n: int) -> None:
    rows = n * n + 2 * n
    (site,) = deepseek.find({"0.hc_ffn_base": (rows,), "0.hc_ffn_scale": (3,)}).sites
    assert (site.path, site.kind, site.streams) == ("0", "ffn", n)
