"""Growth rates against QR one matrix at a time, 300-digit arithmetic, and what can be told by hand."""

import math

import numpy as np
import pytest
import torch

from mhc_diag.maths import lyapunov
from mhc_diag.maths.lyapunov import rates, spectrum

KINDS = {"numpy": np.asarray, "torch": lambda a: torch.from_numpy(np.array(a))}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def orthogonal(*shape, seed=0):
    return np.linalg.qr(normal(*shape, seed=seed))[0]


def one_at_a_time(matrices):
    found = np.zeros((matrices.shape[1], matrices.shape[-1]))
    for token in range(matrices.shape[1]):
        q = np.eye(matrices.shape[-1])
        for m in matrices[:, token].astype(float):
            q, r = np.linalg.qr(m @ q)
            found[token] += np.log(np.abs(np.diag(r)))
    return found / len(matrices)


def in_300_digits(stack):
    """The same for one stack (L, n, n) by textbook Gram-Schmidt."""
    import mpmath

    n = stack.shape[-1]
    with mpmath.workdps(300):
        columns = [[mpmath.mpf(int(i == j)) for i in range(n)] for j in range(n)]
        total = [mpmath.mpf(0)] * n
        for m in stack.tolist():
            columns = [[mpmath.fdot(row, c) for row in m] for c in columns]
            for k, c in enumerate(columns):
                for q in columns[:k]:
                    share = mpmath.fdot(q, c)
                    c = [x - share * y for x, y in zip(c, q, strict=True)]
                length = mpmath.sqrt(mpmath.fdot(c, c))
                total[k] += mpmath.log(length)
                columns[k] = [x / length for x in c]
        return np.array([float(x / len(stack)) for x in total])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("depth", "tokens", "streams"), [(1, 1, 1), (7, 3, 2), (8, 1, 3), (41, 70, 4), (9, 2, 16)]
)
def test_as_one_small_qr_after_another(kind, dtype, depth, tokens, streams):
    matrices = normal(depth, tokens, streams, streams).astype(dtype)
    found = rates(KINDS[kind](matrices))
    assert type(found) is type(KINDS[kind](matrices)) and found.shape == (tokens, streams)
    assert str(found.dtype).endswith("float64")
    np.testing.assert_allclose(np.asarray(found), one_at_a_time(matrices), rtol=1e-11, atol=1e-12)


def test_blocks_of_tokens_and_of_sites_change_no_digit(monkeypatch):
    matrices = normal(37, 300, 4, 4)
    whole = rates(matrices)
    monkeypatch.setattr(lyapunov, "BLOCK", 64 * 16)
    for sites in (1, 5, 100):
        monkeypatch.setattr(lyapunov, "SITES", sites)
        np.testing.assert_allclose(rates(matrices), whole, rtol=1e-12, atol=1e-13)


def test_any_order_of_memory():
    matrices = normal(9, 5, 4, 4)
    turned = np.ascontiguousarray(matrices.transpose(2, 3, 0, 1)).transpose(2, 3, 0, 1)
    np.testing.assert_array_equal(rates(turned), rates(matrices))
    np.testing.assert_array_equal(
        rates(np.broadcast_to(matrices[:1], matrices.shape))[0], rates(matrices[[0] * 9])[0]
    )


def test_the_input_is_left_alone():
    matrices = normal(9, 5, 4, 4)
    before = matrices.copy()
    rates(matrices)
    np.testing.assert_array_equal(matrices, before)


def test_later_sites_stand_on_the_left():
    """R of the other order would be that of M_0 M_1: the first column of the product tells them apart."""
    matrices = normal(2, 1, 3, 3)
    first = matrices[1, 0] @ matrices[0, 0] @ np.eye(3)[0]
    assert rates(matrices)[0, 0] == pytest.approx(math.log(np.linalg.norm(first)) / 2, rel=1e-13)


