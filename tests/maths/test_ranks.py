"""Selected statistics are those that sorting gives, to the last bit, whatever the numbers are."""

import numpy as np
import pytest
import torch

from mhc_diag.maths import ranks, statistics


def same(value, exponent):
    value, exponent = np.asarray(value, dtype=float), np.asarray(exponent, dtype=float)
    found, expected = ranks.over_tokens(value, exponent), statistics.over_tokens(value, exponent)
    assert list(found) == list(expected)
    for name in expected:
        for a, b in zip(found[name], expected[name], strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


@pytest.mark.parametrize("tokens", [1, 2, 3, 20, 21, 100, 101, 1000])
@pytest.mark.parametrize("entries", [1, 10**6])
def test_plain_numbers(monkeypatch, tokens, entries):
    monkeypatch.setattr(ranks, "ENTRIES", entries)
    value = np.random.default_rng(tokens).exponential(size=(7, tokens))
    value[3] = np.round(value[3])  # ties, and 0
    value[4] *= 1e100
    value[5] *= 1e-100
    same(value, np.zeros((7, tokens)))


def test_numpy_itself_is_a_third_opinion():
    value = np.random.default_rng(0).exponential(size=(3, 257))
    found = ranks.over_tokens(value, np.zeros_like(value))
    for name, q in {"min": 0, "p01": 0.01, "p50": 0.5, "p99": 0.99, "max": 1}.items():
        np.testing.assert_allclose(found[name][0], np.quantile(value, q, axis=-1), rtol=1e-15)
    np.testing.assert_allclose(found["mean"][0], value.mean(axis=-1), rtol=1e-15)


@pytest.mark.parametrize("odd", [0.0, np.nan, np.inf, 1e-200, 1e200])
def test_rows_that_hold_something_odd(odd):
    value, exponent = np.random.default_rng(1).uniform(1, 2, (2, 4, 30))
    value[1, 5], exponent = odd, np.zeros((4, 30))
    with np.errstate(over="ignore", invalid="ignore"):  # as analyse has it
        same(value, exponent)
        exponent[2] = np.arange(-1500, 1500, 100)
        same(value, exponent)


def test_numbers_that_need_their_exponents():
    value = np.random.default_rng(3).uniform(1, 2, (4, 30))
    same(value, np.repeat([0.0, 5.0, -7.0, 2.0], 30).reshape(4, 30))


def test_torch_is_sorted_as_ever():
    value = np.random.default_rng(2).exponential(size=(3, 50))
    found = ranks.over_tokens(torch.from_numpy(value), torch.zeros(3, 50, dtype=torch.float64))
    for name, (numbers, _) in statistics.over_tokens(value, np.zeros((3, 50))).items():
        np.testing.assert_allclose(np.asarray(found[name][0]), numbers, rtol=1e-15)
