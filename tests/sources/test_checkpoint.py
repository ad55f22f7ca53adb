"""From a file to a stack: choice of layout, labels, and plain words where there is nothing to read."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from mhc_diag.errors import MhcDiagError, NothingToCheck
from mhc_diag.sources.checkpoint import scan_checkpoint


def deepseek(layer: int, n: int = 4, prefix: str = "layers.") -> dict[str, Any]:
    rng = np.random.default_rng(layer)
    start = f"{prefix}{layer}.hc_attn_"
    return {
        start + "base": rng.standard_normal(n * n + 2 * n),
        start + "scale": np.ones(3),
        start + "fn": np.ones((n * n + 2 * n, n * 8)),
    }


def squares(count: int) -> dict[str, Any]:
    return {f"layers.{i}.mix": np.full((4, 4), float(i)) for i in range(count)}


def saved(tensors: dict[str, Any], path: Path) -> Path:
    safetensors.numpy.save_file(tensors, path)
    return path


def test_labels_of_a_stack(tmp_path: Path) -> None:
    path = saved(squares(3), tmp_path / "hc.safetensors")
    stack = scan_checkpoint(path)
    assert (stack.name, stack.streams, stack.matrices.shape) == ("hc.safetensors", 4, (3, 1, 4, 4))
    assert stack.matrices.dtype == np.float64
    assert stack.logits is None and stack.pre is None and stack.post is None
    provenance = stack.provenance
    assert (provenance.target, provenance.method, provenance.token_axis) == (str(path), "static", "none")
    assert provenance.settings == {"layout": "square", "variant": "direct"}


def test_square_is_asked_only_when_no_named_layout_is_there(tmp_path: Path) -> None:
    stack = scan_checkpoint(saved(deepseek(0) | squares(3), tmp_path / "x.safetensors"))
    assert [s.label for s in stack.sites] == ["layers.0.attn"]


def test_sites_that_do_not_follow_each_other_are_not_multiplied(tmp_path: Path) -> None:
    tensors = deepseek(0) | deepseek(1) | deepseek(0, prefix="draft.layers.") | deepseek(7, n=2)
    stack = scan_checkpoint(saved(tensors, tmp_path / "x.safetensors"))
    assert [s.label for s in stack.sites] == ["layers.0.attn", "layers.1.attn"]
    assert {s.what for s in stack.provenance.skipped} == {
        "1 sites of 4 streams under draft.layers.",
        "1 sites of 2 streams under layers.",
    }


def test_nothing_found_lists_what_was_seen(tmp_path: Path) -> None:
    tensors = {f"h.{i}.attn.weight": np.ones((6, 18)) for i in range(40)} | {"wte": np.ones((50, 6))}
    path = saved(tensors | {"h.3.odd": np.eye(4)}, tmp_path / "gpt.safetensors")
    with pytest.raises(NothingToCheck) as nothing:
        scan_checkpoint(path)
    error = nothing.value
    assert str(path) in error.message and "--model package.module:factory" in error.hint
    assert error.looked_at[0].startswith("layouts not found: deepseek, ")
    assert error.looked_at[0].endswith(", square")
    assert "h.#.odd: it is there for one layer only" in error.looked_at
    assert "h.#.attn.weight (6, 18), 40 of them" in error.looked_at
    assert error.exit_code == 3


def test_the_list_is_bounded_and_safe_to_print(tmp_path: Path) -> None:
    tensors = {f"\x1b[31m{chr(97 + i % 26)}{chr(97 + i // 26)}": np.ones(3) for i in range(200)}
    with pytest.raises(NothingToCheck) as nothing:
        scan_checkpoint(saved(tensors, tmp_path / "x.safetensors"))
    assert len(nothing.value.looked_at) == 20
    assert nothing.value.looked_at[-1] == "and 182 more"
    assert not any("\x1b" in line for line in nothing.value.looked_at)


def test_an_empty_file_of_tensors_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(NothingToCheck):
        scan_checkpoint(saved({}, tmp_path / "x.safetensors"))


def test_site_names_are_safe_to_print(tmp_path: Path) -> None:
    tensors = {f"\x1b[2J.{i}.mi\nx": np.eye(2) for i in range(2)}
    stack = scan_checkpoint(saved(tensors, tmp_path / "x.safetensors"))
    assert [s.label for s in stack.sites] == [rf"\x1b[2J.{i}.mi\nx" for i in range(2)]


def test_a_mixing_tensor_of_an_exotic_dtype_is_an_error(tmp_path: Path) -> None:
    packed = torch.zeros(4, 2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    safetensors.torch.save_file(
        {f"layers.{i}.mix": packed.clone() for i in range(2)}, tmp_path / "x.safetensors"
    )
    with pytest.raises(MhcDiagError, match=r"layers.0.mix is float4") as error:
        scan_checkpoint(tmp_path / "x.safetensors")
    assert not isinstance(error.value, NothingToCheck)


def test_whole_numbers_are_no_parameters(tmp_path: Path) -> None:
    masks = {f"layers.{i}.mask": torch.ones(4, 4, dtype=torch.int64) for i in range(2)}
    torch.save(masks, tmp_path / "x.pt")
    with pytest.raises(NothingToCheck):
        scan_checkpoint(tmp_path / "x.pt")


def test_damaged_numbers_stay_visible(tmp_path: Path) -> None:
    tensors = deepseek(0) | deepseek(1) | deepseek(2)
    tensors["layers.1.hc_attn_base"][9] = np.nan
    tensors["layers.2.hc_attn_base"][9] = np.inf
    stack = scan_checkpoint(saved(tensors, tmp_path / "x.safetensors"))
    assert np.isfinite(stack.matrices[0]).all()
    assert np.isnan(stack.matrices[1]).any() and np.isnan(stack.matrices[2]).any()


def test_one_shard_is_never_the_whole(tmp_path: Path) -> None:
    whole = scan_checkpoint(saved(deepseek(0), tmp_path / "model.safetensors"))
    shard = scan_checkpoint(saved(deepseek(0), tmp_path / "model-00001-of-00002.safetensors"))
    assert set(shard.provenance.notes) - set(whole.provenance.notes) == {
        "one shard of several: the layers in the other files are not in the composites"
    }


def test_a_pickled_module_is_read_without_its_classes(tmp_path: Path) -> None:
    net = torch.nn.Module()
    for i in range(2):
        block = torch.nn.Module()
        block.mix = torch.nn.Parameter(torch.full((3, 3), float(i)))
        net.add_module(str(i), block)
    torch.save(net, tmp_path / "net.pt")
    for stack in (
        scan_checkpoint(tmp_path / "net.pt"),
        scan_checkpoint(tmp_path / "net.pt", unsafe_pickle=True),
    ):
        np.testing.assert_array_equal(stack.matrices[1, 0], np.ones((3, 3)))
    notes = " ".join(scan_checkpoint(tmp_path / "net.pt").provenance.notes)
    assert "without running its code" in notes and "torch.nn.modules.module.Module" in notes


@pytest.mark.parametrize("tensors", [squares(2), deepseek(0)])
def test_reading_safetensors_needs_no_torch(tensors: dict[str, Any], tmp_path: Path) -> None:
    path = saved(tensors, tmp_path / "x.safetensors")
    code = (
        "import sys, pathlib; from mhc_diag.sources.checkpoint import scan_checkpoint;"
        f"scan_checkpoint(pathlib.Path({str(path)!r}));"
        "print([m for m in ('torch', 'pandas', 'matplotlib', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
