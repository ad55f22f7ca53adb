"""Parameters that the user names: which are taken, in which order, and what is made of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.checkpoint import scan_checkpoint
from mhc_diag.sources.checkpoint.options import Options

Floats = np.ndarray[Any, Any]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Squares of two kinds in numbered layers, beside a layout that would be found by itself."""
    rng = np.random.default_rng(1)
    tensors = {
        f"layers.{i}.{kind}.mix": rng.standard_normal((20, 20))
        for i in (10, 2, 0)
        for kind in ("ffn", "attn")
    }
    tensors |= {f"layers.{i}.proj": rng.standard_normal((8, 4)) for i in range(3)}
    tensors |= {"hc.mlp_mix": rng.standard_normal((3, 2, 2)), "hc.attn_mix": rng.standard_normal((3, 2, 2))}
    tensors |= {"layers.0.hc_attn_base": np.ones(24), "layers.0.hc_attn_scale": np.ones(3)}
    safetensors.numpy.save_file(tensors, tmp_path / "x.safetensors")
    return tmp_path / "x.safetensors"


def scan(file: Path, **options: Any) -> Any:
    return scan_checkpoint(file, Options(**options))


def stored(file: Path) -> dict[str, Floats]:
    return safetensors.numpy.load_file(file)


def test_what_matches_is_taken_whatever_its_size_and_beside_known_layouts(file: Path) -> None:
    stack = scan(file, select=r"\.mix$")
    expected = [f"layers.{i}.{kind}.mix" for i in (0, 2, 10) for kind in ("attn", "ffn")]
    assert [s.label for s in stack.sites] == expected
    for matrix, name in zip(stack.matrices[:, 0], expected, strict=True):
        np.testing.assert_array_equal(matrix, stored(file)[name])
    assert stack.provenance.settings == {"layout": "selected", "variant": "direct", "select": r"\.mix$"}
    assert "as was asked for" in stack.provenance.notes[0] and stack.logits is None


def test_transposed(file: Path) -> None:
    plain, turned = scan(file, select=r"\.mix$"), scan(file, select=r"\.mix$", variant="transposed")
    np.testing.assert_array_equal(turned.matrices, np.swapaxes(plain.matrices, -1, -2))
    assert turned.provenance.orientation == "transposed"


def slowly_sinkhorn(z: Floats, iterations: int) -> Floats:
    m = np.exp(z)
    for _ in range(iterations):
        m = m / m.sum(axis=0)
        m = m / m.sum(axis=1)[:, None]
    return m


def slowly_cayley(z: Floats) -> Floats:
    s, eye = (z - z.T) / 2, np.eye(len(z))
    return (eye - s) @ np.linalg.inv(eye + s)


@pytest.mark.parametrize(
    ("logits", "slowly"),
    [
        ("sinkhorn:3", lambda z: slowly_sinkhorn(z, 3)),
        ("sinkhorn", lambda z: slowly_sinkhorn(z, 20)),
        ("cayley", slowly_cayley),
    ],
)
def test_logits_are_projected(logits: str, slowly: Any, file: Path) -> None:
    stack = scan(file, select=r"\.mix$", logits=logits)
    for matrix, site, z in zip(stack.matrices, stack.sites, stack.logits, strict=True):
        np.testing.assert_array_equal(z[0], stored(file)[site.label])
        np.testing.assert_allclose(matrix[0], slowly(z[0]), atol=1e-9)
    turned = scan(file, select=r"\.mix$", logits=logits, variant="transposed")
    np.testing.assert_array_equal(turned.matrices, np.swapaxes(stack.matrices, -1, -2))
    assert stack.provenance.settings["logits"] == logits and logits in stack.provenance.how


def test_stacks_of_layers_alternate(file: Path) -> None:
    stack = scan(file, select=r"^hc\..*_mix$")
    assert [s.label for s in stack.sites] == [
        f"hc.{kind}_mix[{i}]" for i in range(3) for kind in ("attn", "mlp")
    ]
    np.testing.assert_array_equal(stack.matrices[3, 0], stored(file)["hc.mlp_mix"][1])


def test_nothing_matches(file: Path) -> None:
    with pytest.raises(MhcDiagError, match="matches no parameter") as error:
        scan(file, select="mixing")
    assert "hc.mlp_mix (3, 2, 2)" in error.value.hint and "layers.#.attn.mix (20, 20)" in error.value.hint


@pytest.mark.parametrize(
    ("pattern", "named"), [("proj", r"layers.#.proj \(8, 4\)"), ("base", r"\(24,\)"), ("", "proj")]
)
def test_what_matches_is_no_square_matrix(pattern: str, named: str, file: Path) -> None:
    with pytest.raises(MhcDiagError, match=named) as error:
        scan(file, select=pattern or ".")
    assert "expected square matrices" in error.value.message


def test_a_square_that_is_too_large(tmp_path: Path) -> None:
    safetensors.numpy.save_file({f"layers.{i}.w": np.eye(65) for i in range(2)}, tmp_path / "x.safetensors")
    with pytest.raises(MhcDiagError, match="at most 64 streams"):
        scan(tmp_path / "x.safetensors", select="w")


def test_an_unknown_projection_names_its_flag(file: Path) -> None:
    with pytest.raises(MhcDiagError, match="--logits names no manifold: 'sinkhron'"):
        scan(file, select=r"\.mix$", logits="sinkhron")
    with pytest.raises(MhcDiagError, match="--logits is 'cayley:3'"):
        scan(file, select=r"\.mix$", logits="cayley:3")


def test_order_that_no_name_tells_is_not_guessed(tmp_path: Path) -> None:
    names = ("layers.0.left", "layers.0.right", "layers.1.left")
    safetensors.numpy.save_file({n: np.eye(3) for n in names}, tmp_path / "x.safetensors")
    stack = scan(tmp_path / "x.safetensors", select="left|right")
    assert [s.label for s in stack.sites] == ["layers.1.left"]
    assert len(stack.provenance.skipped) == 2
