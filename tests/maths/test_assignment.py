"""Cheapest assignments, against all permutations and against costs whose optimum was put there."""

import itertools

import numpy as np
import pytest
import torch

from mhc_diag.maths.assignment import assign, cheapest

RNG = np.random.default_rng(0)


def brute(costs):
    n = costs.shape[-1]
    orders = itertools.permutations(range(n))
    return np.min([costs[:, range(n), order].sum(axis=1) for order in orders], axis=0)


def total(costs, columns):
    assert (np.sort(columns, axis=1) == np.arange(costs.shape[-1])).all()
    return np.take_along_axis(costs, columns[:, :, None], axis=2).sum(axis=(1, 2))


@pytest.mark.parametrize("streams", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("kind", ["any", "ties", "negative"])
def test_no_permutation_is_cheaper(streams, kind):
    costs = RNG.random((60, streams, streams))
    costs = {"any": costs, "ties": np.round(3 * costs), "negative": -5 * costs}[kind]
    np.testing.assert_allclose(total(costs, assign(costs)), brute(costs), rtol=1e-13)
    np.testing.assert_allclose(cheapest(np.moveaxis(costs, 0, -1)), brute(costs), rtol=1e-13)


@pytest.mark.parametrize("streams", [9, 16, 64])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_finds_an_optimum_that_was_put_there(streams, library):
    """Costs r_i + c_j + something that is 0 on one permutation and above 0 elsewhere."""
    rows, columns = RNG.standard_normal((2, 20, streams))
    extra = RNG.random((20, streams, streams)) ** 4
    hidden = RNG.permuted(np.tile(np.arange(streams), (20, 1)), axis=1)
    np.put_along_axis(extra, hidden[:, :, None], 0.0, axis=2)
    costs = np.moveaxis(rows[:, :, None] + columns[:, None, :] + extra, 0, -1)
    given = torch.from_numpy(costs) if library == "torch" else costs
    found = np.asarray(cheapest(given))
    np.testing.assert_allclose(found, rows.sum(axis=1) + columns.sum(axis=1), rtol=1e-10, atol=1e-12)
