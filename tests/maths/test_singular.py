"""Singular values by sweeps over planes, against LAPACK."""

import numpy as np
import pytest
import torch

from mhc_diag.maths import singular
from mhc_diag.maths.singular import singular_values

COUNT = 700  # enough for sweeps instead of LAPACK


def gaussian(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def orthogonal(n):
    return np.linalg.qr(gaussian(COUNT, n, n, seed=9))[0]


def with_values(*values):
    return orthogonal(len(values)) * np.array(values) @ orthogonal(len(values)).swapaxes(1, 2)[::-1]


def product_of(sites):
    made = gaussian(COUNT, 4, 4)
    for seed in range(1, sites):
        made = gaussian(COUNT, 4, 4, seed=seed) @ made
        made /= abs(made).max(axis=(1, 2), keepdims=True)
    return made


EYE, MIXED = np.eye(4), np.full((4, 4), 0.25)
FAMILIES = {
    "2 x 2": gaussian(COUNT, 2, 2),
    "3 x 3": gaussian(COUNT, 3, 3),
    "4 x 4": gaussian(COUNT, 4, 4),
    "5 x 5": gaussian(COUNT, 5, 5),
    "6 x 6": gaussian(COUNT, 6, 6),
    "1 x 1": gaussian(COUNT, 1, 1),
    "3 x 5": gaussian(COUNT, 3, 5),
    "9 x 2": gaussian(COUNT, 9, 2),
    "identity": np.tile(EYE, (COUNT, 1, 1)),
    "shift": np.tile(np.roll(EYE, 1, axis=0), (COUNT, 1, 1)),
    "full mixing": np.tile(MIXED, (COUNT, 1, 1)),
    "zeros": np.zeros((COUNT, 4, 4)),
    "some zeros": gaussian(COUNT, 4, 4) * (np.arange(COUNT) % 2)[:, None, None],
    "nearly the identity": EYE + 1e-9 * gaussian(COUNT, 4, 4),
    "two pairs": with_values(3.0, 3.0, 1.0, 1.0) + 1e-8 * gaussian(COUNT, 4, 4),
    "of rank two": gaussian(COUNT, 4, 2) @ gaussian(COUNT, 2, 4, seed=1),
    "of all sizes": with_values(1.0, 1e-5, 1e-10, 1e-15),
    "steep rows": gaussian(COUNT, 4, 4) * np.array([1e-12, 1.0, 1e-4, 1e8])[:, None],
    "steep columns": gaussian(COUNT, 4, 4) * np.array([1e-12, 1.0, 1e-4, 1e8]),
    "deep": product_of(40),
    "huge": 1e200 * gaussian(COUNT, 4, 4),
    "tiny": 1e-200 * gaussian(COUNT, 4, 4),
    "whole numbers": np.round(gaussian(COUNT, 4, 4)),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_as_exact_as_lapack(family, library):
    matrices = FAMILIES[family]
    expected = np.linalg.svdvals(matrices)
    given = torch.from_numpy(matrices) if library == "torch" else matrices
    found = np.asarray(singular_values(given))
    assert found.shape == expected.shape
    assert (abs(found - expected) <= 1e-14 * expected[:, :1]).all()
    assert (np.diff(found, axis=-1) <= 0).all()


def test_the_sweeps_are_what_was_tested(monkeypatch):
    monkeypatch.setattr(singular, "_lapack", None)
    singular_values(FAMILIES["4 x 4"])
    with pytest.raises(TypeError):
        singular_values(FAMILIES["4 x 4"][:10])


@pytest.mark.parametrize("family", FAMILIES)
def test_what_else_is_in_a_block_changes_no_bit(family):
    alone = singular_values(FAMILIES[family])
    shape = FAMILIES[family].shape
    others = [gaussian(*shape, seed=5), np.zeros(shape), 1e300 * np.ones(shape), np.full(shape, np.nan)]
    together = singular_values(np.concatenate([FAMILIES[family], *others]))
    assert (together[:COUNT] == alone).all()
    assert np.isnan(together[-COUNT:]).all()


@pytest.mark.parametrize("count", [3, COUNT])
def test_single_precision_is_exact_to_its_rounding(count):
    matrices = FAMILIES["4 x 4"][:count].astype(np.float32)
    found = singular_values(matrices)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.linalg.svdvals(matrices.astype(np.float64)), atol=3e-6)


def test_a_gradient_passes_through_large_batches():
    given = torch.from_numpy(gaussian(COUNT, 4, 4)).requires_grad_()
    singular_values(given)[:, 0].sum().backward()
    u, _, v = np.linalg.svd(given.detach().numpy())
    np.testing.assert_allclose(given.grad, u[:, :, :1] * v[:, :1, :], atol=1e-12)
