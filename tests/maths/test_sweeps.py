"""Composite gains by vectors against plain products, whole numbers of any size, and the metrics."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mhc_diag.maths import blocks, sweeps
from mhc_diag.maths.metrics import amax_backward, amax_forward
from mhc_diag.maths.products import composites
from mhc_diag.maths.sweeps import composite_gains, paper_gains, site_gains

KINDS = {"numpy": np.asarray, "torch": lambda a: torch.from_numpy(np.array(a))}
DIRECTIONS = ["forward", "backward"]
every_kind = pytest.mark.parametrize("kind", KINDS)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def pair(found):
    value, exponent = (np.asarray(x) for x in found)
    assert value.dtype == exponent.dtype == np.float64 and (exponent == np.round(exponent)).all()
    return value, exponent


def log2(found):
    value, exponent = pair(found)
    with np.errstate(divide="ignore"):
        return np.log2(value) + exponent


def plain(found):
    value, exponent = pair(found)
    return np.ldexp(value, exponent.astype(int))


def by_products(matrices):
    """Both gains (L, T) from products of whole matrices."""
    matrices, made = matrices.astype(np.float64), {}
    prefix, gains = np.eye(matrices.shape[-1]), []
    for m in matrices:
        prefix = m @ prefix
        gains.append(np.abs(prefix.sum(axis=-1)).max(axis=-1))
    made["forward"] = np.array(gains)
    suffix, gains = np.eye(matrices.shape[-1]), []
    for m in matrices[::-1]:
        suffix = suffix @ m
        gains.append(np.abs(suffix.sum(axis=-2)).max(axis=-1))
    made["backward"] = np.array(gains[::-1])
    return made


@every_kind
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("depth", "tokens", "streams"), [(1, 1, 1), (2, 3, 2), (40, 5, 4), (35, 2, 9)])
def test_the_gains_of_plain_products(kind, dtype, depth, tokens, streams):
    matrices = normal(depth, tokens, streams, streams).astype(dtype)
    found = composite_gains(KINDS[kind](matrices))
    assert list(found) == DIRECTIONS
    for direction, expected in by_products(matrices).items():
        np.testing.assert_allclose(plain(found[direction]), expected, rtol=1e-9)


def exactly(matrices):
    """log2 of both gains at every site, by fractions."""
    stack = [[[Fraction(x) for x in row] for row in m] for m in matrices.tolist()]
    n, made = len(stack[0]), {}
    for direction in DIRECTIONS:
        vector, gains = [Fraction(1)] * n, []
        for m in stack if direction == "forward" else reversed(stack):
            lines = m if direction == "forward" else list(zip(*m, strict=True))
            vector = [sum(a * b for a, b in zip(line, vector, strict=True)) for line in lines]
            largest = max(abs(x) for x in vector)
            gains.append(
                math.log2(largest.numerator) - math.log2(largest.denominator) if largest else -math.inf
            )
        made[direction] = gains if direction == "forward" else gains[::-1]
    return made


@every_kind
@pytest.mark.parametrize(
    "scale",
    [1.0, 1e-30, 1e200, 1e-200, 1.7e308 / 5, 1e-310],
    ids=["normal", "small", "huge", "tiny", "largest", "subnormal"],
)
def test_numbers_of_any_size_against_fractions(kind, scale):
    matrices = scale * normal(60, 4, 3, 3)
    found = composite_gains(KINDS[kind](matrices))
    for token in range(4):
        for direction, expected in exactly(matrices[:, token]).items():
            np.testing.assert_allclose(log2(found[direction])[:, token], expected, rtol=1e-9, atol=1e-9)


def test_sizes_that_change_from_site_to_site_against_fractions():
    random = np.random.default_rng(1)
    matrices = normal(80, 3, 4, 4) * 10.0 ** random.integers(-250, 250, (80, 3, 1, 1))
    found = composite_gains(matrices)
    for token in range(3):
        for direction, expected in exactly(matrices[:, token]).items():
            np.testing.assert_allclose(log2(found[direction])[:, token], expected, rtol=1e-11)


@pytest.mark.parametrize(("kind", "depth"), [("numpy", 10_000), ("torch", 3000)])
def test_thousands_of_gaussian_sites_against_whole_numbers(kind, depth):
    """Entries on a grid of 2**-20: the vector times 2**(20 L) is one of exact whole numbers."""
    n = 3
    grid = np.round(normal(depth, n, n) * 2**20).astype(int)
    found = composite_gains(KINDS[kind](grid[:, None] / 2**20))
    for direction, stack in (("forward", grid), ("backward", grid[::-1].swapaxes(-1, -2))):
        vector = [1] * n
        for m in stack.tolist():
            vector = [sum(a * b for a, b in zip(row, vector, strict=True)) for row in m]
        end = log2(found[direction])[-1 if direction == "forward" else 0, 0]
        assert end > 1100 and end == pytest.approx(math.log2(max(map(abs, vector))) - 20 * depth, abs=1e-8)


@every_kind
@pytest.mark.parametrize(("each_", "streams"), [(2.0, 1), (0.25, 1), (1e300, 3), (1.7e308, 3), (5e-324, 3)])
def test_equal_entries_have_a_closed_form(kind, each_, streams):
    """M^k = (n a)^k ones / n, over and under anything that float64 holds."""
    depth = 1200
    found = composite_gains(KINDS[kind](np.full((depth, 1, streams, streams), each_)))
    sites = np.arange(1, depth + 1) * (math.log2(each_) + math.log2(streams))
    np.testing.assert_allclose(log2(found["forward"])[:, 0], sites, rtol=1e-12)
    np.testing.assert_allclose(log2(found["backward"])[:, 0], sites[::-1], rtol=1e-12)


@every_kind
def test_what_only_small_entries_let_through_does_not_vanish(kind):
    first, later = np.diag([0.0, 1.0]), np.diag([1.0, 1e-300])
    stack = np.stack([first] + [later] * 40)[:, None]
    found = log2(composite_gains(KINDS[kind](stack))["forward"])[:, 0]
    np.testing.assert_allclose(found / math.log2(10), -300.0 * np.arange(41), rtol=1e-12)
    found = log2(composite_gains(KINDS[kind](stack[::-1]))["backward"])[:, 0]
    np.testing.assert_allclose(found / math.log2(10), -300.0 * np.arange(41)[::-1], rtol=1e-12)


def test_a_small_vector_keeps_its_small_entries():
    """2**-900 fits float64, and 2**-1100 beside it does not."""
    stack = np.stack([2.0**-900 * np.eye(2), np.diag([1.0, 2.0**-200]), np.diag([0.0, 1.0])])[:, None]
    assert log2(composite_gains(stack)["forward"])[:, 0].tolist() == [-900, -900, -1100]
    assert log2(composite_gains(stack[::-1])["backward"])[:, 0].tolist() == [-1100, -900, -900]


@every_kind
def test_zero_times_infinity_is_no_number(kind):
    stack = np.stack([np.diag([1.0, 0.0]), [[1.0, np.inf], [0.0, 1.0]], np.eye(2)])[:, None]
    gains = plain(composite_gains(KINDS[kind](stack))["forward"])[:, 0]
    assert gains[0] == 1 and np.isnan(gains[1:]).all()


def test_cancellation_at_every_site_does_not_vanish():
    """M = u v^T with v u = d: M^k ones = d^(k-1) M ones loses 50 bits a site."""
    d = 2.0**-50
    forward = np.array([[1.0, d - 1], [1.0, d - 1]])
    for direction, matrix in (("forward", forward), ("backward", forward.T)):
        found = log2(composite_gains(np.stack([matrix] * 60)[:, None])[direction])[:, 0]
        powers = np.arange(1, 61) if direction == "forward" else np.arange(1, 61)[::-1]
        np.testing.assert_allclose(found, -50.0 * powers, rtol=1e-12)


@every_kind
def test_a_zero_matrix_ends_its_token_only(kind):
    matrices = normal(30, 2, 3, 3)
    expected = by_products(matrices)
    matrices[10, 0] = 0
    found = composite_gains(KINDS[kind](matrices))
    forward, backward = plain(found["forward"]), plain(found["backward"])
    assert (forward[10:, 0] == 0).all() and (backward[:11, 0] == 0).all()
    assert (forward[:10, 0] > 0).all() and (backward[11:, 0] > 0).all()
    np.testing.assert_allclose(forward[:, 1], expected["forward"][:, 1], rtol=1e-9)
    np.testing.assert_allclose(backward[:, 1], expected["backward"][:, 1], rtol=1e-9)


@every_kind
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_and_touches_no_other_token(kind, bad):
    matrices = normal(40, 3, 3, 3)
    clean = {d: plain(found) for d, found in composite_gains(matrices).items()}
    matrices[17, 1, 0, 2] = bad
    found = composite_gains(KINDS[kind](matrices))
    for direction, ill in (("forward", slice(17, None)), ("backward", slice(0, 18))):
        gains, expected = plain(found[direction]), clean[direction]
        finite = np.ones((40, 3), dtype=bool)
        finite[ill, 1] = False
        np.testing.assert_array_equal(np.isfinite(gains), finite)
        np.testing.assert_allclose(gains[finite], expected[finite], rtol=1e-9)
    assert np.isnan(plain(found["forward"])[17, 1]) == np.isnan(bad)


@every_kind
def test_the_metrics_of_products(kind):
    """Every curve of the paper's is what the metric measures of the composites."""
    matrices = KINDS[kind](np.eye(4) + 0.3 * normal(30, 6, 4, 4))
    metrics = {"amax_forward": amax_forward, "amax_backward": amax_backward}
    found = paper_gains(matrices)
    assert set(found) == {(name, "site") for name in metrics} | {
        ("amax_forward", "prefix"),
        ("amax_backward", "suffix"),
    }
    for (name, scope), gains in found.items():
        expected = np.empty((30, 6))
        for sites, scaled in composites(matrices, scope):
            value, exponent = metrics[name].measure(scaled.mantissa), scaled.exponent
            expected[sites] = np.ldexp(np.asarray(value), np.asarray(exponent).astype(int))
        np.testing.assert_allclose(plain(gains), expected, rtol=1e-12)


