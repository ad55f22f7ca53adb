"""Square parameters by recurrence: which count, in which order, and that they are taken as they are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from mhc_diag.sources.checkpoint import scan_checkpoint, scan_variants
from mhc_diag.sources.checkpoint.options import Options
from mhc_diag.sources.families import square


def tiny_checkpoint() -> dict[str, Any]:
    """Two kinds of sites in five layers, beside tensors that are none."""
    rng = np.random.default_rng(3)
    tensors: dict[str, Any] = {"embed.weight": np.ones((7, 4), dtype=np.float32)}
    for layer in (10, 2, 11, 0, 1):
        tensors[f"layers.{layer}.mlp.mix"] = rng.standard_normal((4, 4)).astype(np.float32)
        tensors[f"layers.{layer}.attn.mix"] = rng.standard_normal((4, 4)).astype(np.float32)
        tensors[f"layers.{layer}.mlp.up"] = np.ones((16, 64), dtype=np.float32)
    return tensors


def reasons(shapes: dict[str, tuple[int, ...]]) -> dict[str, str]:
    return {s.what: s.reason for s in square.find(shapes).skipped}


def test_matrices_are_taken_as_they_are_in_order_of_execution(tmp_path: Path) -> None:
    tensors = tiny_checkpoint()
    safetensors.numpy.save_file(tensors, tmp_path / "x.safetensors")
    stack = scan_checkpoint(tmp_path / "x.safetensors")
    names = [f"layers.{i}.{kind}.mix" for i in (0, 1, 2, 10, 11) for kind in ("attn", "mlp")]
    assert [s.label for s in stack.sites] == names
    for matrix, name in zip(stack.matrices[:, 0], names, strict=True):
        np.testing.assert_array_equal(matrix, tensors[name])
    assert stack.provenance.orientation == "direct"
    assert any("a stored transpose or logits would read differently" in n for n in stack.provenance.notes)


def test_stacks_of_layers_are_taken_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    stacks = {"hc.mlp_mix": rng.standard_normal((3, 2, 2)), "hc.attn_mix": rng.standard_normal((3, 2, 2))}
    safetensors.numpy.save_file(stacks, tmp_path / "x.safetensors")
    stack = scan_checkpoint(tmp_path / "x.safetensors")
    expected = [(f"hc.{kind}_mix", i) for i in range(3) for kind in ("attn", "mlp")]
    assert [s.label for s in stack.sites] == [f"{name}[{i}]" for name, i in expected]
    for matrix, (name, i) in zip(stack.matrices[:, 0], expected, strict=True):
        np.testing.assert_array_equal(matrix, stacks[name][i])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("a.0.z a.0.b a.1.z a.1.b", "a.0|z a.0|b a.1|z a.1|b"),  # nothing tells: the file's order
        (
            "a.0.ffn a.0.self_attention a.1.ffn a.1.self_attention",
            "a.0|self_attention a.0|ffn a.1|self_attention a.1|ffn",
        ),
        ("mlp_mix.0 mlp_mix.1 attn_mix.0 attn_mix.1", "attn_mix.0| mlp_mix.0| attn_mix.1| mlp_mix.1|"),
        ("0.mlp 0.odd 0.attn 1.mlp 1.odd 1.attn", "0|mlp 0|odd 0|attn 1|mlp 1|odd 1|attn"),
        ("block_10.H block_9.H", "block_9|H block_10|H"),
        ("1.mix 0.mix", "0|mix 1|mix"),
        ("layers.0.w1 layers.1.w1", "layers.0|w1 layers.1|w1"),
    ],
)
def test_order_and_names(names: str, expected: str) -> None:
    labels = [f"{s.path}|{s.kind}" for s in square.find(dict.fromkeys(names.split(), (4, 4))).sites]
    assert labels == expected.split()


def test_what_does_not_count_says_why() -> None:
    assert reasons({"mix": (4, 4)}) == {"mix": "no layer index in its name"}
    assert "one layer only" in reasons({"layers.0.mix": (4, 4)})["layers.#.mix"]
    twice = {"layers.0.head.0.mix": (4, 4), "layers.1.head.0.mix": (4, 4)}
    assert "several numbers" in reasons(twice)["layers.#.head.#.mix"]
    assert "a stack of 1" in reasons({"mix": (1, 4, 4)})["mix"]
    assert "a stack of 1000000000000" in reasons({"mix": (10**12, 4, 4)})["mix"]
    assert "inside a numbered layer" in reasons({"layers.0.conv": (64, 3, 3)})["layers.#.conv"]
    linear = {
        f"layers.{i}.q.{part}": shape for i in (0, 1) for part, shape in (("weight", (8, 8)), ("bias", (8,)))
    }
    assert "has a bias" in reasons(linear)["layers.#.q.weight"]


@pytest.mark.parametrize("shape", [(1, 1), (17, 17), (10**6, 10**6), (4, 5), (4,), (2, 2, 4, 4), ()])
def test_shapes_that_are_no_mixing_are_not_even_candidates(shape: tuple[int, ...]) -> None:
    found = square.find({f"layers.{i}.mix": shape for i in range(3)})
    assert not found.sites and not found.skipped


def test_the_most_frequent_size_of_one_run_is_kept(tmp_path: Path) -> None:
    tensors = {f"layers.{i}.mix": np.eye(4) for i in range(4)}
    tensors |= {f"layers.{i}.gate": np.eye(8) for i in range(3)}
    tensors |= {f"ema.layers.{i}.mix": np.eye(4) for i in range(2)}
    safetensors.numpy.save_file(tensors, tmp_path / "x.safetensors")
    stack = scan_checkpoint(tmp_path / "x.safetensors")
    assert [s.label for s in stack.sites] == [f"layers.{i}.mix" for i in range(4)]
    assert {s.what for s in stack.provenance.skipped} == {
        "3 sites of 8 streams under layers.",
        "2 sites of 4 streams under ema.layers.",
    }


def test_transposes_must_be_asked_for(tmp_path: Path) -> None:
    safetensors.numpy.save_file(tiny_checkpoint(), tmp_path / "x.safetensors")
    (plain,) = scan_variants(tmp_path / "x.safetensors", Options())
    (turned,) = scan_variants(tmp_path / "x.safetensors", Options(variant="transposed"))
    np.testing.assert_array_equal(turned.matrices, np.swapaxes(plain.matrices, -1, -2))
    assert turned.provenance.orientation == "transposed"
    assert turned.provenance.notes[0].startswith("read as the transpose of what is applied")
