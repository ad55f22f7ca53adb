"""What every layout must do; a new file in `families` is found by itself.

Each has a test file of its own, with `tiny_checkpoint()`: tensors by name as numpy arrays, in any order.
"""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from mhc_diag import plugins
from mhc_diag.records import MixingStack
from mhc_diag.sources.checkpoint import scan_variants
from mhc_diag.sources.checkpoint.options import Options
from mhc_diag.sources.checkpoint.recognised import FAMILIES

NAMES = plugins.names(FAMILIES)
GPT2 = {"wte.weight": (64, 16), "wpe.weight": (32, 16), "ln_f.weight": (16,)} | {
    f"h.{i}.{name}": shape
    for i in range(3)
    for name, shape in {
        "ln_1.weight": (16,),
        "attn.c_attn.weight": (16, 48),
        "attn.c_proj.weight": (16, 16),
        "attn.c_proj.bias": (16,),
        "mlp.c_fc.weight": (16, 64),
    }.items()
}

pytestmark = pytest.mark.parametrize("name", NAMES)


def tiny(name: str) -> dict[str, Any]:
    path = Path(__file__).parent / "sources" / "families" / f"test_{name}.py"
    spec = importlib.util.spec_from_file_location(f"tiny_{name}", path)
    assert spec and spec.loader, f"{path} is missing"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    make: Callable[[], dict[str, Any]] = module.tiny_checkpoint
    return make()


def saved(tensors: dict[str, Any], path: Path) -> Path:
    torch.save({k: torch.as_tensor(v) for k, v in tensors.items()}, path)
    return path


def scan(path: Path) -> MixingStack:
    """As the likeliest of the codes that may have written it reads it."""
    return scan_variants(path, Options())[0]


def test_says_what_it_is(name: str) -> None:
    family = plugins.load(FAMILIES, name)
    assert family.__doc__ and family.TITLE and family.VARIANTS
    for variant in family.VARIANTS.values():
        assert variant.how and variant.orientation in {"direct", "transposed"}
    assert isinstance(family.GENERIC, bool)


def test_claims_no_ordinary_model(name: str) -> None:
    family = plugins.load(FAMILIES, name)
    assert not family.find({}).sites
    assert not family.find(GPT2).sites


def test_claims_nothing_of_another_layout(name: str) -> None:
    family = plugins.load(FAMILIES, name)
    for other in NAMES:
        if other != name and not family.GENERIC:
            assert not family.find({key: array.shape for key, array in tiny(other).items()}).sites, other


def test_names_only_small_tensors_of_the_file(name: str) -> None:
    shapes = {key: array.shape for key, array in tiny(name).items()}
    sites = plugins.load(FAMILIES, name).find(shapes).sites
    for site in sites:
        for tensor in site.tensors.values():
            assert np.prod(shapes[tensor]) <= 10_000 * 16 * 16
    grown = {key: tuple(10**7 * d for d in shape) for key, shape in shapes.items()}
    assert sites and not plugins.load(FAMILIES, name).find(grown).sites


def test_a_layer_number_of_thousands_of_digits_is_no_layer(name: str) -> None:
    digits = re.compile(r"(?<![0-9])\d+(?![0-9])")
    shapes = {key: array.shape for key, array in tiny(name).items()}
    absurd = {digits.sub(lambda layer: layer[0] + "9" * 5000, key): shape for key, shape in shapes.items()}
    assert not plugins.load(FAMILIES, name).find(absurd).sites


def test_scans_to_a_static_stack(name: str, tmp_path: Path) -> None:
    stack = scan(saved(tiny(name), tmp_path / "x.pt"))
    sites, tokens, rows, columns = stack.matrices.shape
    assert (tokens, rows, sites) == (1, columns, len(stack.sites))
    assert stack.matrices.dtype == np.float64 and np.isfinite(stack.matrices).all()
    assert stack.provenance.settings["layout"] == name and stack.provenance.method == "static"
    assert [site.depth for site in stack.sites] == list(range(sites))
    assert len({site.label for site in stack.sites}) == sites
    if (stack.matrices != np.eye(rows)).any():
        assert np.ptp(stack.matrices, axis=0).max() > 0, "a sample whose sites are all equal shows no order"


def test_reads_the_same_whatever_the_file_and_its_order(name: str, tmp_path: Path) -> None:
    tensors = tiny(name)
    expected = scan(saved(tensors, tmp_path / "x.pt"))
    shuffled = dict(sorted(tensors.items(), key=lambda item: item[0][::-1]))
    wrapped = {f"module._orig_mod.{key}": array for key, array in tensors.items()}
    safetensors.numpy.save_file(tensors, tmp_path / "x.safetensors")
    for path in (
        saved(shuffled, tmp_path / "shuffled.pt"),
        saved(wrapped, tmp_path / "wrapped.pt"),
        tmp_path / "x.safetensors",
    ):
        stack = scan(path)
        assert stack.sites == expected.sites
        np.testing.assert_array_equal(stack.matrices, expected.matrices)


def test_exotic_tensors_that_it_does_not_need_do_not_matter(name: str, tmp_path: Path) -> None:
    tensors = {key: torch.as_tensor(array) for key, array in tiny(name).items()}
    expected = scan(saved(tensors, tmp_path / "x.pt"))
    tensors["lm_head.weight"] = torch.ones(8, 2).to(torch.float8_e4m3fn)
    tensors["lm_head.packed"] = torch.ones(8, 2, dtype=torch.uint8)
    safetensors.torch.save_file(tensors, tmp_path / "x.safetensors")
    stack = scan(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(stack.matrices, expected.matrices)


def test_keeps_what_it_promises(name: str, tmp_path: Path) -> None:
    tensors = tiny(name)
    rng = np.random.default_rng(0)
    wild = {k: (rng.normal(0, 3, np.shape(v)) if np.ndim(v) < 3 else v) for k, v in tensors.items()}
    for stack in scan_variants(saved(wild, tmp_path / "wild.pt"), Options()):
        promise = stack.provenance.promise
        if promise is None or not np.isfinite(stack.matrices).all():
            continue
        assert promise.origin == f"layout {name}"
        assert (
            promise.applied in {stack.provenance.orientation, ""} or promise.manifold == "doubly stochastic"
        )
        off = {
            side: np.abs(stack.matrices.sum(axis) - 1).max() for side, axis in (("rows", -1), ("columns", -2))
        }
        applied = str(stack.provenance.settings.get("variant", "")) not in {"unapplied", "summed"}
        if promise.exact and applied:
            exact = ("rows", "columns") if promise.exact == "both" else (promise.exact,)
            assert max(off[side] for side in exact) < 1e-5
            assert len(exact) == 2 or promise.eps or min(off.values()) == off[exact[0]]
