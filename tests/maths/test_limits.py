"""The limit of Sinkhorn's iteration, by what defines it."""

import numpy as np
import pytest
import torch

from mhc_diag.maths.limits import limit, rate


def logits_of(scale, streams, count=200, seed=0):
    return scale * np.random.default_rng(seed).standard_normal((count, streams, streams))


def contrasts(logarithms):
    """L_ij - L_in - L_nj + L_nn, which no scaling of rows and columns changes."""
    last = logarithms[..., -1:, :]
    rows = logarithms - last
    return rows - rows[..., -1:]


def worst_sum(matrix):
    return max(abs(matrix.sum(axis=axis) - 1).max() for axis in (-1, -2))


@pytest.mark.parametrize("streams", [2, 3, 4, 8])
@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0, 20.0])
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_it_is_doubly_stochastic_and_a_scaling_of_the_exponentials(streams, scale, library):
    logits = logits_of(scale, streams)
    found = np.asarray(limit(torch.from_numpy(logits) if library == "torch" else logits))
    assert worst_sum(found) < 1e-14 * (streams + 10 * scale)
    np.testing.assert_allclose(contrasts(np.log(found)), contrasts(logits), atol=1e-11 * (1 + scale))


HARD = {
    "signs": 1e4 * np.sign(logits_of(1.0, 4, 2000)),
    "masks": np.where(logits_of(1.0, 4, 2000) > 0.3, -1e4, 0.0) + logits_of(1.0, 4, 2000, seed=1),
    "masks of 8": np.where(logits_of(1.0, 8) > -0.5, -1e4, 0.0) + logits_of(1.0, 8, seed=1),
    "wide": logits_of(1e4, 6),
    "heavy tails": 100 * np.random.default_rng(0).standard_cauchy((500, 5, 5)),
    "triangle": -1e4 * np.tri(5, k=-1)[None],
    "rank one": np.add.outer(1e3 * np.arange(4), -1e4 * np.arange(4))[None],
}


@pytest.mark.parametrize("name", HARD)
def test_it_converges_at_dead_logits(name):
    assert worst_sum(limit(HARD[name])) < 1e-8  # the rounding of 1e4 leaves some 1e-11


def test_what_adds_to_rows_and_columns_changes_nothing():
    logits = logits_of(1.0, 4)
    shifted = logits + logits_of(50.0, 4)[:, :1, :] + logits_of(50.0, 4)[:, :, 1:2]
    np.testing.assert_allclose(limit(shifted), limit(logits), atol=1e-12)


def test_nothing_of_a_single_stream_is_left_to_converge():
    assert limit(np.array([[3.0]])) == 1 and rate(np.array([[3.0]])) == 0
