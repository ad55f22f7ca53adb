"""Rounding to narrow formats: torch's own casts, bit for bit, and numbers worked out by hand."""

import numpy as np
import pytest
import torch

from mhc_diag.maths.precision import rounded

TORCH = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
every_format = pytest.mark.parametrize("precision", TORCH)


def awkward():
    """Both formats' numbers, the points half-way between, their neighbours, and the ends of the range."""
    bf16 = np.arange(2**16, dtype=np.uint32)
    ties = np.concatenate([(bf16 << 16) | low for low in (0, 0x7FFF, 0x8000, 0x8001)]).view(np.float32)
    half = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float64)
    finite = half[np.isfinite(half)]
    between = (finite[:-1] + finite[1:]) / 2
    ends = [65504.0, 65519.99, 65520.0, 3.4e38, 3.4e39, -1e300, 5e-324, 1e-40, 2.0**-149, 2.0**-150, -0.0]
    normal = np.random.default_rng(0).standard_normal(10_000)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return np.concatenate(
            [ties.astype(np.float64), half, between, np.nextafter(between, 9), ends, normal]
        )


@every_format
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_numpy_agrees_with_the_casts_of_torch(precision, dtype):
    with np.errstate(over="ignore", invalid="ignore"):
        given = awkward().astype(dtype)
        expected = torch.from_numpy(given).to(torch.float32).to(TORCH[precision]).to(torch.float32).numpy()
        found = rounded(given, precision)
    assert found.dtype == given.dtype
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(found), nan)
    np.testing.assert_array_equal(found[~nan], expected[~nan].astype(dtype))
    np.testing.assert_array_equal(np.signbit(found[~nan]), np.signbit(expected[~nan]))


@every_format
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_torch_tensors_give_the_same_and_keep_their_dtype(precision, dtype):
    with np.errstate(over="ignore", invalid="ignore"):
        given = awkward().astype(dtype)
        expected = rounded(given, precision)
    found = rounded(torch.from_numpy(given), precision)
    assert found.dtype == getattr(torch, dtype)
    np.testing.assert_array_equal(found.numpy(), expected)


def test_by_hand():
    """bf16 has 8 digits: neighbours of 1 are 1 - 2**-8 and 1 + 2**-7, and a tie goes to the even digit."""
    given = np.array([1 + 2**-8, 1 + 3 * 2**-8, 1 - 2**-9, 1 / 3, 255 + 2**0.0, 2.0**-133, 2.0**-134])
    expected = [1.0, 1 + 2**-6, 1.0, 171 / 512, 256.0, 2.0**-133, 0.0]
    assert rounded(given, "bf16").tolist() == expected
    assert rounded(np.array([1 + 2**-11, 1 + 3 * 2**-11, 65520.0, 2.0**-24]), "fp16").tolist() == [
        1.0,
        1 + 2**-9,
        np.inf,
        2.0**-24,
    ]


def test_shapes_and_views_are_kept():
    given = np.full((3, 4, 4, 2), 0.1).swapaxes(0, 3)[::2]
    assert rounded(given, "bf16").shape == (1, 4, 4, 3)
    assert rounded(np.float64(0.1) * np.ones(()), "bf16").shape == ()
    assert given[0, 0, 0, 0] == 0.1, "what was given is left alone"


def test_float64_is_what_it_is():
    given = awkward()
    assert rounded(given, "fp64") is given


def test_doubly_stochastic_matrices_in_bfloat16_miss_their_marginals_by_a_third_of_a_per_cent():
    """Mixes of permutations, so exactly doubly stochastic to rounding: an error known from other programs."""
    generator = np.random.default_rng(0)
    weights = generator.dirichlet(np.full(24, 0.3), size=100_000)
    permutations = np.stack([np.eye(4)[list(p)] for p in np.ndindex(4, 4, 4, 4) if len(set(p)) == 4])
    matrices = rounded(np.einsum("kp,pij->kij", weights, permutations), "bf16")
    off = np.abs(np.concatenate([matrices.sum(-1), matrices.sum(-2)], axis=-1) - 1).max()
    assert 2.8e-3 < off < 3.9e-3
