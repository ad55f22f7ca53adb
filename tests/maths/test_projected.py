"""From logits to gains in parts: the numbers of doing it whole, with little memory."""

import tracemalloc

import numpy as np
import pytest
import torch

from mhc_diag.maths import blocks, projected, statistics, sweeps
from mhc_diag.maths.projections import none, sinkhorn, softmax_rows

KINDS = {"numpy": np.asarray, "torch": torch.from_numpy}


def logits(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("matrices", [1, 100, 10**9])
@pytest.mark.parametrize("project", [sinkhorn.project, none.project, softmax_rows.project])
@pytest.mark.parametrize("scale", [1.0, 1e60])
def test_parts_are_the_whole(monkeypatch, kind, matrices, project, scale):
    x = KINDS[kind](logits(20, 37, 3, 3))

    def scaled(y):
        return project(y) * scale

    whole = sweeps.composite_gains(scaled(x))
    monkeypatch.setattr(projected, "LEAST_MATRICES", matrices)
    monkeypatch.setattr(projected, "MATRICES", matrices)
    monkeypatch.setattr(blocks, "cores", lambda: 2)
    found = projected.composite_gains(x, scaled)
    assert scale == 1 or any(np.asarray(exponent).any() for _, exponent in whole.values())
    for direction, pair in whole.items():
        for a, b in zip(found[direction], pair, strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_statistics_are_those_of_the_gains():
    x = logits(5, 300, 4, 4)
    found = projected.composite_statistics(x, sinkhorn.project)
    for direction, gains in sweeps.composite_gains(sinkhorn.project(x)).items():
        for name, pair in statistics.over_tokens(*gains).items():
            for a, b in zip(found[direction][name], pair, strict=True):
                np.testing.assert_array_equal(a, b)


def test_the_matrices_are_never_whole_in_memory(monkeypatch):
    monkeypatch.setattr(projected, "MATRICES", 16_000)
    monkeypatch.setattr(blocks, "cores", lambda: 2)
    x = logits(64, 4000, 4, 4)
    tracemalloc.start()
    try:
        projected.composite_gains(x, sinkhorn.project)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    gains = 2 * 2 * 8 * x.shape[0] * x.shape[1]  # value and exponent, both directions
    assert peak - gains < x.nbytes / 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("entries", [1, 60, 200, 10**9])
@pytest.mark.parametrize("matrices", [1, 10**9])
@pytest.mark.parametrize("scale", [2, 60])
def test_a_dial_is_a_run_for_each_count(monkeypatch, kind, entries, matrices, scale):
    """Also where without iterations the gains leave float64."""
    monkeypatch.setattr(sweeps, "ENTRIES", entries)
    monkeypatch.setattr(projected, "MATRICES", matrices)
    monkeypatch.setattr(blocks, "cores", lambda: 2)
    x = KINDS[kind](scale * logits(12, 5, 3, 3))
    options = {"last": "columns"}
    made = projected.dial(x, (20, 0, 3, 7, 3, 1), **options)
    assert list(made) == [0, 1, 3, 7, 20]
    for count, gains in made.items():
        expected = sweeps.composite_gains(sinkhorn.project(x, iterations=count, **options))
        for direction, pair in expected.items():
            for a, b in zip(gains[direction], pair, strict=True):
                np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
