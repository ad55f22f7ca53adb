"""Samples of what a site reads, against streams drawn in full and normalised by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mhc_diag.sources.readings import Read
from mhc_diag.sources.readings.sampled import Sampled

TOKENS = 60_000
Floats = np.ndarray[Any, Any]

CASES = [  # blocks, streams, channels, rows: rows above and below the dimensions, one stream, one channel
    (1, 4, 8, 24),
    (1, 4, 3, 24),
    (1, 1, 16, 3),
    (1, 2, 1, 3),
    (4, 4, 6, 5),
    (4, 4, 3, 5),
    (4, 4, 40, 5),
    (2, 2, 1, 1),
]


def drawn_in_full(weight: Floats, blocks: int, n: int, channels: int, rho: float) -> Floats:
    """(T, B, R): normalise every block of the streams, then project."""
    rng = np.random.default_rng(17)
    streams = np.sqrt(1 - rho) * rng.standard_normal((TOKENS, n, channels))
    streams += np.sqrt(rho) * rng.standard_normal((TOKENS, 1, channels))
    parts = streams.reshape(TOKENS, blocks, -1)
    return parts / np.sqrt((parts**2).mean(axis=-1, keepdims=True)) @ weight.T


def assert_same_mean(one: Floats, other: Floats) -> None:
    """Within 5.5 standard errors at every entry."""
    error = np.sqrt(one.var(axis=0) / len(one) + other.var(axis=0) / len(other))
    assert (np.abs(one.mean(axis=0) - other.mean(axis=0)) <= 5.5 * error + 1e-9).all()


@pytest.mark.parametrize("rho", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(("blocks", "n", "channels", "rows"), CASES)
def test_has_the_moments_of_streams_drawn_in_full(
    blocks: int, n: int, channels: int, rows: int, rho: float
) -> None:
    weight = np.random.default_rng(3).standard_normal((rows, n * channels // blocks))
    weight /= np.linalg.norm(weight, axis=1, keepdims=True)
    sampled = Sampled(TOKENS, rho, seed=5).values(Read(weight, n, blocks), 2, "")
    full = drawn_in_full(weight, blocks, n, channels, rho)
    assert sampled.shape == full.shape
    a, b = sampled.reshape(TOKENS, -1), full.reshape(TOKENS, -1)
    assert_same_mean(a, b)
    assert_same_mean(a**4, b**4)
    products = np.random.default_rng(4).integers(0, a.shape[1], (40, 2)).T
    assert_same_mean(a[:, products[0]] * a[:, products[1]], b[:, products[0]] * b[:, products[1]])
    assert_same_mean(
        a[:, products[0]] ** 2 * a[:, products[1]] ** 2, b[:, products[0]] ** 2 * b[:, products[1]] ** 2
    )


@pytest.mark.parametrize("blocks", [1, 3])
def test_no_value_exceeds_its_reach(blocks: int) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 2 if blocks == 3 else 6))
    read = Read(weight, 3, blocks)
    values = Sampled(5000, 0.0, seed=1).values(read, 0, "")
    worst = np.abs(values).max(axis=0) / read.reach()
    assert worst.max() <= 1 + 1e-12
    assert worst.min() > 0.8, "with so few channels some sample comes close"


def test_sites_differ_and_a_site_does_not_depend_on_the_others() -> None:
    read = Read(np.eye(3, 8), 4, 1)
    reading = Sampled(10, seed=7)
    first = reading.values(read, 0, "")
    np.testing.assert_array_equal(first, Sampled(10, seed=7).values(read, 0, ""))
    assert np.abs(first - reading.values(read, 1, "")).min() > 0
    assert np.abs(first - Sampled(10, seed=8).values(read, 0, "")).min() > 0


def test_a_read_of_nothing_gives_nothing() -> None:
    values = Sampled(10, 0.5, seed=7).values(Read(np.zeros((3, 8)), 4, 1), 0, "")
    np.testing.assert_array_equal(values, np.zeros((10, 1, 3)))


@pytest.mark.parametrize("blocks", [1, 4])
@pytest.mark.parametrize("damage", [np.nan, np.inf, 1e200])
def test_a_damaged_direction_reads_no_number_and_leaves_the_others_alone(blocks: int, damage: float) -> None:
    weight = np.eye(3, 8)
    weight[1, 5] = damage
    values = Sampled(20_000, 0.3, seed=7).values(Read(weight, 4, blocks), 0, "")
    assert np.isnan(values[..., 1]).all()
    sound = Sampled(20_000, 0.3, seed=7).values(Read(np.eye(3, 8)[[0, 2]], 4, blocks), 0, "")
    np.testing.assert_allclose(values[..., [0, 2]].std(axis=0), sound.std(axis=0), rtol=0.05)