@every_kind
def test_single_sites_beyond_float64(kind):
    matrices = KINDS[kind](np.array([[1.7e308, 1.7e308], [1.0, -1.0]])[None, None])
    found = site_gains(matrices)
    assert log2(found["forward"])[0, 0] == pytest.approx(math.log2(1.7e308) + 1, rel=1e-15)
    assert log2(found["backward"])[0, 0] == pytest.approx(math.log2(1.7e308), rel=1e-15)


@pytest.mark.parametrize("entries", [16, 64, 10**9])
@pytest.mark.parametrize("cores", [1, 3])
@pytest.mark.parametrize("scale", [1.0, 1e100])
def test_no_bit_depends_on_blocks_threads_or_memory(monkeypatch, entries, cores, scale):
    matrices = scale * normal(50, 13, 4, 4)
    alone = [composite_gains(matrices[:, t : t + 1]) for t in range(13)]
    monkeypatch.setattr(blocks, "cores", lambda: cores)
    monkeypatch.setattr(sweeps, "ENTRIES", entries)
    planes = np.moveaxis(np.moveaxis(matrices, (2, 3), (0, 1)).copy(), (0, 1), (2, 3))
    for given_ in (matrices, planes):
        found = composite_gains(given_)
        for direction in DIRECTIONS:
            for k in (0, 1):
                expected = np.concatenate([one[direction][k] for one in alone], axis=1)
                np.testing.assert_array_equal(found[direction][k], expected)


@settings(derandomize=True, database=None, max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6))
def test_laws_of_doubly_stochastic_and_of_transposed_stacks(seed, streams):
    random = np.random.default_rng(seed)
    permutations = np.eye(streams)[random.permuted(np.tile(np.arange(streams), (60, 5, 1)), axis=-1)]
    matrices = np.einsum("ltk,ltkij->ltij", random.dirichlet(np.ones(5), (60, 1)), permutations[:, None])
    for found in composite_gains(matrices).values():
        np.testing.assert_allclose(plain(found), 1, rtol=1e-13)
    matrices = normal(30, 2, streams, streams, seed=seed)
    found, turned = composite_gains(matrices), composite_gains(matrices[::-1].swapaxes(-1, -2))
    np.testing.assert_array_equal(plain(turned["backward"])[::-1], plain(found["forward"]))


def test_gradients_are_left_alone():
    matrices = torch.from_numpy(normal(5, 2, 3, 3)).requires_grad_()
    value, _ = composite_gains(matrices)["forward"]
    assert not value.requires_grad
