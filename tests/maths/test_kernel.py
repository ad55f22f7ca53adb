"""The depth kernel against double loops over products, exact powers of two and its invariance."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mhc_diag.maths.kernel import depth_kernel, over_tokens


def drawn(depth, tokens, streams, seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((depth, tokens, streams, streams)),
        rng.standard_normal((depth, tokens, streams)),
        rng.standard_normal((depth, tokens, streams)),
    )


def by_products(matrices, pre, post, reads_from=None):
    """Every entry by itself: the product of the sites between the two branches, in full."""
    depth, tokens, n = pre.shape
    found = np.zeros((tokens, depth, depth))
    for t in range(tokens):
        for k in range(depth):
            at = k if reads_from is None else reads_from[k]
            for j in range(at):
                between = np.eye(n)
                for site in range(j + 1, at):
                    between = matrices[site, t] @ between
                found[t, k, j] = pre[k, t] @ between @ post[j, t]
    return found


def plain(pair):
    return np.ldexp(np.asarray(pair[0]), np.asarray(pair[1]).astype(int))


@pytest.mark.parametrize(("depth", "tokens", "streams"), [(1, 1, 1), (2, 3, 1), (6, 4, 3), (12, 2, 4)])
def test_against_a_double_loop(depth, tokens, streams):
    given_ = drawn(depth, tokens, streams)
    np.testing.assert_allclose(plain(depth_kernel(*given_)), by_products(*given_), rtol=1e-11, atol=1e-11)


def test_branches_side_by_side_read_the_same_streams():
    given_, reads_from = drawn(7, 2, 3), (0, 0, 2, 2, 2, 5, 6)
    found = plain(depth_kernel(*given_, reads_from))
    np.testing.assert_allclose(found, by_products(*given_, reads_from), rtol=1e-12, atol=1e-12)
    assert (found[:, 1, 0] == 0).all() and (found[:, 4, 2:4] == 0).all() and (found[:, 4, :2] != 0).all()


@pytest.mark.parametrize("entry", [1e200, 1e-200, 5e-324, 1.5])
def test_no_depth_over_or_underflows(entry):
    depth, ones = 400, np.ones((400, 2, 3))
    found = over_tokens(np.full((depth, 2, 3, 3), entry), 2 * ones, ones)
    later, earlier = np.indices((depth, depth))[::-1]
    between = later - earlier - 1
    expected = np.where(
        later > earlier, math.log10(6) + between * (math.log10(entry) + math.log10(3)), np.nan
    )
    for name in ("mean", "max"):
        np.testing.assert_allclose(found[name], expected, rtol=1e-12, atol=1e-9)


def test_signed_entries_at_depth_300_against_many_digits():
    matrices, pre, post = (1e3 * x for x in drawn(300, 1, 3, seed=5))
    with mpmath.workdps(400):
        column = mpmath.matrix(post[0, 0].tolist())
        for site in range(1, 299):
            column = mpmath.matrix(matrices[site, 0].tolist()) * column
        exact = sum(mpmath.mpf(float(h)) * x for h, x in zip(pre[299, 0], column, strict=True))
        expected = float(mpmath.log10(abs(exact)))
    assert expected > 900
    assert over_tokens(matrices, pre, post)["max"][0, 299] == pytest.approx(expected, abs=1e-9)


def test_statistics_are_over_the_tokens_that_are_known():
    matrices, pre, post = drawn(5, 4, 2)
    post[1, 2] = np.nan
    pre[3, 0] = np.nan
    post[2] = np.nan
    found = over_tokens(matrices, pre, post)
    sizes = np.abs(by_products(matrices, pre, post))
    np.testing.assert_allclose(10 ** found["mean"][1, 3], sizes[[1, 3], 3, 1].mean(), rtol=1e-12)
    np.testing.assert_allclose(10 ** found["max"][0, 3], sizes[1:, 3, 0].max(), rtol=1e-12)
    assert np.isnan(found["max"][2]).all() and np.isfinite(found["max"][0, 1:]).all()


def test_tokens_that_no_float_holds_side_by_side():
    scale = np.array([1e-200, 1e-50, 1e200])[None, :, None, None]
    found = over_tokens(scale * np.ones((5, 3, 1, 1)), np.ones((5, 3, 1)), np.ones((5, 3, 1)))
    assert found["max"][0, 4] == pytest.approx(600)
    assert found["mean"][0, 4] == pytest.approx(600 - math.log10(3))


def test_a_matrix_that_is_no_number_is_told():
    matrices, pre, post = drawn(4, 3, 2)
    matrices[1, 0, 0, 0] = np.nan
    found = over_tokens(matrices, pre, post)
    assert np.isnan(found["max"][0, 2:]).all() and np.isnan(found["mean"][0, 2:]).all()
    assert np.isfinite(found["max"][[0, 1, 1, 2], [1, 2, 3, 3]]).all()


def test_no_way_from_branch_to_branch_is_minus_infinity():
    matrices = np.broadcast_to(np.eye(2), (3, 1, 2, 2))
    one, other = np.broadcast_to([1.0, 0.0], (3, 1, 2)), np.broadcast_to([0.0, 1.0], (3, 1, 2))
    assert np.isneginf(over_tokens(matrices, one, other)["max"][[0, 0, 1], [1, 2, 2]]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_gives_the_same(dtype):
    given_ = [torch.from_numpy(x).to(dtype) for x in drawn(8, 3, 4)]
    expected = over_tokens(*[x.double().numpy() for x in given_])
    for name, table in over_tokens(*given_).items():
        np.testing.assert_allclose(table.numpy(), expected[name], rtol=1e-12)


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 8), st.integers(1, 5), st.integers(0, 10**6))
def test_a_change_of_basis_leaves_it_as_it_is(depth, streams, seed):
    """The gauge law: M -> A M A^-1, h -> h A^-1, p -> A p; composite gains change, the kernel does not."""
    matrices, pre, post = drawn(depth, 2, streams, seed)
    rng = np.random.default_rng(seed + 1)
    basis = np.linalg.qr(rng.standard_normal((streams, streams)))[0] * np.exp(rng.normal(0, 1, streams))
    inverse = np.linalg.inv(basis)
    moved = basis @ matrices @ inverse, pre @ inverse, post @ basis.T
    before, after = plain(depth_kernel(matrices, pre, post)), plain(depth_kernel(*moved))
    np.testing.assert_allclose(after, before, rtol=1e-7, atol=1e-9 * np.abs(before).max())
