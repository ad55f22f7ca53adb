"""The paper's profile: the medians that its docstring states, beside what the figure shows."""

import numpy as np
import pytest

from mhc_diag.sources.draws import Draw
from mhc_diag.sources.ensembles import paper

DEPTH = 60


@pytest.fixture(scope="module")
def stacks():
    return paper.logits(Draw(seed=0, stacks=range(1000), depth=DEPTH, streams=4))


def largest(vectors):
    return np.median(np.abs(vectors).max(axis=-1), axis=-1)


@pytest.fixture(scope="module")
def forward(stacks):
    """Median largest row sum of the sites 1 .. l, by vectors."""
    carried, gains = np.ones((1000, 4)), []
    for site in stacks:
        carried = np.einsum("kij,kj->ki", site, carried)
        gains.append(largest(carried))
    return np.array(gains)


@pytest.fixture(scope="module")
def backward(stacks):
    """Median largest column sum of the sites l .. L, by vectors."""
    carried, gains = np.ones((1000, 4)), []
    for site in stacks[::-1]:
        carried = np.einsum("ki,kij->kj", carried, site)
        gains.append(largest(carried))
    return np.array(gains[::-1])


def test_single_sites(stacks):
    rows, columns = largest(stacks.sum(axis=-1)), largest(stacks.sum(axis=-2))
    assert abs(rows[0] - 18) < 2 and 6 < columns[0] < 10
    assert abs(rows[-1] - 22) < 2 and abs(columns[-1] - 12) < 2
    middle = np.abs(stacks[8:45].sum(axis=-1)).max(axis=-1)
    assert np.quantile(middle, 0.05) > 0.7 and np.quantile(middle, 0.95) < 1.8


def test_the_backward_curve_rises_behind_the_middle_and_falls_to_the_start(backward):
    assert abs(backward.max() - 3000) < 450
    assert 45 <= 1 + backward.argmax() <= 53
    assert (backward[44:52] > 1400).all()
    assert abs(backward[0] - 250) < 75
    assert (np.diff(np.log(backward[5:44].reshape(13, 3).mean(axis=1))) > 0).all(), "steadily, in between"


def test_the_forward_curve_ends_where_the_figure_does(forward):
    assert abs(forward[-1] - 500) < 120
    assert forward[:-4].max() < 100, "the blow-up comes from the end layers"


def test_the_profile_is_stretched_to_other_depths():
    short, long = paper.ends(60), paper.ends(600)
    assert short.shape == (60, 1, 1, 1)
    np.testing.assert_allclose(long[::10], short, rtol=0.35)
    for ends in (short.ravel(), long.ravel()):
        assert ends[[0, -1]] == pytest.approx([2.1, 2.5], abs=1e-8)
        assert ends[len(ends) // 2] < 1e-3
