"""HY-V4: the identity, and how branches read and write, as transformers' own modules have it."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from mhc_diag.sources.checkpoint import scan_checkpoint
from mhc_diag.sources.families import FoundSite, deepseek, hy_v4

N, WIDTH = 4, 32


def tiny_checkpoint(layers: tuple[int, ...] = (0, 1, 2, 10), prefix: str = "model.layers.") -> dict[str, Any]:
    """The names that transformers saves by default, in a shuffled order."""
    rng = np.random.default_rng(8)
    tensors = {}
    for layer in layers[::-1]:
        for kind in ("mlp", "attn"):
            start = f"{prefix}{layer}.hc_pre.hc_{kind}_layer.hc_"
            tensors[start + "scale"] = rng.standard_normal(2).astype(np.float32)
            tensors[start + "base"] = rng.standard_normal(2 * N).astype(np.float32)
            tensors[start + "fn"] = rng.standard_normal((2 * N, N * WIDTH)).astype(np.float32)
    return tensors


@pytest.fixture(scope="module")
def model(tiny_models: Any) -> Any:
    model = tiny_models.perturbed("hy_v4")
    for module in model.modules():
        if type(module).__name__ == "HYV4HyperConnection":
            module.hc_eps, module.hc_post_magnitude = 1e-2, 3.0
    model.config.hc_eps, model.config.hc_magnitude = 1e-2, 3.0
    return model


@pytest.mark.parametrize("inner", [False, True], ids=["whole", "base"])
@pytest.mark.parametrize("original", [True, False], ids=["original", "live names"])
def test_agrees_with_the_probe_whatever_transformers_saves(
    model: Any, tiny_models: Any, original: bool, inner: bool, tmp_path: Path
) -> None:
    from mhc_diag.sources.probe import probe

    still = copy.deepcopy(model)
    for path, parameter in still.named_parameters():
        if path.endswith("_hc.fn"):
            torch.nn.init.zeros_(parameter)
    probed = probe(still, tiny_models.TOKENS[:1, :4])
    (model.model if inner else model).save_pretrained(tmp_path, save_original_format=original)
    keys = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert any("hc_attn_layer.hc_fn" in key for key in keys) is original

    stack = scan_checkpoint(tmp_path / "model.safetensors")
    prefix = "" if inner else "model."
    assert [s.label for s in stack.sites] == [
        f"{prefix}layers.{i}.{k}" for i in (0, 1) for k in ("attn", "ffn")
    ]
    assert stack.provenance.settings["layout"] == "hy_v4" and stack.provenance.skipped == ()
    np.testing.assert_array_equal(
        np.broadcast_to(stack.matrices, probed.matrices.shape), probed.matrices.double().numpy()
    )
    for ours, theirs in ((stack.pre, probed.pre), (stack.post, probed.post)):
        assert ours is not None and theirs is not None
        theirs = theirs.double().numpy()
        known = np.isfinite(theirs)
        assert known.mean() > 0.5
        np.testing.assert_allclose(np.broadcast_to(ours, theirs.shape)[known], theirs[known], atol=1e-5)


def test_at_given_streams_it_is_what_the_module_computes(model: Any) -> None:
    module = model.model.layers[1].ffn_hc
    tensors = {role: getattr(module, role).detach().numpy() for role in ("fn", "base", "scale")}
    site = FoundSite("0", "attn", N, "", {"base": "b", "scale": "s"}, {"fn": "f"})
    torch.manual_seed(1)
    streams = 100 * torch.randn(1, 50, N, WIDTH)
    unit = torch.nn.functional.normalize(streams.flatten(2), dim=-1)[0].double().numpy() * (N * WIDTH) ** 0.5
    values = (unit @ hy_v4.read(site, tensors).weight.T)[None, :, None]
    settings = hy_v4.settings({"hc_eps": 1e-2, "hc_magnitude": 3.0}, "identity")
    made = hy_v4.build([site], [tensors], values, "identity", settings)
    with torch.no_grad():
        post, collapsed = module(streams)
    assert made.pre is not None and made.post is not None
    np.testing.assert_allclose(made.post[0], post[0].numpy(), rtol=0, atol=1e-5)
    read = np.einsum("tn,tnc->tc", made.pre[0], streams[0].numpy())
    np.testing.assert_allclose(read, collapsed[0].numpy(), rtol=1e-5, atol=1e-3)
    assert (made.matrices == np.eye(N)).all() and made.matrices.shape == (1, 50, N, N)
    caps = hy_v4.caps([site], [tensors], None, "identity", settings)
    assert caps.rows.tolist() == caps.columns.tolist() == [1.0]


def test_order_and_names() -> None:
    shapes = {name: array.shape for name, array in tiny_checkpoint().items()}
    sites = hy_v4.find(shapes).sites
    assert [(s.path, s.kind) for s in sites] == [
        (f"model.layers.{i}", kind) for i in (0, 1, 2, 10) for kind in ("attn", "ffn")
    ]
    elsewhere = {name.replace(".hc_pre.hc_", ".hc_").replace("_layer.", "_layer.hc_pre."): shape
                 for name, shape in shapes.items()}  # fmt: skip
    assert [s.path for s in hy_v4.find(elsewhere).sites] == [s.path for s in sites]


def test_prediction_blocks_are_left_out_and_named() -> None:
    tensors = tiny_checkpoint((0,), "model.mtp_layers.")
    found = hy_v4.find({name: array.shape for name, array in tensors.items()})
    assert not found.sites
    assert [s.what for s in found.skipped] == ["model.mtp_layers.0"]


@pytest.mark.parametrize("n", [2, 4, 8, 12])
def test_names_shared_with_deepseek_are_told_apart_by_shape(n: int) -> None:
    def shapes(rows: int, scale: int) -> dict[str, tuple[int, ...]]:
        parts = {"base": (rows,), "scale": (scale,), "fn": (rows, 24 * n)}
        return {f"model.layers.0.attn_hc.{part}": shape for part, shape in parts.items()}

    mixed, unmixed = shapes(n * n + 2 * n, 3), shapes(2 * n, 2)
    assert len(deepseek.find(mixed).sites) == 1 and len(hy_v4.find(unmixed).sites) == 1
    assert deepseek.find(unmixed) == hy_v4.find(mixed) == type(hy_v4.find({}))()


def test_where_a_site_starts(tiny_models: Any) -> None:
    torch.manual_seed(0)
    module = tiny_models.MAKE["hy_v4"]().model.layers[0].attn_hc
    for role, array in hy_v4.initial(FoundSite("0", "attn", N, "", {})).items():
        np.testing.assert_allclose(getattr(module, role).detach().numpy(), array, rtol=1e-6)
