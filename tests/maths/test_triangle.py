"""Gains of all composites against exact fractions, whole numbers and closed forms."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mhc_diag.maths import statistics, triangle
from mhc_diag.maths.metrics import amax_backward, amax_forward
from mhc_diag.maths.products import composites
from mhc_diag.maths.triangle import STATISTICS, sweep, triangles

DIRECTIONS = ["forward", "backward"]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def product(later, earlier):
    n = len(later)
    return [[sum(later[i][j] * earlier[j][k] for j in range(n)) for k in range(n)] for i in range(n)]


def gain(matrix, direction):
    lines = matrix if direction == "forward" else zip(*matrix, strict=True)
    return max(abs(sum(line)) for line in lines)


def log10(number):
    """Of a whole number or a fraction, however large."""
    number = Fraction(number)
    if number == 0:
        return -math.inf
    return (math.log2(number.numerator) - math.log2(number.denominator)) * math.log10(2)


def summary(gains, statistic):
    """Exact: gains as fractions in, a fraction out."""
    ordered, last = sorted(gains), len(gains) - 1
    if statistic in {"mean", "max"}:
        return sum(gains) / len(gains) if statistic == "mean" else ordered[-1]
    rank = Fraction({"p50": 50, "p99": 99}[statistic], 100) * last
    low, high = ordered[int(rank)], ordered[min(int(rank) + 1, last)]
    return low + (high - low) * (rank - int(rank))


def by_fractions(matrices, direction):
    """Every product of every token in full, one at a time."""
    depth, tokens = matrices.shape[:2]
    exact = [[[[Fraction(x) for x in row] for row in m] for m in site] for site in matrices.tolist()]
    found = {s: np.full((depth, depth), np.nan) for s in STATISTICS}
    for first in range(depth):
        running = list(exact[first])
        for last in range(first, depth):
            if last > first:
                running = [product(exact[last][t], running[t]) for t in range(tokens)]
            gains = [gain(m, direction) for m in running]
            for name, table in found.items():
                table[first, last] = log10(summary(gains, name))
    return found


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("depth", "tokens", "streams"), [(1, 1, 1), (2, 2, 1), (5, 3, 3), (6, 4, 2)])
def test_every_composite_against_fractions(depth, tokens, streams, direction):
    matrices = normal(depth, tokens, streams, streams)
    found = triangles(matrices)[direction]
    assert list(found) == ["mean", "p50", "p99", "max"]
    for name, expected in by_fractions(matrices, direction).items():
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("tokens", [1, 2, 3, 100, 101, 1000])
def test_quantiles_are_those_of_numpy(tokens):
    matrices = normal(1, tokens, 1, 1)
    found = triangles(matrices)["forward"]
    for name, q in {"p50": 0.5, "p99": 0.99}.items():
        assert 10 ** found[name][0, 0] == pytest.approx(np.quantile(np.abs(matrices), q), rel=1e-13)


@pytest.mark.parametrize("scale", [1.0, 1e60, 1e-60])
def test_edges_and_diagonal_are_prefixes_suffixes_and_sites(scale):
    matrices = scale * normal(40, 50, 4, 4)
    found = triangles(matrices)  # warns of no overflow
    pieces = {
        "prefix": lambda table: table[0],
        "suffix": lambda table: table[:, -1],
        "site": lambda table: table.diagonal(),
    }
    for direction, metric in zip(DIRECTIONS, (amax_forward, amax_backward), strict=True):
        for scope, piece in pieces.items():
            for sites, scaled in composites(matrices, scope):
                gains = metric.measure(scaled.mantissa)
                with np.errstate(over="ignore"):  # in the plain values
                    expected = statistics.over_tokens(gains, scaled.exponent)
                for name, table in found[direction].items():
                    np.testing.assert_allclose(piece(table)[sites], expected[name][1], rtol=0, atol=1e-9)


def test_what_ends_before_it_begins_is_no_number():
    for tables in triangles(normal(5, 2, 2, 2)).values():
        for table in tables.values():
            np.testing.assert_array_equal(np.isnan(table), np.tril(np.ones((5, 5), dtype=bool), -1))


@pytest.mark.parametrize("entry", [1e300, 1e-300, 1e-310, 5e-324, 2.0**-63, 2.0**63])
def test_gains_far_outside_of_float64(entry):
    first, last = np.indices((300, 300))
    sites = np.where(last >= first, last - first + 1, np.nan)
    expected = sites * (math.log10(entry) + math.log10(3))
    for tables in triangles(np.full((300, 2, 3, 3), entry)).values():
        for table in tables.values():
            np.testing.assert_allclose(table, expected, rtol=1e-13)


def test_entries_of_either_sign_at_depth_1500_against_whole_numbers():
    matrices = np.random.default_rng(3).integers(-9, 10, (1500, 1, 3, 3))
    *_, forward = sweep(matrices.astype(float))
    assert forward["max"].max() > 1000
    exact = matrices[:, 0].tolist()
    for first in (0, 1, 700, 1400, 1499):
        vector = [1, 1, 1]
        for matrix in exact[first:]:
            vector = [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]
        assert forward["max"][first] == pytest.approx(log10(max(map(abs, vector))), abs=1e-9)


def test_tokens_that_no_float_holds_side_by_side():
    matrices = np.array([1e-200, 1e-50, 1e200])[None, :, None, None] * np.ones((4, 1, 1, 1))
    found = triangles(matrices)["forward"]
    np.testing.assert_allclose(found["max"][0], [200, 400, 600, 800])
    np.testing.assert_allclose(found["mean"][0], np.array([200, 400, 600, 800]) - math.log10(3))
    np.testing.assert_allclose(found["p50"][0], [-50, -100, -150, -200])
    np.testing.assert_allclose(found["p99"][0], np.array([200, 400, 600, 800]) + math.log10(0.98))


def test_a_small_gain_behind_a_cancellation_is_not_lost():
    shrinking = np.full((6, 1, 2, 2), 2.0**-64 * 1.5)  # to about 2**-374, which is no reason to rescale
    last = np.array([[[[1.0, -1.0], [0.0, 2.0**-1000]]]])
    found = triangles(np.concatenate([shrinking, last]))["forward"]["max"]
    assert found[0, -1] == pytest.approx((6 * (math.log2(3) - 64) - 1000) * math.log10(2))


def test_a_gain_of_zero_is_minus_infinity_and_the_rest_goes_on():
    opposed = np.array([[7.0, -7.0], [-7.0, 7.0]])
    matrices = np.stack([2 * np.eye(2), opposed, 2 * np.eye(2)])[:, None]
    for tables in triangles(matrices).values():
        for table in tables.values():
            assert np.isneginf(table[:2, 1:]).all()
            assert table[[0, 2], [0, 2]] == pytest.approx(math.log10(2))
    for tables in triangles(np.zeros((3, 4, 2, 2))).values():
        assert all(np.isneginf(table[np.triu_indices(3)]).all() for table in tables.values())


@pytest.mark.parametrize("tokens", [3, 4])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_token_that_is_no_number_counts_as_the_largest(bad, tokens):
    matrices = np.tile(np.eye(2), (5, tokens, 1, 1))
    matrices[2, 1, 0, 0] = bad
    hit = np.zeros((5, 5), dtype=bool)
    hit[:3, 2:] = True
    above = np.triu(np.ones((5, 5), dtype=bool))
    for tables in triangles(matrices).values():
        for name in ("mean", "p99", "max"):
            assert not np.isfinite(tables[name][hit]).any()
            assert (tables[name][above & ~hit] == 0).all()
        assert (tables["p50"][above] == 0).all()
        assert np.isnan(tables["max"][0, 3]) or bad == math.inf


entry = st.floats(0, 4, allow_subnormal=False) | st.sampled_from([0.0, 1e-20, 1e20])
scale = st.sampled_from([1.0, 1e-270, 1e270])


@settings(deadline=None)
@given(st.integers(2, 6), st.integers(1, 3), scale, st.data())
def test_no_composite_of_non_negative_sites_gains_more_than_its_parts(depth, streams, scale, data):
    count = depth * streams * streams
    entries = data.draw(st.lists(entry, min_size=count, max_size=count))
    matrices = scale * np.reshape(entries, (depth, 1, streams, streams))
    for tables in triangles(matrices).values():
        table = tables["max"]
        for first in range(depth):
            for last in range(first + 1, depth):
                for cut in range(first, last):
                    assert table[first, last] <= table[first, cut] + table[cut + 1, last] + 1e-9


@pytest.mark.parametrize("convert", [torch.from_numpy, lambda a: torch.from_numpy(a).requires_grad_()])
def test_torch_gives_the_same_bits(convert):
    matrices = normal(7, 3, 4, 4).astype(np.float32)
    found = triangles(convert(matrices))
    for direction, tables in triangles(matrices.astype(np.float64)).items():
        for name, table in tables.items():
            np.testing.assert_array_equal(found[direction][name], table)


def test_blocks_change_no_bit(monkeypatch):
    matrices = 1e30 * normal(30, 5, 3, 3)
    whole = triangles(matrices)
    monkeypatch.setattr(triangle, "BLOCK", 20)
    for direction, tables in triangles(matrices).items():
        for name, table in tables.items():
            np.testing.assert_array_equal(table, whole[direction][name])


def test_progress_counts_each_site_in_both_directions():
    told = []
    triangles(normal(9, 2, 2, 2), progress=told.append)
    assert sum(told) == 18 and len(told) == 9