@pytest.mark.parametrize("streams", [2, 4, 8])
def test_the_rates_add_up_to_the_determinant(streams):
    matrices = np.eye(streams) + 0.3 * normal(60, 20, streams, streams)
    expected = np.linalg.slogdet(matrices)[1].mean(axis=0)
    np.testing.assert_allclose(rates(matrices).sum(axis=-1), expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("streams", [2, 4])
def test_orthogonal_mixing_keeps_everything_and_a_factor_scales_it(streams):
    matrices = orthogonal(50, 4, streams, streams)
    np.testing.assert_allclose(rates(matrices), 0, atol=1e-15)
    np.testing.assert_allclose(rates(3 * matrices), math.log(3), rtol=1e-14)


def test_in_the_long_run_they_are_the_logarithms_of_the_eigenvalues():
    basis = normal(4, 4)
    matrix = basis @ np.diag([3.0, -1.0, 0.5, 0.01]) @ np.linalg.inv(basis)
    found = rates(np.broadcast_to(matrix, (4000, 1, 4, 4)))[0]
    np.testing.assert_allclose(found, np.log([3, 1, 0.5, 0.01]), atol=2e-3)


NEARLY_SINGULAR = {
    "averaging with noise of 1e-9": (0.25 + 1e-9 * normal(20, 4, 4), 1e-6),
    "averaging with noise of 1e-12": (0.25 + 1e-12 * normal(20, 4, 4), 1e-3),
    "rows of very different sizes": (normal(20, 4, 4) * 10.0 ** -np.array([[0.0], [5], [10], [14]]), 1e-12),
    "three small singular values": (
        orthogonal(20, 4, 4) @ np.diag([1, 1e-3, 2e-6, 1e-6]) @ orthogonal(20, 4, 4, seed=1), 1e-9,
    ),
    "small ones just above the care": (
        orthogonal(20, 4, 4) @ np.diag([1, 1, 1e-5, 1e-5]) @ orthogonal(20, 4, 4, seed=1), 1e-10,
    ),
    "sizes from 1e-250 to 1e250": (normal(20, 4, 4) * 10.0 ** (125 * normal(20, 1, 1).clip(-2, 2)), 1e-13),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", NEARLY_SINGULAR)
def test_every_digit_that_the_entries_hold(kind, case):
    """What is left of a column that cancels to 1e-9 has 7 digits in float64; LAPACK does no better."""
    stack, tolerance = NEARLY_SINGULAR[case]
    found = np.asarray(rates(KINDS[kind](stack[:, None])))[0]
    np.testing.assert_allclose(found, in_300_digits(stack), rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
def test_entries_at_the_ends_of_float64(kind):
    matrices = normal(20, 3, 4, 4).clip(-3, 3)
    for depth in (1, 20):
        expected = one_at_a_time(matrices[:depth])
        for factor in (1e-300, 1e-159, 1e-152, 1e153, 1e300):
            found = np.asarray(rates(KINDS[kind](factor * matrices[:depth])))
            np.testing.assert_allclose(found, expected + math.log(factor), rtol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_a_diagonal_of_any_steepness_is_not_taken_for_a_loss(kind):
    diagonal = np.array([1.0, 1e-20, 1e-200, 1e-300])
    found = np.asarray(rates(KINDS[kind](np.broadcast_to(np.diag(diagonal), (30, 2, 4, 4)).copy())))
    np.testing.assert_allclose(found, np.broadcast_to(np.log(diagonal), (2, 4)), rtol=1e-13)


def ranks(found):
    return np.isfinite(found).sum(axis=-1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("streams", [2, 3, 4, 8])
def test_what_a_product_does_not_carry_has_minus_infinity(kind, streams):
    matrices = normal(20, 200, streams, streams)
    expected = rates(matrices)
    for rank in {1, streams - 1}:
        poor = matrices.copy()
        poor[7] = normal(200, streams, rank, seed=1) @ normal(200, rank, streams, seed=2)
        found = np.asarray(rates(KINDS[kind](poor)))
        assert (ranks(found) == rank).all() and not np.isnan(found).any()
        assert np.isfinite(found[:, :rank]).all()
    one = matrices.copy()
    one[7, 3] = 0
    found = np.asarray(rates(KINDS[kind](one)))
    assert (found[3] == -np.inf).all()
    others = np.arange(200) != 3
    np.testing.assert_allclose(found[others], expected[others], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("streams", [2, 3, 4, 7])
def test_full_averaging(streams):
    found = rates(np.full((30, 2, streams, streams), 1 / streams))
    expected = np.log(1 / streams) / 2 / 30  # the first column of J has the length 1 / sqrt n; then it stays
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-12)
    assert (found[:, 1:] == -np.inf).all()


def test_a_dead_stream_stands_last_wherever_it_is():
    for dead in range(4):
        matrices = np.broadcast_to(np.diag([2.0] * 4), (5, 1, 4, 4)).copy()
        matrices[3, 0, dead] = 0
        np.testing.assert_allclose(rates(matrices)[0], [math.log(2)] * 3 + [-np.inf], rtol=1e-14)


def test_two_sites_that_carry_nothing_together():
    """u w^T twice with w u = 0: each has rank one, their product is zero."""
    matrix = np.outer([3.0, 4.0, 0.0], [4.0, -3.0, 5.0])
    assert (ranks(rates(matrix[None, None])) == 1).all()
    assert (ranks(rates(np.broadcast_to(matrix, (2, 1, 3, 3)))) == 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_nan_and_touches_no_other_token(kind, bad):
    matrices = normal(20, 3, 3, 3)
    expected = rates(matrices)
    matrices[17, 1, 0, 2] = bad
    matrices[4, 1] = 0  # lost long before
    found = np.asarray(rates(KINDS[kind](matrices)))
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[[0, 2]], expected[[0, 2]], rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_mean_and_standard_error(kind):
    given = normal(50, 4)
    mean, error = (np.asarray(x) for x in spectrum(KINDS[kind](given)))
    np.testing.assert_allclose(mean, [sum(column) / 50 for column in given.T], rtol=1e-12)
    np.testing.assert_allclose(error, given.std(axis=0, ddof=1) / 50**0.5, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_no_error_where_there_is_no_spread_to_tell_it(kind):
    mean, error = (np.asarray(x) for x in spectrum(KINDS[kind](normal(1, 3))))
    np.testing.assert_array_equal(mean, normal(1, 3)[0])
    assert np.isnan(error).all()
    odd = np.array([[1.0, 2.0, np.nan], [1.0, -np.inf, 2.0]])
    mean, error = (np.asarray(x) for x in spectrum(KINDS[kind](odd)))
    np.testing.assert_array_equal(mean, [1.0, -np.inf, np.nan])
    np.testing.assert_array_equal(error, [0.0, np.nan, np.nan])


def test_from_the_mean_on_mixing_that_keeps_it_has_rate_zero_at_once():
    matrices = np.abs(normal(5, 7, 4, 4))
    matrices /= matrices.sum(axis=-1, keepdims=True)
    found = rates(matrices, mean_first=True)
    np.testing.assert_allclose(found[:, 0], 0, atol=1e-15)
    assert (rates(matrices)[:, 0] < -1e-3).all()
    basis = np.linalg.qr(np.column_stack([np.ones(4), np.eye(4)[:, :3]]))[0]
    turned = matrices.copy()
    turned[0] = matrices[0] @ basis
    np.testing.assert_allclose(found[:, 0], rates(turned)[:, 0], atol=1e-14)
    np.testing.assert_allclose(found.sum(axis=-1), rates(matrices).sum(axis=-1), rtol=1e-12)
