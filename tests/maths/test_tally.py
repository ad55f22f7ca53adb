"""Statistics by parts against the same numbers sorted at once."""

import math

import numpy as np
import pytest

from mhc_diag.maths.statistics import QUANTILES
from mhc_diag.maths.tally import Quantiles, Tally


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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [1000, 4096, 50_000])
def test_every_rank_that_a_quantile_needs_is_the_number_itself(kind, part):
    numbers = rows_of(kind, 200_000)
    row = Quantiles(numbers.size)
    for start in range(0, numbers.size, part):
        row.add(numbers[start : start + part])
    ordered = np.sort(numbers)
    for q in QUANTILES.values():
        low, high, weight = row.quantile(q)
        place = q * (numbers.size - 1)
        expected = ordered[math.floor(place)], ordered[math.floor(place) + 1]
        np.testing.assert_array_equal([low, high], expected)
        assert weight == place - math.floor(place)
    assert row.kept.size < 30_000


def test_little_is_kept_of_much():
    rng = np.random.default_rng(1)
    row, largest = Quantiles(1_000_000), 0
    for _ in range(100):
        row.add(rng.random(10_000))
        largest = max(largest, row.kept.size)
    assert largest < 30_000 and row.kept.size < 2_000


def test_sorted_parts_are_refused_rather_than_guessed():
    row = Quantiles(1_000_000)
    for part in np.split(np.arange(1_000_000.0), 100):
        row.add(part)
    with pytest.raises(RuntimeError, match="random order"):
        row.quantile(0.5)


@pytest.mark.parametrize("exponent", [0.0, 5000.0, -5000.0])
def test_statistics_of_parts_are_those_of_the_whole(exponent):
    numbers = np.random.default_rng(2).lognormal(size=(3, 9001))
    numbers[1, 77], numbers[2, 4000:4500] = 1e9, 0.0
    tally = Tally(depth=4, total=9001)
    for start in range(0, 9001, 500):
        part = numbers[:, start : start + 500]
        tally.add(slice(0, 2), part[:2], np.full(part[:2].shape, exponent))
        tally.add(slice(2, 4), part[[2, 0]], np.full((2, part.shape[1]), exponent))
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


def test_a_nan_makes_mean_and_maximum_nan_and_is_found():
    tally = Tally(depth=1, total=30)
    for k in range(3):
        part = np.arange(1.0, 11.0)[None]
        if k == 1:
            part[0, 4] = np.nan
        tally.add(slice(0, 1), part, np.zeros((1, 10)))
    found = tally.finish()
    assert math.isnan(found["mean"][0][0]) and math.isnan(found["max"][0][0])
    assert found["min"][0][0] == 1.0 and tally.token[0] == 14
