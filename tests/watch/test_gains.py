"""Gains on the device, against plain products in numpy."""

import numpy as np
import pytest
import torch

from mhc_diag.watch.gains import NAMES, log10_gains


def by_hand(matrices: np.ndarray) -> dict[str, float]:
    """Every composite as a product of its own."""
    depth, tokens = matrices.shape[:2]
    forward, backward = np.zeros((depth, tokens)), np.zeros((depth, tokens))
    apart, n = np.zeros((depth, tokens)), matrices.shape[-1]
    for token in range(tokens):
        for site in range(depth):
            prefix, suffix = np.eye(matrices.shape[-1]), np.eye(matrices.shape[-1])
            for m in matrices[: site + 1, token]:
                prefix = m @ prefix
            for m in matrices[site:, token]:
                suffix = m @ suffix
            forward[site, token] = np.abs(prefix.sum(1)).max()
            backward[site, token] = np.abs(suffix.sum(0)).max()
            apart[site, token] = np.linalg.norm(prefix - 1 / n) / np.sqrt(n - 1) if n > 1 else 0.0
    return {
        "forward_max": forward.max(),
        "forward_mean": forward.mean(1).max(),
        "backward_max": backward.max(),
        "backward_mean": backward.mean(1).max(),
        "site_forward_max": np.abs(matrices.sum(-1)).max(),
        "site_backward_max": np.abs(matrices.sum(-2)).max(),
        "forward_min": forward.min(),
        "backward_min": backward.min(),
        "uniformity_mean": apart.mean(1).min(),
    }


@pytest.mark.parametrize("depth", [1, 2, 3, 7, 8, 13])
@pytest.mark.parametrize("n", [1, 4])
def test_against_products(depth: int, n: int) -> None:
    matrices = np.random.default_rng(depth).standard_normal((depth, 5, n, n))
    found = 10 ** log10_gains(torch.from_numpy(matrices)).numpy()[:-1]
    expected = by_hand(matrices)
    np.testing.assert_allclose(found, [expected[name] for name in NAMES], rtol=1e-10)


def test_beyond_the_range_of_floats() -> None:
    doubling = torch.full((2000, 3, 1, 1), 2.0)
    assert log10_gains(doubling)[0].item() == pytest.approx(2000 * np.log10(2))
    assert log10_gains(1 / doubling)[1].item() == pytest.approx(np.log10(0.5))
    halving = torch.cat([1 / doubling, doubling])
    assert log10_gains(halving)[2].item() == pytest.approx(2000 * np.log10(2))
    assert log10_gains(torch.zeros(3, 2, 4, 4))[0].item() == -np.inf
    large = log10_gains(2 * torch.eye(4).repeat(2000, 1, 1, 1))[NAMES.index("uniformity_mean")]
    assert large.item() == pytest.approx(np.log10(np.linalg.norm(2 * np.eye(4) - 0.25) / np.sqrt(3)))
    gone = torch.full((2000, 1, 2, 2), 1e-9)  # of A = 0 only the average is off
    assert log10_gains(gone)[NAMES.index("uniformity_mean")].item() == pytest.approx(0, abs=1e-8)


def test_what_is_not_finite_is_counted_and_told() -> None:
    matrices = torch.eye(4).repeat(3, 5, 1, 1)
    matrices[1, 2, 0, 0] = torch.nan
    matrices[2, 4, 1, 1] = torch.inf
    found = log10_gains(matrices)
    assert found[-1] == 2 and found[0].isnan() and found[2].isnan()
