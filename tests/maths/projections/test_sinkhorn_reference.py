"""Sinkhorn-Knopp at any logits: against 50 digits, at the ends of each type, and by its own symmetries."""

from decimal import MAX_EMAX, MIN_EMIN, Decimal, localcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mhc_diag.maths.projections.sinkhorn import project, snapshots

LAW = settings(derandomize=True, database=None, max_examples=40, deadline=None)
KINDS = {"numpy": np.asarray, "torch": torch.from_numpy}
ORDERS = ["rows", "columns"]

every_kind = pytest.mark.parametrize("kind", KINDS)
every_order = pytest.mark.parametrize("last", ORDERS)
every_type = pytest.mark.parametrize("dtype", ["float64", "float32"])


def projected(logits, kind="numpy", **options):
    return np.asarray(project(KINDS[kind](logits), **options))


def in_fifty_digits(logits, last, iterations=20):
    with localcontext(prec=50, Emax=MAX_EMAX, Emin=MIN_EMIN):
        m = [[Decimal(x).exp() for x in row] for row in logits.tolist()]
        for _ in range(iterations):
            for axis in ("columns", "rows") if last == "rows" else ("rows", "columns"):
                lines = m if axis == "rows" else list(zip(*m, strict=True))
                lines = [[x / sum(line) for x in line] for line in lines]
                m = lines if axis == "rows" else list(zip(*lines, strict=True))
        return np.array([[float(x) for x in row] for row in m])


@every_order
@pytest.mark.parametrize("streams", range(2, 9))
@pytest.mark.parametrize("reach", [1, 20, 150])
def test_fifteen_digits_of_fifty(reach, streams, last):
    random = np.random.default_rng(streams)
    logits = random.uniform(-reach, reach, (4, streams, streams))
    logits[1] = reach * np.sign(logits[1])
    logits[2] = np.sort(logits[2].ravel()).reshape(streams, streams)  # far from doubly stochastic
    for kind in KINDS:
        found = projected(logits, kind, last=last)
        for one, matrix in zip(logits, found, strict=True):
            np.testing.assert_allclose(matrix, in_fifty_digits(one, last), rtol=0, atol=1e-15)


@every_order
def test_the_last_digit_but_one_of_single_precision(last):
    logits = np.random.default_rng(0).uniform(-21, 21, (30, 4, 4)).astype(np.float32)
    for kind in KINDS:
        for one, matrix in zip(logits, projected(logits, kind, last=last), strict=True):
            np.testing.assert_allclose(matrix, in_fifty_digits(one, last), rtol=0, atol=1e-6)


@every_order
def test_beyond_divisions_logarithms_keep_what_the_logits_determine(last):
    """At a range of 2,000 a logit has 13 digits behind the point."""
    logits = np.random.default_rng(1).uniform(-1000, 1000, (10, 4, 4))
    for one, matrix in zip(logits, projected(logits, last=last), strict=True):
        np.testing.assert_allclose(matrix, in_fifty_digits(one, last), rtol=0, atol=3e-13)


def far_apart(dtype):
    """Logits (N, 3, 3) of all sizes that the type has, in every arrangement that chance gives."""
    random = np.random.default_rng(2)
    top = float(np.finfo(dtype).max)
    sizes = np.array(
        [0.0, float(np.finfo(dtype).smallest_subnormal), 1.0, 300.0, 1e4, top / 1e8, top / 2, top]
    )
    return (random.choice(sizes, (3000, 3, 3)) * random.choice([-1.0, 1.0], (3000, 3, 3))).astype(dtype)


@every_kind
@every_order
@every_type
@pytest.mark.parametrize("iterations", [1, 20])
def test_no_row_is_lost_at_any_finite_logits(dtype, last, kind, iterations):
    found = projected(far_apart(dtype), kind, last=last, iterations=iterations)
    assert found.dtype == dtype and (found >= 0).all()
    exact = found.sum(axis=-1 if last == "rows" else -2, dtype=np.float64)
    np.testing.assert_allclose(exact, 1, rtol=0, atol=1e-15 if dtype == "float64" else 5e-7)


