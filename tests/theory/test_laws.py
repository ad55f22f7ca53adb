"""Laws that hold for all matrices, on matrices drawn to break them."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as drawn

from mhc_diag import plugins
from mhc_diag.maths.lyapunov import rates
from mhc_diag.maths.metrics import amax_backward, amax_forward, inf_norm, one_norm, spectral_norm
from mhc_diag.maths.products import composites
from mhc_diag.maths.projections import sinkhorn

METRICS = plugins.load_all("mhc_diag.maths.metrics")
LAW = settings(derandomize=True, database=None, max_examples=60, deadline=None)
NORMS = {"inf_norm": inf_norm, "one_norm": one_norm, "spectral_norm": spectral_norm}
SWAPPED = {
    "amax_forward": "amax_backward",
    "amin_forward": "amin_backward",
    "inf_norm": "one_norm",
    "row_residual": "column_residual",
}
ROWS_ONLY = {"row_entropy"}  # there is none of the columns
SAME_ORDER_ONLY = {"identity_distance", "second_eigenvalue"}  # they know which stream is which

sixteenths = st.integers(-64, 64).map(lambda k: k / 16)  # whose sums are exact, in whatever order
far_apart = st.one_of(sixteenths, st.sampled_from([0.0, 1e-20, -1e-20, 1e-9, 1e60]))


def matrices(count, elements=sixteenths):
    """So many square matrices of one size from 2 to 5: (count, n, n)."""
    return st.integers(2, 5).flatmap(lambda n: drawn.arrays(float, (count, n, n), elements=elements))


@st.composite
def doubly_stochastic(draw, count):
    """Averages of permutations, all there are by Birkhoff's theorem."""
    n = draw(st.integers(2, 6))
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    kinds = draw(st.integers(1, 6))
    permutations = np.eye(n)[random.permuted(np.tile(np.arange(n), (count, kinds, 1)), axis=-1)]
    return np.einsum("lk,lkij->lij", random.dirichlet(np.full(kinds, 0.3), count), permutations)


def collected(stack, scope):
    """Composites of a stack (L, n, n) as mantissas and exponents of 2."""
    mantissa, exponent = np.empty(stack.shape), np.empty(len(stack))
    for block, product in composites(stack[:, None], scope):
        mantissa[block], exponent[block] = product.mantissa[:, 0], product.exponent[:, 0]
    return mantissa, exponent.astype(int)


@LAW
@given(doubly_stochastic(count=25))
def test_products_of_doubly_stochastic_matrices_stay_so(stack):
    for scope in ("prefix", "suffix"):
        mantissa, exponent = collected(stack, scope)
        found = np.ldexp(mantissa, exponent[:, None, None])
        assert (found >= 0).all()
        np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-13)
        np.testing.assert_allclose(found.sum(axis=-2), 1, rtol=1e-13)
        apart = np.linalg.norm(found - 1 / stack.shape[-1], axis=(-2, -1))
        ordered = apart if scope == "prefix" else apart[::-1]
        assert (np.diff(ordered) <= 1e-14).all()
    assert rates(stack[:, None]).max() <= 1e-14 + np.log(stack.shape[-1]) / 2 / len(stack)


@LAW
@given(matrices(6))
def test_columns_drift_no_faster_than_the_sweeps_left_them(logits):
    """Rows are exact; where no column is off by more than d, none of a product is by more than (1 + d)^L."""
    stack = sinkhorn.project(logits)
    left = np.abs(stack.sum(axis=-2) - 1).max()
    mantissa, exponent = collected(stack, "prefix")
    found = np.ldexp(mantissa, exponent[:, None, None])
    np.testing.assert_allclose(found.sum(axis=-1), 1, rtol=1e-13)
    bound = (1 + left) ** np.arange(1, 7) - 1 + 1e-13
    assert (np.abs(found.sum(axis=-2) - 1).max(axis=-1) <= bound).all()


@pytest.mark.parametrize("name", NORMS)
def test_no_product_exceeds_the_product_of_the_norms(name):
    measure = NORMS[name].measure

    @LAW
    @given(matrices(2))
    def law(pair):
        a, b = pair
        assert measure(a @ b) <= measure(a) * measure(b) * (1 + 1e-12) + 1e-12

    law()


