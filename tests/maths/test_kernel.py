"""The depth kernel against a double loop of plain numpy, at any depth and in any basis of the streams."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mhc_diag.maths.kernel import depth_kernel, kernel_rows

Floats = np.ndarray[Any, Any]


def _slow(matrices: Floats, pre: Floats, post: Floats, reads_from: list[int]) -> Floats:
    depth, tokens = matrices.shape[:2]
    made = np.zeros((tokens, depth, depth))
    for t in range(tokens):
        for k in range(depth):
            for j in range(reads_from[k]):
                path = post[j, t]
                for site in range(j + 1, reads_from[k]):
                    path = matrices[site, t] @ path
                made[t, k, j] = pre[k, t] @ path
    return made


def _drawn(seed: int, depth: int, tokens: int, n: int) -> tuple[Floats, Floats, Floats]:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(2, depth, tokens, n))
    return rng.normal(size=(depth, tokens, n, n)), rows[0], rows[1]


@pytest.mark.parametrize(("depth", "tokens", "n"), [(1, 2, 3), (2, 1, 1), (7, 3, 4), (30, 2, 2)])
def test_is_that_of_a_double_loop(depth: int, tokens: int, n: int) -> None:
    stack = _drawn(0, depth, tokens, n)
    slow = _slow(*stack, [*range(depth)])
    assert np.allclose(depth_kernel(*stack), slow, rtol=1e-10)
    tensors = [torch.from_numpy(x) for x in stack]
    assert np.allclose(depth_kernel(*tensors).numpy(), slow, rtol=1e-10)


def test_branches_that_read_the_streams_of_an_earlier_site() -> None:
    stack, sources = _drawn(1, 6, 2, 3), [0, 0, 2, 2, 4, 3]
    assert np.allclose(depth_kernel(*stack, sources), _slow(*stack, sources), rtol=1e-10)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 5))
def test_no_basis_of_the_streams_changes_it(seed: int, n: int) -> None:
    matrices, pre, post = _drawn(seed, 5, 2, n)
    basis = np.linalg.qr(np.random.default_rng(seed + 1).normal(size=(n, n)))[0] * np.linspace(0.5, 3, n)
    inverse = np.linalg.inv(basis)
    other = basis @ matrices @ inverse, pre @ inverse, post @ basis.T
    one, two = depth_kernel(matrices, pre, post), depth_kernel(*other)
    assert np.allclose(one, two, rtol=1e-8, atol=1e-8 * np.abs(one).max())
    if n > 1:
        assert not np.allclose(matrices, other[0])


@pytest.mark.parametrize("gain", [1e300, 1e-300, 2.0**-1000])
def test_gains_that_no_number_holds(gain: float) -> None:
    """The kernel of M = gain * (a permutation): its logarithm is known, also beside entries that are 1."""
    matrices = np.zeros((12, 1, 2, 2)) + np.diag([gain, 1.0])
    ones = np.ones((12, 1, 2))
    *_, (k, value, exponent) = kernel_rows(matrices, ones, ones * [1.0, 0.0])
    logs = np.log10(np.abs(value[0])) + exponent[0] * math.log10(2)
    assert k == 11
    assert np.allclose(logs, [math.log10(gain) * (10 - j) for j in range(11)])
    *_, (_, value, exponent) = kernel_rows(matrices, ones, ones * [0.0, 1.0])
    assert np.allclose(np.ldexp(value[0], exponent[0].astype(int)), 1.0)


def test_what_is_not_known_stays_apart() -> None:
    matrices, pre, post = _drawn(2, 4, 2, 3)
    slow = _slow(matrices, pre, post, [0, 1, 2, 3])
    pre[2, 0], post[1, 1] = np.nan, np.nan
    kernel = depth_kernel(matrices, pre, post)
    missing = np.zeros_like(slow, dtype=bool)
    missing[0, 2, :2] = True
    missing[1, 2:, 1] = True
    assert (np.isnan(kernel) == missing).all()
    assert np.allclose(kernel[~missing], slow[~missing])
