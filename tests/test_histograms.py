"""The distribution of the worst composite gains, against products formed token by token."""

import numpy as np
import pytest

from mhc_diag.analyse import analyse
from mhc_diag.histograms import counted
from mhc_diag.records import MixingStack, Provenance, Site

DEPTH, TOKENS = 5, 20_000
"""So many tokens that each site is a block of its own."""


def stack(matrices):
    sites = tuple(Site("", "", depth) for depth in range(len(matrices)))
    where = Provenance("a test", "simulated", "drawn", "direct", "stack", token_shape=(TOKENS,))
    return MixingStack("drawn", matrices, sites, where)


@pytest.fixture(scope="module")
def matrices():
    return np.eye(2) + 0.6 * np.random.default_rng(5).standard_normal((DEPTH, TOKENS, 2, 2))


def worst(matrices):
    """log10 of the largest composite gain of each token, forward and backward."""
    forward, backward = np.zeros((2, DEPTH, TOKENS))
    for end in range(DEPTH):
        prefix = suffix = np.broadcast_to(np.eye(2), matrices[0].shape)
        for site in range(end + 1):
            prefix = matrices[site] @ prefix
        for site in range(end, DEPTH):
            suffix = matrices[site] @ suffix
        forward[end] = abs(prefix.sum(axis=-1)).max(axis=-1)
        backward[end] = abs(suffix.sum(axis=-2)).max(axis=-1)
    return np.log10(forward).max(axis=0), np.log10(backward).max(axis=0)


@pytest.mark.parametrize("metrics", [("all",), ("paper",)])
def test_each_token_counts_once_in_the_bin_of_its_worst_gain(matrices, metrics):
    found = analyse(stack(matrices), metrics=metrics).histograms
    assert [(h.metric, h.scope) for h in found] == [("amax_forward", "prefix"), ("amax_backward", "suffix")]
    for histogram, gains in zip(found, worst(matrices), strict=True):
        edges = histogram.low + histogram.width * np.arange(len(histogram.counts) + 1)
        expected, _ = np.histogram(gains, edges)
        assert expected.sum() == TOKENS and histogram.counts[0] and histogram.counts[-1]
        np.testing.assert_array_equal(histogram.counts, expected)


def test_what_is_no_number_or_zero_is_counted_apart(matrices):
    broken = matrices.copy()
    broken[2, 7], broken[:, 8], broken[0, 9] = np.nan, 0.0, np.inf
    for histogram in analyse(stack(broken)).histograms:
        assert (histogram.nonfinite, histogram.zero) == (2, 1)
        assert sum(histogram.counts) == TOKENS - 3


def test_parts_are_put_side_by_side(matrices):
    whole = analyse(stack(matrices)).histograms
    parts = [stack(matrices[:, part]) for part in (slice(0, 1), slice(1, 12_345), slice(12_345, None))]
    assert analyse(parts).histograms == whole


def test_one_token_has_no_distribution(matrices):
    assert analyse(stack(matrices[:, :1])).histograms == ()


@pytest.mark.parametrize("span", [0.0, 1e-9, 0.02, 1.0, 3000.0])
def test_bins_are_round_few_and_hold_everything(span):
    histogram = counted("amax_forward", "prefix", np.linspace(-span / 3, span, 1001))
    assert sum(histogram.counts) == 1001 and len(histogram.counts) <= 40
    digit = f"{histogram.width:e}"[0]
    assert digit in "125" and histogram.width >= 0.001
    edges = np.array([histogram.low, histogram.low + histogram.width * len(histogram.counts)])
    assert edges[0] <= -span / 3 + 1e-8 and edges[1] >= span
    np.testing.assert_allclose(edges / histogram.width, np.round(edges / histogram.width), atol=1e-6)


def test_rounding_does_not_split_a_gain_of_one():
    gains = np.array([-1e-16, 0.0, 1e-16])
    assert counted("amax_forward", "prefix", gains).counts == (3,)
    assert counted("amax_forward", "prefix", np.full(3, np.nan)).counts == ()
