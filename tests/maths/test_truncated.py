"""How many iterations were done, at most: never fewer than were, and few where few were."""

import math

import numpy as np
import pytest
import torch

from mhc_diag.maths.projections import sinkhorn
from mhc_diag.maths.truncated import done_at_most


def logits(scale, streams=4, count=4000):
    return np.random.default_rng(0).normal(0, scale, (count, streams, streams))


@pytest.mark.parametrize("streams", [2, 4, 8])
@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("done", [1, 5, 20])
def test_it_is_hardly_ever_below_what_was_done(streams, scale, done):
    left = sinkhorn.project(logits(scale, streams), iterations=done)
    told = done_at_most(left)[np.abs(left.sum(-2) - 1).max(-1) > 1e-12]
    assert np.isnan(told).sum() == 0
    assert np.mean(told < 0.8 * done) < 0.01


@pytest.mark.parametrize(("done", "found"), [(1, 4.5), (3, 7.2), (10, 15)])
def test_it_is_not_far_above_it_where_streams_mix_well(done, found):
    told = done_at_most(sinkhorn.project(logits(2), iterations=done))
    assert np.median(told) == pytest.approx(found, rel=0.1)


def test_what_it_says_nothing_of():
    assert done_at_most(np.full((4, 4), 0.25)) == math.inf
    assert math.isnan(done_at_most(np.eye(4) - np.roll(np.eye(4), 1, 0)))
    assert math.isnan(done_at_most(np.ones((1, 1))))
    assert done_at_most(np.diag([1.0, 0.5])) == math.inf  # decoupled: it never converges, or never began


def test_torch_agrees_with_numpy():
    left = sinkhorn.project(logits(2, count=50), iterations=3)
    np.testing.assert_allclose(done_at_most(torch.from_numpy(left)).numpy(), done_at_most(left), rtol=1e-9)
