"""float8 with its scale: the number that the quantiser meant, or a refusal with a reason."""

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.files.tensors import open_tensors

FP8 = torch.float8_e4m3fn
DRAW = torch.Generator().manual_seed(3)


def written(tensors: dict[str, torch.Tensor], path: Path) -> Path:
    safetensors.torch.save_file({k: t.contiguous() for k, t in tensors.items()}, path / "x.safetensors")
    return path / "x.safetensors"


def weight(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=DRAW).to(FP8)


def slow(x: torch.Tensor, scale: torch.Tensor, rows: int, columns: int) -> np.ndarray:
    """One number after the other, each block of rows x columns with its own scale."""
    out = np.empty(x.shape, np.float32)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = np.float32(float(x[i, j])) * np.float32(float(scale[i // rows, j // columns]))
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e8m0fnu], ids=str)
@pytest.mark.parametrize("shape", [(24, 300), (130, 128), (4, 4), (257, 129)], ids=str)
def test_blocks_of_128(shape: tuple[int, int], dtype: torch.dtype, tmp_path: Path) -> None:
    x = weight(*shape)
    blocks = [-(-length // 128) for length in shape]
    scale = torch.exp2(torch.randint(-9, 3, blocks, generator=DRAW).float()).to(dtype)
    file = open_tensors(written({"a.weight": x, "a.weight_scale_inv": scale}, tmp_path))
    assert file.names == ("a.weight",) and file.dtype("a.weight") == "float8_e4m3fn"
    np.testing.assert_array_equal(dict(file.read(["a.weight"]))["a.weight"], slow(x, scale, 128, 128))
    assert file.notes == ()


@pytest.mark.parametrize("name", ["mix_scale_inv", "mix_scale", "mix.scale"])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1), (5,), (5, 1)], ids=str)
def test_one_number_or_one_a_row_under_any_name(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    x, scale = weight(5, 7), torch.rand(shape, generator=DRAW) + 0.5
    file = open_tensors(written({"mix": x, name: scale}, tmp_path))
    expected = x.float().numpy() * scale.float().expand(5, 1).numpy() if scale.numel() == 1 else None
    if expected is None:
        expected = x.float().numpy() * scale.reshape(5, 1).numpy()
    np.testing.assert_array_equal(dict(file.read(["mix"]))["mix"], expected)
    assert file.names == ("mix",)


def test_a_scale_in_place_of_the_weight(tmp_path: Path) -> None:
    file = open_tensors(written({"a.weight": weight(2, 2), "a.scale": torch.tensor([2.0])}, tmp_path))
    assert file.names == ("a.weight",)


def test_what_is_wide_needs_no_scale_and_keeps_its_neighbours(tmp_path: Path) -> None:
    """DeepSeek's `hc_attn_fn` and `hc_attn_scale`, lucidrains' `residual` and `residual_scale`."""
    tensors = {"hc_attn": torch.ones(2, 2), "hc_attn_scale": torch.full((3,), 5.0), "b.scale": torch.ones(1)}
    file = open_tensors(written(tensors, tmp_path))
    assert set(file.names) == set(tensors)
    assert dict(file.read(["hc_attn"]))["hc_attn"].tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("shape", [(2,), (7,), (1, 7), (2, 1), (5, 7), (1, 2), (5, 1, 1), (0,)], ids=str)
def test_a_scale_that_fits_nothing_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    tensors = {"mix": weight(5, 7), "mix_scale": torch.ones(shape), "fine": torch.ones(2)}
    file = open_tensors(written(tensors, tmp_path))
    dict(file.read(["fine"]))
    with pytest.raises(
        MhcDiagError, match="mix is float8_e4m3fn .* with the scale mix_scale of float32"
    ) as error:
        dict(file.read(["mix"]))
    assert "128 x 128" in error.value.message


def test_a_scale_without_numbers_and_two_scales_are_refused(tmp_path: Path) -> None:
    file = open_tensors(
        written({"mix": weight(5, 7), "mix_scale": torch.ones(1, dtype=torch.int32)}, tmp_path)
    )
    with pytest.raises(MhcDiagError, match="with the scale mix_scale of int32"):
        dict(file.read(["mix"]))
    twice = {"mix": weight(5, 7), "mix_scale": torch.ones(1), "mix_scale_inv": torch.ones(1)}
    with pytest.raises(MhcDiagError, match="2 scales beside it, mix_scale_inv and mix_scale"):
        dict(open_tensors(written(twice, tmp_path)).read(["mix"]))


def test_without_a_scale_it_is_read_as_it_stands_and_that_is_told(tmp_path: Path) -> None:
    x = weight(3, 3)
    file = open_tensors(written({"mix": x, "unread": weight(2, 2), "wide": torch.ones(1)}, tmp_path))
    dict(file.read(["wide"]))
    assert file.notes == ()
    np.testing.assert_array_equal(dict(file.read(["mix"]))["mix"], x.float().numpy())
    assert file.notes == (
        "1 tensors in float8 without a scale beside them are read as they stand, first mix",
    )


@pytest.mark.parametrize("packed", [torch.int8, torch.uint8, torch.int32, torch.float4_e2m1fn_x2], ids=str)
def test_packed_numbers_are_refused_with_the_reason(packed: torch.dtype, tmp_path: Path) -> None:
    x = torch.zeros(4, 8, dtype=torch.uint8).view(packed)
    file = open_tensors(written({"mix": x, "mix_scale": torch.ones(4, 1)}, tmp_path))
    with pytest.raises(MhcDiagError, match="scaled by mix_scale, and how it was packed is not known"):
        dict(file.read(["mix"]))


def test_scales_are_found_behind_wrappers_names(tmp_path: Path) -> None:
    tensors = {"module.a.weight": weight(2, 2), "module.a.weight_scale": torch.tensor(4.0)}
    file = open_tensors(written(tensors, tmp_path))
    expected = 4 * tensors["module.a.weight"].float().numpy()
    np.testing.assert_array_equal(dict(file.read(["a.weight"]))["a.weight"], expected)
