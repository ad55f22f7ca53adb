"""Qwen4-Exp: the identity, as the probe measures it on transformers' own model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mhc_diag.sources.checkpoint import scan_checkpoint
from mhc_diag.sources.families import qwen4_exp

N, WIDTH = 4, 16


def tiny_checkpoint(layers: tuple[int, ...] = (0, 1, 2, 10), prefix: str = "model.layers.") -> dict[str, Any]:
    """What a layer has, in a shuffled order."""
    tensors: dict[str, Any] = {}
    for layer in layers[::-1]:
        for kind in ("mlp", "attn"):
            start = f"{prefix}{layer}.{kind}_hyper_connection."
            tensors[start + "block_inject_weight.weight"] = np.ones((N, N * WIDTH), np.float32)
            tensors[start + "input_mix_weight_down.weight"] = np.ones((8, N * WIDTH), np.float32)
            tensors[start + "input_mix_weight_up.weight"] = np.ones((N * WIDTH, 8), np.float32)
            tensors[start + "hc_norm.weight"] = np.ones(N * WIDTH, np.float32)
    return tensors | {"model.hyper_connection_mixer.hc_norm.weight": np.ones(N * WIDTH, np.float32)}


@pytest.mark.parametrize("inner", [False, True], ids=["whole", "base"])
@pytest.mark.parametrize("original", [True, False], ids=["original", "live names"])
def test_agrees_with_the_probe_whatever_transformers_saves(
    tiny_models: Any, original: bool, inner: bool, tmp_path: Path
) -> None:
    from mhc_diag.sources.probe import probe

    model = tiny_models.perturbed("qwen4_exp")
    probed = probe(model, tiny_models.TOKENS[:1, :8])
    (model.model if inner else model).save_pretrained(tmp_path, save_original_format=original)
    stack = scan_checkpoint(tmp_path / "model.safetensors")
    prefix = "" if inner else "model."
    assert [s.label for s in stack.sites] == [
        f"{prefix}layers.{i}.{kind}" for i in range(4) for kind in ("attn", "mlp")
    ]
    assert torch.equal(probed.matrices, torch.eye(N).expand_as(probed.matrices))
    assert (stack.matrices == np.eye(N)).all() and stack.matrices.dtype == np.float64
    assert stack.pre is None and stack.post is None
    assert stack.provenance.how.startswith("the identity, whatever the input")
    assert stack.provenance.notes == () and stack.provenance.skipped == ()
    assert stack.provenance.audit == ()
    sites = qwen4_exp.find({name: array.shape for name, array in tiny_checkpoint().items()}).sites
    caps = qwen4_exp.caps(sites, [{}] * len(sites), None, "identity", qwen4_exp.settings(None, "identity"))
    assert caps.rows.tolist() == caps.columns.tolist() == [1.0] * 8


def test_order_and_prediction_blocks() -> None:
    tensors = tiny_checkpoint() | tiny_checkpoint((0,), "mtp.layers.")
    found = qwen4_exp.find({name: array.shape for name, array in tensors.items()})
    assert [(s.path, s.kind) for s in found.sites] == [
        (f"model.layers.{i}", kind) for i in (0, 1, 2, 10) for kind in ("attn", "mlp")
    ]
    assert [s.what for s in found.skipped] == ["mtp.layers.0"]


@pytest.mark.parametrize("shape", [(4,), (4, 63), (65, 65 * 4), (0, 0), (4, 10**9), ()])
def test_other_shapes_are_not_claimed(shape: tuple[int, ...]) -> None:
    found = qwen4_exp.find({"layers.0.attn_hyper_connection.block_inject_weight.weight": shape})
    assert not found.sites
    assert [s.what for s in found.skipped] == ["layers.0.attn"] and str(shape) in found.skipped[0].reason
