"""Bounds on row and column sums, against every corner of boxes and whatever hypothesis finds in them."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mhc_diag.maths.caps import (
    composite_bound,
    doubly_stochastic_caps,
    entrywise_caps,
    identity_caps,
    largest_product,
    sinkhorn_caps,
)
from mhc_diag.maths.projections import sinkhorn

SLACK = 1 + 1e-12
EPS = (0.0, 1e-12, 1e-6, 1e-3, 0.05, 0.5)
finite = {"allow_nan": False, "allow_infinity": False}


def corners(n: int) -> Any:
    """Every choice of signs of an n x n matrix."""
    return np.array(list(itertools.product((-1.0, 1.0), repeat=n * n))).reshape(-1, n, n)


def sums(m: Any) -> tuple[float, float]:
    return float(np.abs(m).sum(axis=-1).max()), float(np.abs(m).sum(axis=-2).max())


@st.composite
def boxes(draw: Any) -> tuple[Any, Any]:
    """Logits and how far they reach, over many orders of magnitude."""
    n = draw(st.integers(1, 3))
    middle = arrays(np.float64, (n, n), elements=st.floats(-1, 1, **finite))
    reach = arrays(np.float64, (n, n), elements=st.floats(0, 1, **finite))
    far = st.sampled_from([0.0, 0.01, 0.3, 1.0, 3.0, 10.0, 40.0])
    return draw(middle) * draw(far), draw(reach) * draw(far)


@given(
    box=boxes(),
    iterations=st.integers(1, 12),
    start=st.sampled_from(["exp", "softmax"]),
    last=st.sampled_from(["rows", "columns"]),
    eps=st.sampled_from(EPS),
    eps_as=st.sampled_from(["term", "floor"]),
    temperature=st.sampled_from([1.0, 0.25]),
    seed=st.integers(0, 99),
)
@settings(max_examples=250, deadline=None, derandomize=True)
def test_no_matrix_of_the_box_exceeds_them(
    box: tuple[Any, Any], iterations: int, seed: int, **how: Any
) -> None:
    logits, reach = box
    caps = sinkhorn_caps(logits[None], reach[None], iterations=iterations, **how)
    inside = np.random.default_rng(seed).uniform(-1, 1, (200, *logits.shape))
    signs = np.concatenate([np.zeros((1, *logits.shape)), corners(len(logits)), inside])
    rows, columns = sums(sinkhorn.project(logits + signs * reach, iterations=iterations, **how))
    assert rows <= caps.rows[0] * SLACK and columns <= caps.columns[0] * SLACK
    assert max(caps.rows[0], caps.columns[0]) <= len(logits)


def climbed(n: int, reach: float, how: dict[str, Any], seed: int) -> float:
    """The largest row sum that a random walk uphill finds in a box around zero."""
    rng = np.random.default_rng(seed)
    best = rng.choice([-reach, reach], (32, n, n))
    value = sinkhorn.project(best, **how).sum(axis=-1).max(axis=-1)
    for _ in range(200):
        step = np.where(rng.random(best.shape) < 0.2, rng.uniform(-reach, reach, best.shape), best)
        new = sinkhorn.project(step, **how).sum(axis=-1).max(axis=-1)
        best = np.where((new > value)[:, None, None], step, best)
        value = np.maximum(new, value)
    return float(value.max())


@pytest.mark.parametrize("eps", [0.0, 0.05])
@pytest.mark.parametrize("reach", [0.05, 0.5, 1.5])
@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_nor_does_the_worst_matrix_that_a_search_finds(iterations: int, reach: float, eps: float) -> None:
    how: dict[str, Any] = {"iterations": iterations, "start": "softmax", "last": "columns", "eps": eps}
    found = climbed(4, reach, how, seed=iterations)
    (cap,) = sinkhorn_caps(np.zeros((1, 4, 4)), reach, **how).rows
    assert found <= cap * SLACK
    assert found > 1 or eps


@pytest.mark.parametrize("iterations", [1, 2, 3])
@pytest.mark.parametrize("reach", [0.01, 0.1, 0.5])
def test_they_are_not_far_from_what_a_corner_reaches(iterations: int, reach: float) -> None:
    how: dict[str, Any] = {"iterations": iterations, "last": "columns"}
    rows, columns = sums(sinkhorn.project(corners(3) * reach, **how))
    caps = sinkhorn_caps(np.zeros((1, 3, 3)), reach, **how)
    assert columns == pytest.approx(caps.columns[0], abs=1e-12)
    assert caps.rows[0] - 1 < 12 * (rows - 1)


def test_far_logits_leave_n() -> None:
    how: dict[str, Any] = {"iterations": 20, "last": "columns"}
    worst = np.where(np.arange(4) == 0, 0.0, -2000.0)[:, None] * np.ones((4, 4))
    worst[1:] += 1500 * np.arange(3)[:, None] * (np.arange(4) == 3)
    caps = sinkhorn_caps(worst[None], 1000.0, **how)
    assert caps.rows[0] == 4 and caps.columns[0] == 1


def test_more_iterations_and_less_reach_bring_them_down() -> None:
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((5, 4, 4))
    by_iterations = [sinkhorn_caps(logits, 0.1, iterations=t, eps=1e-6).columns for t in (1, 5, 20, 100)]
    by_reach = [sinkhorn_caps(logits, r, iterations=3, eps=1e-6).columns for r in (3.0, 0.3, 0.03, 0.0)]
    for caps in (by_iterations, by_reach):
        assert all((later <= earlier).all() for earlier, later in itertools.pairwise(caps))
    assert (by_iterations[-1] < 1 + 1e-6).all() and (by_reach[0] > by_reach[-1])[:4].all()


def test_sites_do_not_see_each_other() -> None:
    rng = np.random.default_rng(1)
    logits, reach = rng.standard_normal((4, 3, 3)), rng.random((4, 3, 3))
    together = sinkhorn_caps(logits, reach, iterations=2, eps=1e-3)
    for site, column in enumerate(together.columns):
        own = slice(site, site + 1)
        assert sinkhorn_caps(logits[own], reach[own], iterations=2, eps=1e-3).columns == [column]


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e308])
def test_damaged_logits_leave_n(bad: float) -> None:
    logits = np.zeros((1, 4, 4))
    logits[0, 1, 2] = bad
    with np.errstate(all="ignore"):
        caps = sinkhorn_caps(logits, 0.1)
    assert caps.rows[0] == 1 and caps.columns[0] == 4


@given(box=boxes())
@settings(max_examples=50, deadline=None, derandomize=True)
def test_entrywise_ones_are_reached(box: tuple[Any, Any]) -> None:
    matrix, reach = box
    signs = np.where(matrix < 0, -1.0, 1.0)
    caps = entrywise_caps(matrix[None], reach[None])
    assert sums(matrix + signs * reach) == pytest.approx((caps.rows[0], caps.columns[0]))
    for corner in corners(len(matrix)):
        rows, columns = sums(matrix + corner * reach)
        assert rows <= caps.rows[0] * SLACK and columns <= caps.columns[0] * SLACK


def test_those_that_are_exact() -> None:
    for caps in (identity_caps(3), doubly_stochastic_caps(3)):
        assert caps.rows.tolist() == caps.columns.tolist() == [1.0] * 3
    turned = sinkhorn_caps(np.eye(4)[None], 0.5, iterations=1).transposed()
    assert turned.columns[0] == 1 < turned.rows[0]


def test_the_largest_product_is_that_of_a_run() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        logs = rng.standard_normal(6)
        runs = [sum(logs[i:j]) for i in range(6) for j in range(i, 7)]
        assert largest_product(logs) == pytest.approx(max(runs), abs=1e-12)
    assert composite_bound(np.array([5.0, 1.0]), np.array([0.0, 0.0]), 4) == pytest.approx([np.log(4), 1.0])


@pytest.mark.parametrize("last", ["rows", "columns"])
@pytest.mark.parametrize("tilt", [0.0, 6.0])
@pytest.mark.parametrize("across", [0, 1])
def test_offsets_of_whole_rows_or_columns_hide_nothing(last: str, tilt: float, across: int) -> None:
    rng = np.random.default_rng(3)
    offsets = tilt * rng.standard_normal((4000, 3))
    logits = np.expand_dims(offsets, 1 + across) + 0.3 * rng.standard_normal((4000, 3, 3))
    how: dict[str, Any] = {"iterations": 1, "last": last}
    made = sinkhorn.project(logits, **how)
    caps = sinkhorn_caps(logits, 0.0, **how)
    assert (made.sum(axis=-1).max(axis=-1) <= caps.rows * SLACK).all()
    assert (made.sum(axis=-2).max(axis=-1) <= caps.columns * SLACK).all()
