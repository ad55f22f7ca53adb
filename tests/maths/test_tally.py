"""Statistics by parts against the same numbers sorted at once."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mhc_diag.maths.statistics import QUANTILES
from mhc_diag.maths.tally import Tally, Window, together, window_of


def rows_of(kind, total):
    rng = np.random.default_rng(5)
    return {
        "lognormal": np.exp(3 * rng.standard_normal(total)),
        "few values": rng.integers(0, 3, total).astype(float),
        "all the same": np.ones(total),
        "rounding around 1": 1 + rng.integers(-2, 3, total) * 2.0**-52,
        "two clusters": np.where(rng.random(total) < 0.5, 1.0, 1e6) * (1 + 1e-9 * rng.standard_normal(total)),
        "infinite at times": np.where(rng.random(total) < 0.03, np.inf, rng.random(total)),
        "NaN at times": np.where(rng.random(total) < 0.008, np.nan, rng.random(total)),
        "mostly zero": np.where(rng.random(total) < 0.98, 0.0, rng.random(total)),
    }[kind]


KINDS = (
    "lognormal",
    "few values",
    "all the same",
    "rounding around 1",
    "two clusters",
    "infinite at times",
    "NaN at times",
    "mostly zero",
)


def taken(numbers, ends, q):
    """The windows of the parts of one row that end before these places."""
    parts = np.split(numbers[None], ends, axis=1)
    return [window_of(np.sort(part, axis=1), q, numbers.size) for part in parts if part.size]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [1000, 4096, 50_000])
@pytest.mark.parametrize("at_once", [2, 7, 1000])
def test_every_rank_that_a_quantile_needs_is_the_number_itself(kind, part, at_once):
    numbers = rows_of(kind, 200_000)
    ordered = np.sort(numbers)
    for q in QUANTILES.values():
        windows = taken(numbers, range(part, numbers.size, part), q)
        while len(windows) > 1:
            windows = [*windows[at_once:], together(windows[:at_once])]
        low, high, weight = windows[0].quantile()
        place = q * (numbers.size - 1)
        expected = ordered[math.floor(place)], ordered[math.floor(place) + 1]
        np.testing.assert_array_equal([low[0], high[0]], expected)
        assert weight == place - math.floor(place)
        assert windows[0].kept.size < 100


def test_little_is_kept_of_much():
    rng = np.random.default_rng(1)
    window, largest = None, 0
    for _ in range(100):
        more = window_of(np.sort(rng.random((1, 10_000))), 0.5, 1_000_000)
        window = more if window is None else together([window, more])
        largest = max(largest, window.kept.size)
    assert largest < 4_000 and window.kept.size < 100


def test_sorted_parts_are_refused_rather_than_guessed():
    windows = taken(np.arange(1_000_000.0), range(10_000, 1_000_000, 10_000), 0.5)
    with pytest.raises(RuntimeError, match="random order"):
        together(windows).quantile()


@pytest.mark.parametrize("q", [0.01, 0.5, 0.99])
def test_parts_that_lie_apart_are_refused_where_one_of_them_lost_numbers(q):
    parts = np.arange(2000.0), np.arange(2000.0) - 5000
    window = together([window_of(part[None], q, 4000) for part in parts])
    ordered, known = np.sort(np.concatenate(parts)), 0
    for rank in range(4000):
        try:
            found = window.at_rank(rank)
        except RuntimeError:
            continue
        known += 1
        np.testing.assert_array_equal(found, ordered[rank])
    assert known == 0 if q == 0.5 else known > 20


VALUES = st.sampled_from([-math.inf, -1.0, -0.0, 0.0, 1.0, 1.5, 1e300, math.inf, math.nan])


@given(
    numbers=arrays.arrays(float, st.integers(2, 400), elements=VALUES | st.floats(0, 1)),
    ends=st.lists(st.integers(0, 400), max_size=5).map(sorted),
    q=st.sampled_from(sorted(QUANTILES.values())),
    order=st.randoms(use_true_random=False),
    most=st.sampled_from([1, 10, 10_000]),
    arranged=st.sampled_from([np.array, np.sort, lambda x: np.sort(x)[::-1]]),
)
def test_whatever_the_split_a_rank_is_that_of_all_numbers_sorted_or_refused(
    numbers, ends, q, order, most, arranged
):
    """Numbers in any order, parts of any size, narrow windows, taken together in any order."""
    numbers = arranged(numbers)
    parts = [np.sort(part) for part in np.split(numbers, ends) if part.size]
    windows = [narrow(part, q, numbers.size, most) for part in parts]
    order.shuffle(windows)
    while len(windows) > 1:
        windows[:2] = [together(windows[:2])]
        order.shuffle(windows)
    ordered, (window,) = np.sort(numbers), windows
    for rank in range(numbers.size):
        try:
            found = window.at_rank(rank)
        except RuntimeError:
            assert window.seen > window.kept.size  # something was lost
            continue
        np.testing.assert_array_equal(found, ordered[rank : rank + 1])


def narrow(ordered, q, total, most):
    """A window with at most so many numbers to either side of the quantile, as if deviations were small."""
    center = int(q * (ordered.size - 1))
    low, high = max(0, center - most), min(ordered.size, center + most + 1)
    floor = ordered[low] if low else -math.inf
    ceiling = ordered[high - 1] if high < ordered.size else math.nan
    kept = ordered[None, low:high]
    return Window(q, total, ordered.size, low, kept, np.array([floor]), np.array([ceiling]))


@pytest.mark.parametrize("exponent", [0.0, 5000.0, -5000.0])
@pytest.mark.parametrize("backwards", [False, True])
def test_statistics_of_parts_are_those_of_the_whole(exponent, backwards):
    numbers = np.random.default_rng(2).lognormal(size=(3, 9001))
    numbers[1, 77], numbers[2, ::18] = 1e9, 0.0
    numbers[0, [3000, 8000]] = 1e8  # twice: the first counts
    tallies = []
    for place, start in enumerate(range(0, 9001, 500)):
        part = numbers[:, start : start + 500]
        tally = Tally(depth=4, total=9001, part=place, first=start)
        tally.add(slice(0, 2), part[:2], np.full(part[:2].shape, exponent))
        tally.add(slice(2, 4), part[[2, 0]], np.full((2, part.shape[1]), exponent))
        tallies.append(tally)
    tally, *others = reversed(tallies) if backwards else tallies
    for other in others:
        tally.take(other)
    shift = exponent * math.log10(2)
    found = tally.finish()
    expected = {"mean": numbers.mean(axis=1), "min": numbers.min(axis=1), "max": numbers.max(axis=1)}
    expected |= {name: np.quantile(numbers, q, axis=1) for name, q in QUANTILES.items()}
    assert set(found) == set(expected)
    for name, (value, log10) in found.items():
        with np.errstate(divide="ignore"):
            want = np.log10(expected[name])[[0, 1, 2, 0]] + shift
        np.testing.assert_allclose(log10, want, rtol=1e-13, atol=1e-13)
        if exponent == 0:
            np.testing.assert_allclose(value, expected[name][[0, 1, 2, 0]], rtol=1e-13)
    np.testing.assert_array_equal(tally.token, numbers.argmax(axis=1)[[0, 1, 2, 0]])


def test_the_order_in_which_tallies_are_taken_together_changes_no_bit():
    rng = np.random.default_rng(7)
    parts = [rng.random((50, size)) / 1450 for size in (700, 1, 400, 900, 899)]
    starts = np.cumsum([0, *(p.shape[1] for p in parts)])

    def finished(order, groups):
        def made(k):
            tally = Tally(50, int(starts[-1]), part=k, first=int(starts[k]))
            tally.add(slice(0, 50), parts[k], np.zeros(parts[k].shape))
            return tally

        merged = []
        for group in np.split(order, groups):
            tally, *others = [made(k) for k in group]
            for other in others:
                tally.take(other)
            merged.append(tally)
        for other in merged[1:]:
            merged[0].take(other)
        return {name: log.tobytes() for name, (_, log) in merged[0].finish().items()}

    expected = finished(range(5), [])
    for order, groups in (([4, 2, 0, 1, 3], [2]), ([3, 4, 0, 1, 2], [1, 2]), ([1, 3, 2, 4, 0], [4])):
        assert finished(order, groups) == expected


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 1, 0)])
def test_a_nan_makes_mean_and_maximum_nan_and_is_found(order):
    tallies = []
    for k in range(3):
        part = np.arange(1.0, 11.0)[None]
        if k == 1:
            part[0, [4, 6]] = np.nan
        tallies.append(Tally(depth=1, total=30, part=k, first=10 * k))
        tallies[-1].add(slice(0, 1), part, np.zeros((1, 10)))
    tally = tallies[order[0]]
    for k in order[1:]:
        tally.take(tallies[k])
    found = tally.finish()
    assert math.isnan(found["mean"][0][0]) and math.isnan(found["max"][0][0])
    assert found["min"][0][0] == 1.0 and tally.token[0] == 14