def test_amax_is_no_norm():
    """It is 0 at a matrix that is not, and a product exceeds the product of the factors."""
    opposed, uneven = np.array([[1.0, -1.0], [-1.0, 1.0]]), np.diag([1.0, 3.0])
    assert amax_forward.measure(opposed) == amax_backward.measure(opposed) == 0
    assert amax_forward.measure(opposed @ uneven) == 2
    assert amax_backward.measure(uneven @ opposed) == 2


@LAW
@given(matrices(12, far_apart))
def test_scaled_products_are_plain_products_where_those_are_finite(stack):
    for scope in ("site", "prefix", "suffix"):
        mantissa, exponent = collected(stack, scope)
        assert np.isfinite(mantissa).all()
        for i in range(len(stack)):
            chosen = {"site": stack[i : i + 1], "prefix": stack[: i + 1], "suffix": stack[i:]}[scope]
            plain, sizes = np.eye(stack.shape[-1]), np.eye(stack.shape[-1])
            with np.errstate(over="ignore", invalid="ignore"):
                for m in chosen:
                    plain, sizes = m @ plain, np.abs(m) @ sizes
                found = np.ldexp(mantissa[i], exponent[i])
            usable = np.isfinite(sizes)
            off = np.abs(found[usable] - plain[usable])
            assert (off <= 1e-14 * len(chosen) * sizes[usable] + 1e-290).all()


def close(name, found, expected):
    """Eigenvalues are not smooth: where five meet, rounding moves them by its fifth root."""
    atol = 0.02 if name == "second_eigenvalue" else 1e-7
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=atol)


def test_the_lists_above_name_metrics():
    """A metric without these symmetries that is not listed fails below."""
    assert set(SWAPPED) | set(SWAPPED.values()) | ROWS_ONLY | SAME_ORDER_ONLY <= set(METRICS)


@pytest.mark.parametrize("name", METRICS)
def test_the_order_of_the_streams_does_not_matter(name):
    """f(P A Q) = f(A); for what compares input with output streams only with Q = P^T."""
    measure = METRICS[name].measure

    @LAW
    @given(matrices(1), st.integers(0, 10**6))
    def law(one, seed):
        random, n = np.random.default_rng(seed), one.shape[-1]
        p, q = np.eye(n)[random.permutation(n)], np.eye(n)[random.permutation(n)]
        close(name, measure(p @ one[0] @ (p.T if name in SAME_ORDER_ONLY else q)), measure(one[0]))

    law()


@pytest.mark.parametrize("name", sorted(SAME_ORDER_ONLY))
def test_what_knows_which_stream_is_which_sees_them_swapped(name):
    shift = np.roll(np.eye(3), 1, axis=0)
    measure = METRICS[name].measure
    assert abs(measure(np.diag([1.0, 0.5, 0.0])) - measure(shift @ np.diag([1.0, 0.5, 0.0]))) > 0.1


@pytest.mark.parametrize("name", sorted(set(METRICS) - ROWS_ONLY))
def test_transposing_swaps_forward_and_backward(name):
    other = {**SWAPPED, **{b: a for a, b in SWAPPED.items()}}.get(name, name)

    @LAW
    @given(matrices(1))
    def law(one):
        close(name, METRICS[name].measure(one[0].T), METRICS[other].measure(one[0]))

    law()


@pytest.mark.parametrize("forward", SWAPPED)
def test_forward_and_backward_differ(forward):
    lopsided = np.array([[1.0, 2.0], [0.0, 4.0]])
    assert METRICS[forward].measure(lopsided) != METRICS[SWAPPED[forward]].measure(lopsided)


@LAW
@given(matrices(9), st.integers(0, 10**6))
def test_the_order_of_the_streams_does_not_change_the_sum_of_the_rates(stack, seed):
    """Any other basis than Q_0 = I gives other rates at a finite depth, but the same sum: mean ln|det|."""
    sizes = np.abs(np.linalg.det(stack))
    assume(sizes.min() > 1e-7)  # 16^-5, or zero
    random, n = np.random.default_rng(seed), stack.shape[-1]
    p, q = np.eye(n)[random.permutation(n)], np.eye(n)[random.permutation(n)]
    for changed in (stack, p @ stack @ q, stack.swapaxes(-1, -2), stack[::-1]):
        assert rates(changed[:, None])[0].sum() == pytest.approx(np.log(sizes).mean(), abs=1e-8)