@every_kind
@pytest.mark.parametrize("size", [1e4, 1e300, 1.7e308])
def test_far_apart_logits_choose_a_permutation(kind, size):
    logits = size * np.array([[1.0, -1, -1], [-1, -1, 1], [-1, 1, 0.5]])
    np.testing.assert_array_equal(projected(logits, kind), [[1, 0, 0], [0, 0, 1], [0, 1, 0]])


@every_kind
@pytest.mark.parametrize("size", [1e4, 1e300, 1.7e308])
def test_far_apart_logits_that_are_equal_share(kind, size):
    logits = np.array([[size, size, -size], [size, size, -size], [-size, -size, size]])
    np.testing.assert_allclose(projected(logits, kind), [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]], atol=1e-15)


@LAW
@given(st.integers(0, 10**6), st.sampled_from([0.5, 5.0, 100.0, 2e3, 1e300]), st.integers(2, 6), st.data())
def test_permuted_logits_give_the_permuted_matrix(seed, scale, streams, data):
    """project(P X Q) = P project(X) Q: only the order of the sums differs."""
    rows, columns = (data.draw(st.permutations(range(streams))) for _ in "PQ")
    logits = scale * np.random.default_rng(seed).uniform(-1, 1, (streams, streams))
    expected = project(logits)[rows][:, columns]
    np.testing.assert_allclose(
        project(logits[rows][:, columns]), expected, rtol=1e-12, atol=1e-14 + scale * 1e-15
    )


@LAW
@given(st.integers(0, 10**6), st.integers(2, 6), st.sampled_from(ORDERS), st.sampled_from([1.0, 20.0, 1e4]))
def test_a_constant_on_a_line_that_comes_first_changes_nothing(seed, streams, last, scale):
    """Whole numbers, so that the shifted logits are the same logits."""
    random = np.random.default_rng(seed)
    logits = np.round(scale * random.uniform(-1, 1, (streams, streams)))
    shift = np.round(20 * random.uniform(-1, 1, streams))
    shifted = logits + (shift[None, :] if last == "rows" else shift[:, None])
    np.testing.assert_allclose(
        project(shifted, last=last), project(logits, last=last), rtol=1e-11, atol=1e-14
    )


@LAW
@given(st.integers(0, 10**6), st.integers(2, 6), st.sampled_from(ORDERS))
def test_in_the_limit_constants_on_rows_and_columns_change_nothing(seed, streams, last):
    random = np.random.default_rng(seed)
    logits, (rows, columns) = random.uniform(-2, 2, (streams, streams)), random.uniform(-5, 5, (2, streams))
    options = {"last": last, "iterations": 2000}
    found = project(logits + rows[:, None] + columns, **options)
    np.testing.assert_allclose(found, project(logits, **options), rtol=1e-10)


@LAW
@given(
    st.integers(0, 10**6), st.floats(0, 1e5), st.integers(1, 8), st.integers(1, 30), st.sampled_from(ORDERS)
)
def test_sums_over_the_axis_that_comes_last_are_one(seed, scale, streams, iterations, last):
    logits = scale * np.random.default_rng(seed).standard_normal((20, streams, streams))
    sums = project(logits, last=last, iterations=iterations).sum(axis=-1 if last == "rows" else -2)
    np.testing.assert_allclose(sums, 1, rtol=0, atol=2e-15)


