"""The median, against numpy's."""

import numpy as np
import pytest

from mhc_diag.findings._middle import middle


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("odd", [None, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 4), (1, 7)])
def test_is_that_of_numpy(axis, odd, shape):
    values = np.random.default_rng(0).normal(size=shape)
    if odd is not None:
        values[0, 0] = odd
    with np.errstate(invalid="ignore"):
        expected = np.median(values, axis=axis)
    assert np.array_equal(middle(values, axis=axis), expected, equal_nan=True)


def test_of_nothing_there_is_none():
    assert np.isnan(middle(np.empty(0)))
