"""DeepSeek naming, judged by what the modules of transformers compute and what the probe measures on them."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from mhc_diag.errors import MhcDiagError
from mhc_diag.records import MixingStack
from mhc_diag.sources.checkpoint import scan_checkpoint, scan_variants
from mhc_diag.sources.checkpoint.options import Options
from mhc_diag.sources.families import FoundSite, deepseek
from mhc_diag.sources.readings import Read

N, WIDTH = 4, 32
ROWS = N * N + 2 * N


def tiny_checkpoint(layers: tuple[int, ...] = (0, 1, 2, 10, 11), prefix: str = "layers.") -> dict[str, Any]:
    """The official names, written layer by layer in a shuffled order."""
    rng = np.random.default_rng(7)
    tensors = {"hc_head_fn": np.ones((N, N * WIDTH), np.float32)}
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


@pytest.fixture(scope="module", params=["deepseek_v4", "glm5_next"])
def model(request: pytest.FixtureRequest, tiny_models: Any) -> Any:
    """A tiny model of transformers with perturbed mixing, few iterations and a large eps."""
    model = tiny_models.perturbed(request.param)
    for module in model.modules():
        if type(module).__name__.endswith("HyperConnection"):
            module.hc_sinkhorn_iters, module.hc_eps = 3, 1e-3
    text = getattr(model.config, "text_config", model.config)
    text.hc_sinkhorn_iters, text.hc_eps = 3, 1e-3
    return model


def sites_of(model: Any) -> dict[str, Any]:
    """The hyper-connection modules in the order of execution, by the name that a scan gives them."""
    return {
        path.replace("_hc", ""): module
        for path, module in model.named_modules()
        if path.endswith(("attn_hc", "ffn_hc"))
    }


@pytest.fixture(scope="module")
def probed(model: Any, tiny_models: Any) -> MixingStack:
    """What the probe measures on the live model at zero dynamic input."""
    from mhc_diag.sources.probe import probe

    still = copy.deepcopy(model)
    for site in sites_of(still).values():
        torch.nn.init.zeros_(site.fn)
    return probe(still, tiny_models.TOKENS[:1, :4])


@pytest.mark.parametrize("inner", [False, True], ids=["whole", "base"])
@pytest.mark.parametrize("original", [True, False], ids=["original", "live names"])
def test_agrees_with_the_probe_whatever_transformers_saves(
    model: Any, probed: MixingStack, original: bool, inner: bool, tmp_path: Path
) -> None:
    saved = model.model if inner else model
    saved.save_pretrained(tmp_path, save_original_format=original)
    keys = safetensors.torch.load_file(tmp_path / "model.safetensors")
    assert any(key.endswith("layers.0.hc_attn_base") for key in keys) is original

    stack = scan_checkpoint(tmp_path / "model.safetensors")
    measured = probed.matrices.double().numpy()
    assert np.abs(measured - np.swapaxes(measured, -1, -2)).max(axis=(1, 2, 3)).min() > 1e-2
    assert np.abs(measured.sum(axis=-2) - 1).max() > 1e-2, "too few iterations are to show"
    assert [site.label for site in stack.sites] == list(sites_of(saved))
    np.testing.assert_allclose(np.broadcast_to(stack.matrices, measured.shape), measured, rtol=0, atol=1e-6)
    assert stack.provenance.settings == {
        "layout": "deepseek",
        "variant": "deepseek",
        "hc_sinkhorn_iters": 3,
        "hc_eps": 1e-3,
    }
    assert stack.provenance.notes == () and stack.provenance.skipped == ()


def test_pre_and_post_are_what_the_probe_measures(model: Any, probed: MixingStack, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    stack = scan_checkpoint(tmp_path / "model.safetensors")
    for ours, theirs in ((stack.pre, probed.pre), (stack.post, probed.post)):
        assert ours is not None and theirs is not None
        theirs = theirs.double().numpy()
        known = np.isfinite(theirs)
        assert known.mean() > 0.5
        np.testing.assert_allclose(np.broadcast_to(ours, theirs.shape)[known], theirs[known], atol=1e-5)


def found_in(module: Any) -> tuple[FoundSite, dict[str, Any]]:
    site = FoundSite("layers.0", "attn", N, "layers.", {"base": "b", "scale": "s"}, {"fn": "f"})
    return site, {role: getattr(module, role).detach().numpy() for role in ("fn", "base", "scale")}


def test_at_given_streams_it_is_what_the_module_computes(model: Any) -> None:
    settings = deepseek.settings({"hc_sinkhorn_iters": 3, "hc_eps": 1e-3}, "deepseek")
    torch.manual_seed(1)
    for module in list(sites_of(model).values())[:3]:
        site, tensors = found_in(module)
        streams = torch.randn(1, 50, N, WIDTH) * torch.logspace(1, 3, 50)[:, None, None]
        flat = streams.flatten(2)
        unit = flat * torch.rsqrt(flat.square().mean(-1, keepdim=True))
        values = unit[0].double().numpy() @ deepseek.read(site, tensors).weight.astype(np.float64).T
        made = deepseek.build([site], [tensors], values[None, :, None], "deepseek", settings)
        with torch.no_grad():
            post, comb, collapsed = module(streams)
        assert np.abs(values).max() > 1
        np.testing.assert_allclose(made.matrices[0], comb[0].mT.numpy(), rtol=0, atol=1e-5)
        assert made.pre is not None and made.post is not None
        np.testing.assert_allclose(made.post[0], post[0].numpy(), rtol=0, atol=1e-5)
        read = np.einsum("tn,tnc->tc", made.pre[0], streams[0].numpy())
        np.testing.assert_allclose(read, collapsed[0].numpy(), rtol=1e-5, atol=1e-2)


def test_layers_are_ordered_as_numbers_and_attention_comes_first(tmp_path: Path, slow: Any) -> None:
    stack = scan_checkpoint(save(tiny_checkpoint(), tmp_path / "x.pt"))
    expected = [(f"layers.{i}", kind) for i in (0, 1, 2, 10, 11) for kind in ("attn", "ffn")]
    assert [(s.path, s.kind) for s in stack.sites] == expected
    assert [s.depth for s in stack.sites] == list(range(10))
    tensors = tiny_checkpoint()
    for matrix, (path, kind) in zip(stack.matrices[:, 0], expected, strict=True):
        _, _, z = slow.split(tensors[f"{path}.hc_{kind}_base"], np.ones(3), None, None)
        np.testing.assert_allclose(matrix, slow.deepseek(z, 20, 1e-6).T, atol=1e-12)


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


HIDDEN = {"hc_sinkhorn_iters": 2, "hc_eps": 0.125}


@pytest.mark.parametrize(
    "config",
    [
        HIDDEN,
        {"text_config": HIDDEN},
        {"model_config": {"hf_config": HIDDEN}},
        {"args": HIDDEN | {"hc_mult": 4}},
        {"text_config": {"mhc_sinkhorn_iterations": 2, "hc_eps": 0.125, "mhc_post_mult_value": 2.0}},
    ],
)
def test_settings_come_from_the_configuration(config: dict[str, Any], tmp_path: Path, slow: Any) -> None:
    tensors = tiny_checkpoint()
    state = {k: torch.as_tensor(v) for k, v in tensors.items()}
    torch.save({"model": state, "config": config}, tmp_path / "x.pt")
    stack = scan_checkpoint(tmp_path / "x.pt")
    assert stack.provenance.notes == ()
    _, _, z = slow.split(tensors["layers.0.hc_attn_base"], np.ones(3), None, None)
    np.testing.assert_allclose(stack.matrices[0, 0], slow.deepseek(z, 2, 0.125).T, atol=1e-12)


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
        {"hc_eps": 1e-6, "text_config": {"hc_eps": 1e-5}},
        {"mhc_post_mult_value": [2]},
    ],
)
def test_a_configuration_that_cannot_be_meant(config: dict[str, Any]) -> None:
    with pytest.raises(MhcDiagError, match=f"the configuration says {next(iter(config))} = ") as error:
        deepseek.settings(config, "deepseek")
    assert "config.json" in error.value.hint


def test_numbers_of_numpy_in_a_training_checkpoint_are_numbers() -> None:
    config = {"args": {"hc_sinkhorn_iters": np.int64(5), "hc_eps": np.float64(0.25), "seeds": np.arange(3)}}
    assert deepseek.settings(config, "deepseek").values == {"hc_sinkhorn_iters": 5, "hc_eps": 0.25}
    assert deepseek.variants({}, {"transformers_version": np.arange(3), "model_type": np.arange(3)})


def test_what_a_configuration_says_is_safe_to_print() -> None:
    with pytest.raises(MhcDiagError) as error:
        deepseek.settings({"hc_eps": "\x1b[2J" + "x" * 10_000}, "deepseek")
    assert "\x1b" not in error.value.message and len(error.value.message) < 500


@pytest.mark.parametrize(
    ("names", "skipped"),
    [
        (tiny_checkpoint((0, 1), "mtp."), ["mtp.0", "mtp.1"]),
        (
            {
                f"model.layers.61.mtp_block.hc_attn_{part}": array
                for part, array in (
                    ("fn", np.ones((ROWS, 128))),
                    ("base", np.ones(ROWS)),
                    ("scale", np.ones(3)),
                )
            },
            ["model.layers.61"],
        ),
        (tiny_checkpoint((45,)) | {"layers.45.enorm.weight": np.ones(WIDTH)}, ["layers.45"]),
    ],
)
def test_prediction_blocks_are_left_out_and_named(
    names: dict[str, Any], skipped: list[str], tmp_path: Path
) -> None:
    stack = scan_checkpoint(save(tiny_checkpoint() | names, tmp_path / "x.pt"))
    assert len(stack.sites) == 10
    assert [s.what for s in stack.provenance.skipped] == skipped
    assert all("multi-token-prediction" in s.reason for s in stack.provenance.skipped)


ONE = {"model.layers.0.ffn.shared_expert.w1.weight": (8, 8)}
SEVERAL = {"model.layers.0.ffn.shared_experts.w1.weight": (8, 8)}
BARE = {"model.hc_head_fn": (4, 128)}
SAVED_BY_580 = {"model_type": "deepseek_v4", "transformers_version": "5.8.0"}


@pytest.mark.parametrize(
    ("beside", "config", "expected"),
    [
        ({"hc_head_fn": (4, 128)}, None, ["deepseek"]),
        ({"model.hc_head.hc_fn": (4, 128)}, None, ["deepseek"]),
        ({"model.hc_head.hc_fn": (4, 128)}, {"transformers_version": "5.8.1"}, ["deepseek"]),
        ({}, None, ["headless"]),
        ({"mtp.0.hc_head_fn": (4, 128)}, None, ["headless"]),
        ({}, {"text_config": {"model_type": "glm5_next_text"}}, ["deepseek"]),
        ({"model.language_model.layers.0.hc_attn_fn": (24, 128)}, None, ["deepseek"]),
        (BARE | ONE, None, ["nanowhale"]),
        (BARE | SEVERAL, None, ["deepseek"]),
        (BARE, None, ["nanowhale", "deepseek"]),
        (BARE | ONE | SEVERAL, None, ["nanowhale", "deepseek"]),
        (ONE, None, ["nanowhale", "headless"]),
        ({"hc_head.hc_fn": (4, 128)}, SAVED_BY_580, ["transformers-5.8.0", "deepseek"]),
        ({"hc_head_fn": (4, 128)}, SAVED_BY_580, ["deepseek"]),
    ],
)
def test_the_code_is_told_by_evidence(
    beside: dict[str, tuple[int, ...]], config: dict[str, Any] | None, expected: list[str]
) -> None:
    assert list(deepseek.variants(beside, config)) == expected


def test_contradictory_evidence_shows_both_orientations(tmp_path: Path) -> None:
    tensors = tiny_checkpoint(prefix="model.layers.")
    tensors["model.hc_head_fn"] = tensors.pop("hc_head_fn")
    direct, transposed = scan_variants(save(tensors, tmp_path / "x.pt"), Options())
    assert [s.provenance.settings["variant"] for s in (direct, transposed)] == ["nanowhale", "deepseek"]
    assert [s.provenance.orientation for s in (direct, transposed)] == ["direct", "transposed"]
    np.testing.assert_array_equal(direct.matrices, np.swapaxes(transposed.matrices, -1, -2))
    np.testing.assert_allclose(direct.matrices.sum(axis=-2), 1, atol=1e-5)


def test_without_a_head_the_matrices_stay_and_how_branches_read_is_left_out(tmp_path: Path) -> None:
    tensors = tiny_checkpoint()
    whole = scan_checkpoint(save(tensors, tmp_path / "x.pt"))
    del tensors["hc_head_fn"]
    headless = scan_checkpoint(save(tensors, tmp_path / "x.pt"))
    np.testing.assert_array_equal(whole.matrices, headless.matrices)
    assert whole.pre is not None and headless.pre is None and headless.post is not None
    assert "how they read is left out" in headless.provenance.how


def test_transformers_5_8_0_is_written_out(tmp_path: Path, slow: Any) -> None:
    tensors = tiny_checkpoint()
    path = save(tensors, tmp_path / "x.pt")
    (stack,) = scan_variants(path, Options(variant="transformers-5.8.0"))
    assert stack.provenance.orientation == "direct"
    pre, post, z = slow.split(tensors["layers.0.hc_attn_base"], np.ones(3), None, None)
    comb = slow.sigmoid(z) + 1e-6
    for _ in range(20):
        comb = comb / (comb.sum(1)[:, None] + 1e-6)
        comb = comb / (comb.sum(0) + 1e-6)
    assert stack.pre is not None and stack.post is not None
    np.testing.assert_allclose(stack.matrices[0, 0], comb, atol=1e-12)
    np.testing.assert_allclose(stack.pre[0, 0], slow.sigmoid(pre) + 1e-6, atol=1e-12)
    np.testing.assert_allclose(stack.post[0, 0], slow.sigmoid(post) + 1e-6, atol=1e-12)


@pytest.mark.parametrize("variant", list(deepseek.VARIANTS))
@pytest.mark.parametrize("size", [0.02, 0.2, 2.0])
def test_no_streams_exceed_the_caps(variant: str, size: float) -> None:
    rng = np.random.default_rng(5)
    settings = deepseek.settings({"hc_sinkhorn_iters": 2, "hc_eps": 1e-3}, variant)
    tensors = {
        "fn": size * rng.standard_normal((ROWS, N * WIDTH)),
        "base": rng.standard_normal(ROWS),
        "scale": np.ones(3),
    }
    site = FoundSite("layers.0", "attn", N, "layers.", {}, {"fn": "fn"})
    read = Read(tensors["fn"], N, 1)
    caps = deepseek.caps([site], [tensors], read.reach()[None], variant, settings)
    along = tensors["fn"][2 * N :] - np.roll(
        tensors["fn"][2 * N :], 1, axis=0
    )  # the worst streams pull apart
    streams = np.concatenate([rng.standard_normal((4000, N * WIDTH)), tensors["fn"], along, -along])
    streams /= np.sqrt((streams**2).mean(axis=-1, keepdims=True))
    values = (streams @ tensors["fn"].T)[None, :, None]
    assert (np.abs(values) <= read.reach() * (1 + 1e-12)).all()
    made = deepseek.build([site], [tensors], values, variant, settings).matrices[0]
    rows, columns = made.sum(axis=-1).max(), made.sum(axis=-2).max()
    assert rows <= caps.rows[0] * (1 + 1e-12) and columns <= caps.columns[0] * (1 + 1e-12)
    still = deepseek.caps([site], [tensors], None, variant, settings)
    assert (still.rows <= caps.rows).all() and (still.columns <= caps.columns).all()


SHAPES = {"base": (24,), "scale": (3,), "fn": (24, 128)}


@pytest.mark.parametrize(
    "change",
    [
        {"scale": (2,)},
        {"base": (23,)},
        {"base": (24, 1)},
        {"base": (10**12 + 2 * 10**6,), "fn": (10**12 + 2 * 10**6, 10**6)},
        {"fn": (8, 128)},
        {"fn": (24, 127)},
        {"fn": (24, 10**9)},
        {"base": ()},
    ],
)
def test_other_shapes_under_the_same_names_are_not_claimed(change: dict[str, tuple[int, ...]]) -> None:
    shapes = {f"model.layers.0.attn_hc.{part}": shape for part, shape in (SHAPES | change).items()}
    found = deepseek.find(shapes)
    assert not found.sites
    assert [s.what for s in found.skipped] == ["model.layers.0.attn"]
    assert str(tuple((SHAPES | change)["base"])) in found.skipped[0].reason


def test_what_is_another_layouts_is_not_even_mentioned() -> None:
    without_mixing = {"base": (8,), "scale": (2,), "fn": (8, 128)}
    found = deepseek.find({f"model.layers.0.attn_hc.{part}": shape for part, shape in without_mixing.items()})
    assert not found.sites and not found.skipped


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_the_number_of_streams_follows_from_the_shapes(n: int) -> None:
    rows = n * n + 2 * n
    (site,) = deepseek.find({"0.hc_ffn_base": (rows,), "0.hc_ffn_scale": (3,)}).sites
    assert (site.path, site.kind, site.streams) == ("0", "ffn", n)


@pytest.mark.parametrize("name", ["deepseek_v4", "glm5_next"])
def test_where_a_site_starts(name: str, tiny_models: Any) -> None:
    (site,) = deepseek.find({"0.hc_ffn_base": (24,), "0.hc_ffn_scale": (3,)}).sites
    torch.manual_seed(0)
    for module in sites_of(tiny_models.MAKE[name]()).values():
        for role, array in deepseek.initial(site).items():
            np.testing.assert_array_equal(getattr(module, role).detach().numpy(), array)


def test_nanowhale_applies_its_matrix_as_it_is(slow: Any) -> None:
    """Its block written out: new[i] = post[i] out + sum_j comb[i, j] x[j]."""
    rng = np.random.default_rng(6)
    tensors = {
        "fn": rng.standard_normal((ROWS, N * WIDTH)),
        "base": rng.standard_normal(ROWS),
        "scale": rng.standard_normal(3),
    }
    site = FoundSite("model.layers.0", "attn", N, "model.layers.", {}, {"fn": "fn"})
    settings = deepseek.settings(None, "nanowhale")
    streams, out = rng.standard_normal((2, N, WIDTH)), rng.standard_normal(WIDTH)
    values = slow.seen(deepseek, site, tensors, streams)
    made = deepseek.build([site], [tensors], values, "nanowhale", settings)
    assert made.pre is not None and made.post is not None
    for token, x in enumerate(streams):
        pre, post, z = slow.split(tensors["base"], tensors["scale"], tensors["fn"], x)
        comb = slow.deepseek(z, 20, 1e-6)
        after = [2 * slow.sigmoid(post[i]) * out + sum(comb[i, j] * x[j] for j in range(N)) for i in range(N)]
        ours = made.matrices[0, token] @ x + made.post[0, token][:, None] * out
        np.testing.assert_allclose(ours, after, atol=1e-12)
        np.testing.assert_allclose(made.pre[0, token], slow.sigmoid(pre) + 1e-6, atol=1e-12)


@pytest.mark.parametrize(
    "name",
    [
        "layers.{}.hc_{}_{}",  # DeepSeek's own, lmdeploy, exllamav3
        "model.layers.{}.hc_{}_{}",  # vLLM, SGLang, xorl
        "model.layers.{}.{}_hc.{}",  # NeMo Automodel
        "model.language_model.layers.{}.hc_{}_{}",  # GLM-5
        "language_model.layers.{}.{}_hc.{}",
    ],
)
def test_names_in_use(name: str) -> None:
    parts = {"fn": (ROWS, N * WIDTH), "base": (ROWS,), "scale": (3,)}
    shapes = {
        name.format(layer, kind, part): shape
        for layer in (10, 9)
        for kind in ("ffn", "attn")
        for part, shape in parts.items()
    }
    found = deepseek.find(shapes)
    run = name[: name.index("{}")]
    assert [(s.path, s.kind) for s in found.sites] == [
        (f"{run}{i}", k) for i in (9, 10) for k in ("attn", "ffn")
    ]
    assert {s.run for s in found.sites} == {run} and not found.skipped