@every_kind
@every_order
@every_type
@pytest.mark.parametrize(
    "guard", [{}, {"eps": 1e-6}, {"eps": 1e-2, "start": "softmax"}, {"temperature": 0.1}]
)
def test_a_snapshot_has_the_bits_of_its_own_run(kind, dtype, last, guard):
    """Among them matrices that have to be held in logarithms."""
    scales = np.array([1.0, 10, 100, 1e4])[:, None, None, None]
    logits = (scales * np.random.default_rng(3).standard_normal((4, 5, 3, 3))).astype(dtype)
    options = {"last": last, **guard}
    with np.errstate(over="ignore"):
        counts = {n: projected(logits, kind, iterations=n, **options) for n in (0, 1, 7, 20)}
        made = [(n, np.asarray(m)) for n, m in snapshots(KINDS[kind](logits), (7, 0, 1, 20, 7), **options)]
        assert [count for count, _ in made] == list(counts)
        for count, matrices in snapshots(KINDS[kind](logits), (7, 0, 1, 20), copy=False, **options):
            np.testing.assert_array_equal(np.asarray(matrices), counts[count])
        for count, matrices in made:
            np.testing.assert_array_equal(matrices, counts[count])


def test_a_snapshot_stays_when_the_next_is_made():
    kept = list(snapshots(np.random.default_rng(4).standard_normal((3, 4, 4)), (1, 2, 3)))
    assert all((a != b).any() for (_, a), (_, b) in zip(kept, kept[1:], strict=False))
    (_, a), (_, b) = snapshots(np.zeros((3, 4, 4)), (1, 2), copy=False)
    assert np.shares_memory(a, b)


def test_gradients_flow_through_every_snapshot():
    logits = torch.from_numpy(np.random.default_rng(5).standard_normal((2, 3, 3))).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: tuple(m for _, m in snapshots(x, (0, 1, 4))), logits)


@pytest.mark.parametrize(
    "guard", [{}, {"eps": 0.1}, {"eps": 0.1, "eps_as": "floor"}, {"eps": 0.1, "start": "softmax"}]
)
@pytest.mark.parametrize("streams", [1, 2, 5])
def test_wanting_gradients_changes_no_bit(streams, guard):
    """With them nothing can be done in place."""
    scales = torch.tensor([0.1, 5.0, 40.0, 1e4], dtype=torch.float64)[:, None, None, None]
    logits = scales * torch.from_numpy(np.random.default_rng(8).standard_normal((4, 9, streams, streams)))
    found = project(logits.clone().requires_grad_(), **guard)
    assert found.requires_grad
    np.testing.assert_array_equal(found.detach(), project(logits, **guard))


@every_kind
def test_the_logits_are_not_touched(kind):
    logits = np.random.default_rng(6).standard_normal((50, 4, 4)) * 300
    for given_ in (logits, np.asfortranarray(logits), np.moveaxis(np.moveaxis(logits, 0, -1).copy(), -1, 0)):
        kept = given_.copy()
        project(KINDS[kind](given_))
        np.testing.assert_array_equal(given_, kept)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("block", [128, 500, 10**9])
@pytest.mark.parametrize("cores", [1, 3])
def test_no_bit_depends_on_blocks_or_threads(monkeypatch, cores, block, dtype):
    """The textbook's lines, matrix by matrix, are the reference."""
    from mhc_diag.maths import blocks

    monkeypatch.setattr(blocks, "cores", lambda: cores)
    monkeypatch.setattr(blocks, "BYTES", block)
    logits = np.random.default_rng(7).standard_normal((5, 7, 4, 4)).astype(dtype)
    expected = np.exp(logits - logits.max(axis=-2, keepdims=True))
    for _ in range(20):
        for axis in (-2, -1):
            lines = [np.take(expected, [k], axis=axis) for k in range(4)]
            expected = expected / (lines[0] + lines[1] + lines[2] + lines[3])
    np.testing.assert_array_equal(project(logits), expected)


@every_kind
def test_an_empty_batch(kind):
    assert projected(np.zeros((0, 3, 4, 4)), kind).shape == (0, 3, 4, 4)


def test_whole_numbers_are_logits_too():
    np.testing.assert_array_equal(project(4 * np.eye(3, dtype=int)), project(4 * np.eye(3)))


def test_in_numpy_each_entry_of_all_matrices_lies_in_one_piece():
    made = project(np.zeros((30, 20, 4, 4)))
    assert made[..., 1, 2].flags.c_contiguous
    assert project(torch.zeros(30, 20, 4, 4)).is_contiguous()
