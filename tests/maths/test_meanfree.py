"""The mean-free subspace."""

import numpy as np
import pytest

from mhc_diag.maths.meanfree import helmert, mean_free


@pytest.mark.parametrize("streams", [2, 3, 4, 9, 64])
def test_the_basis_is_orthonormal_and_mean_free(streams):
    basis = np.array(helmert(streams))
    np.testing.assert_allclose(basis @ basis.T, np.eye(streams - 1), atol=1e-14)
    np.testing.assert_allclose(basis.sum(axis=1), 0, atol=1e-14)


@pytest.mark.parametrize("streams", [2, 4, 8, 9, 20])  # at once up to 8, matrix by matrix beyond
def test_it_is_the_matrix_in_that_basis(streams):
    matrices = np.random.default_rng(0).standard_normal((2, 3, streams, streams))
    basis = np.array(helmert(streams))
    expected = [[basis @ m @ basis.T for m in row] for row in matrices]
    np.testing.assert_allclose(mean_free(matrices), expected, atol=1e-13)


@pytest.mark.parametrize("streams", [4, 9])
def test_a_nan_stays_with_its_matrix(streams):
    matrices = np.random.default_rng(0).standard_normal((3, streams, streams))
    matrices[1, 0, 1], matrices[2, 0, 0] = np.nan, np.inf
    found = mean_free(matrices)
    assert np.isfinite(found[0]).all() and np.isnan(found[1:]).all()
