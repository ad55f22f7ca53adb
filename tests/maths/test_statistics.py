"""Statistics over tokens against numpy where numbers fit float64, and against 60-digit decimals where not."""

import math
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal

import numpy as np
import pytest
import torch

from mhc_diag.maths.statistics import log10, over_tokens, plain

KINDS = {"numpy": np.asarray, "torch": torch.from_numpy}
RANKS = {"min": 0.0, "p01": 0.01, "p05": 0.05, "p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
DIGITS = Context(prec=60, Emax=MAX_EMAX, Emin=MIN_EMIN)

every_kind = pytest.mark.parametrize("kind", KINDS)


def measured(value, exponent, kind):
    with np.errstate(over="ignore", invalid="ignore"):  # as analyse has it
        found = over_tokens(KINDS[kind](np.array(value, float)), KINDS[kind](np.array(exponent, float)))
    return {name: (np.asarray(v), np.asarray(logs)) for name, (v, logs) in found.items()}


def exact(value, exponent):
    """log10 of each statistic of a row, by decimals."""
    pairs = zip(value, exponent, strict=True)
    row = sorted(DIGITS.multiply(Decimal(v), DIGITS.power(Decimal(2), Decimal(e))) for v, e in pairs)
    found = {}
    total = Decimal(0)
    for x in row:
        total = DIGITS.add(total, x)
    found["mean"] = DIGITS.divide(total, Decimal(len(row)))
    for name, q in RANKS.items():
        below, weight = divmod(Decimal(str(q)) * (len(row) - 1), 1)
        low, high = row[int(below)], row[min(int(below) + 1, len(row) - 1)]
        found[name] = DIGITS.add(low, DIGITS.multiply(DIGITS.subtract(high, low), weight))
    return {name: float(DIGITS.log10(x)) if x else -math.inf for name, x in found.items()}


def test_the_names():
    names = ["mean", "min", "p01", "p05", "p50", "p95", "p99", "max"]
    assert list(over_tokens(np.ones((1, 3)), np.zeros((1, 3)))) == names


@every_kind
@pytest.mark.parametrize("tokens", [1, 2, 3, 20, 21, 100, 101, 257])
def test_agrees_with_numpy(kind, tokens):
    random = np.random.default_rng(tokens)
    value, exponent = random.exponential(size=(6, tokens)), random.integers(-30, 30, (6, tokens))
    numbers = np.ldexp(value, exponent)
    found = measured(value, exponent, kind)
    expected = {name: np.quantile(numbers, q, axis=-1) for name, q in RANKS.items()}
    expected["mean"] = numbers.mean(axis=-1)
    for name, (v, logs) in found.items():
        np.testing.assert_allclose(v, expected[name], rtol=1e-14)
        np.testing.assert_allclose(logs, np.log10(expected[name]), rtol=1e-14, atol=1e-15)


@every_kind
def test_a_gain_that_float64_holds_is_kept_to_its_last_bit(kind):
    """Also in a row beside one whose numbers are too far apart, and beside a zero of any exponent."""
    numbers = np.random.default_rng(0).uniform(0, 10, 50)
    mantissa, power = np.frexp(np.stack([numbers] * 4, axis=-1))
    mantissa, power = np.vstack([mantissa, np.ones(4)]), np.vstack([power, [-2000, 0, 0, 2000]])
    mantissa[:25, 0], power[:25, 0] = 0.0, 9000
    found = measured(mantissa, power, kind)
    for name in ("p50", "p95", "p99", "max"):
        np.testing.assert_array_equal(found[name][0][:50], numbers)


@every_kind
@pytest.mark.parametrize("spread", [10, 800, 899, 901, 1500, 40_000])
@pytest.mark.parametrize("centre", [0, 50_000, -50_000])
def test_numbers_far_apart_against_decimals(kind, spread, centre):
    random = np.random.default_rng(spread)
    value = random.uniform(0.01, 100, (4, 13))
    exponent = centre + random.integers(-spread // 2, spread // 2 + 1, (4, 13))
    exponent[:, :2] = centre - spread // 2, centre + spread // 2
    found = measured(value, exponent, kind)
    for row in range(4):
        for name, expected in exact(value[row].tolist(), exponent[row].tolist()).items():
            number, logarithm = found[name][0][row], found[name][1][row]
            assert logarithm == pytest.approx(expected, rel=1e-13, abs=1e-13)
            if abs(expected) < 300:
                assert number == pytest.approx(10**expected, rel=1e-11)
            else:
                assert number == (math.inf if expected > 309 else 0.0) or abs(expected) < 325


@every_kind
def test_small_values_do_not_vanish_beside_large_ones(kind):
    """The exponents alone are near; values and exponents together are not."""
    value = [[2.0**-400] * 3 + [1.0] * 35 + [2.0**400] * 3]  # 5 % of 40 steps are 2
    exponent = [[-850.0] * 38 + [0.0] * 3]
    found = measured(value, exponent, kind)
    for name, expected in exact(value[0], exponent[0]).items():
        assert found[name][1][0] == pytest.approx(expected, rel=1e-13)


@every_kind
def test_the_exponent_of_a_zero_means_nothing(kind):
    value, exponent = np.array([[0.0, 1.0, 1.0, 1.0, 1.5]]), np.array([[0.0, -3000, -3000, -3000, -3000]])
    for of_zero in (-9000.0, -3000.0, 0.0, 9000.0):
        exponent[0, 0] = of_zero
        found = measured(value, exponent, kind)
        assert found["p50"][1][0] == pytest.approx(-3000 * math.log10(2), rel=1e-14)
        assert found["mean"][1][0] == pytest.approx(-3000 * math.log10(2) + math.log10(0.9), rel=1e-14)
        assert found["p05"][1][0] == pytest.approx(-3000 * math.log10(2) + math.log10(0.2), rel=1e-14)


APART = [[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 2000.0, 2000.0]]  # a second row like this takes the other path


@every_kind
@pytest.mark.parametrize("beside", [([1.0] * 4, [0.0] * 4), APART])
@pytest.mark.parametrize("spread", [0.0, 2000.0])
class TestEdges:
    """What is no ordinary number, alike whichever way its row or its neighbours are computed."""

    def found(self, row, spread, beside, kind):
        exponent = [0.0, 0.0, spread, spread]
        both = measured([row, beside[0]], [exponent, beside[1]], kind)
        return {name: (v[0], logs[0]) for name, (v, logs) in both.items()}

    def test_nan_is_never_passed_over(self, kind, beside, spread):
        found = self.found([1.0, math.nan, 1.0, 2.0], spread, beside, kind)
        for name in ("mean", "max", "p95", "p99"):
            assert math.isnan(found[name][0]) and math.isnan(found[name][1]), name
        assert found["p05"][1] < 0.31 + spread  # it counts as the largest

    def test_infinity(self, kind, beside, spread):
        found = self.found([1.0, 1.0, math.inf, math.inf], spread, beside, kind)
        for name in ("mean", "max", "p50", "p95", "p99"):
            assert found[name] == (math.inf, math.inf), name
        assert found["p05"] == (1.0, 0.0)

    def test_a_quantile_that_falls_on_a_number_does_not_look_beyond(self, kind, beside, spread):
        row, exponent = [1.0] * 20 + [math.inf], [0.0] * 20 + [spread]
        found = measured([row, beside[0] + [1.0] * 17], [exponent, beside[1] + [0.0] * 17], kind)
        assert (found["p95"][0][0], found["p99"][0][0]) == (1.0, math.inf)

    def test_zero(self, kind, beside, spread):
        assert set(self.found([0.0] * 4, spread, beside, kind).values()) == {(0.0, -math.inf)}

    def test_half_zero(self, kind, beside, spread):
        found = self.found([0.0, 0.0, 1.0, 1.0], spread, beside, kind)
        top = spread * math.log10(2)
        assert found["p05"] == (0.0, -math.inf)
        assert found["max"][1] == pytest.approx(top, rel=1e-14)
        assert found["mean"][1] == found["p50"][1] == pytest.approx(top + math.log10(0.5), rel=1e-14)


@every_kind
def test_plain_numbers_where_they_fit_and_their_logarithms_where_not(kind):
    cases = [
        (1.5, 3, 12.0),
        (1.0, 1023, 2.0**1023),
        (1.0, 1024, math.inf),
        (1.0, -1074, 5e-324),
        (1.0, -1076, 0.0),
        (2.0**-1000, 1500, 2.0**500),
        (2.0**1000, -1999, 2.0**-999),
        (2.0**-1022, 2045, 2.0**1023),
        (0.0, 99_999, 0.0),
        (1.0, 99_999, math.inf),
        (1.0, -99_999, 0.0),
        (math.inf, -99_999, math.inf),
    ]
    value, exponent, expected = (np.array(column, dtype=float) for column in zip(*cases, strict=True))
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.asarray(plain(KINDS[kind](value), KINDS[kind](exponent)))
        np.testing.assert_array_equal(found, expected)
        logs = np.asarray(log10(KINDS[kind](value), KINDS[kind](exponent)))
        nan = np.array([math.nan])
        assert np.isnan(np.asarray(plain(KINDS[kind](nan), KINDS[kind](nan * 0 + 5))))
        assert np.isnan(np.asarray(log10(KINDS[kind](nan), KINDS[kind](np.array([5.0])))))
    exact_logs = [e * math.log10(2) + (math.log10(v) if v else -math.inf) for v, e, _ in cases]
    np.testing.assert_allclose(logs, exact_logs, rtol=1e-13)
