"""Random numbers: those of Philox with the key (seed, stack), whoever reads them and in whatever portions."""

import math

import numpy as np
import pytest

from mhc_diag.sources.draws import BLOCK, Draw


def philox(seed, stack, stretch=0):
    """A generator made the long way, from one 128-bit key and one 256-bit counter."""
    return np.random.Generator(np.random.Philox(key=seed + (stack << 64), counter=stretch << 192))


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
@pytest.mark.parametrize("stretch", [0, 1])
def test_a_stack_has_its_own_stream(seed, stretch):
    drawn = Draw(seed, range(3, 3 + 2 * BLOCK + 5), depth=5, streams=3).normals(stretch=stretch)
    assert drawn.shape == (5, 2 * BLOCK + 5, 3, 3) and drawn.flags.c_contiguous
    for place in range(drawn.shape[1]):
        expected = philox(seed, 3 + place, stretch).standard_normal((5, 3, 3))
        np.testing.assert_array_equal(drawn[:, place], expected)


@pytest.mark.parametrize("count", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_portions_change_no_number(count):
    together = Draw(1, range(3 * BLOCK), 4, 2).normals()
    portions = [
        Draw(1, range(start, min(start + count, 3 * BLOCK)), 4, 2).normals()
        for start in range(0, 3 * BLOCK, count)
    ]
    np.testing.assert_array_equal(np.concatenate(portions, axis=1), together)


def test_more_matrices_follow_the_first():
    draw = Draw(7, range(4), depth=5, streams=4)
    few, many = draw.normals(), draw.normals(9)
    np.testing.assert_array_equal(few, many[:5])
    assert np.unique(many).size == many.size
    assert not np.isin(many, draw.normals(9, stretch=1)).any()
    assert not np.isin(many, Draw(8, range(4), depth=9, streams=4).normals()).any()


def test_seeds_are_not_cut_off():
    one, other = (Draw(s, range(1), 1, 4).normals() for s in (2**63 - 1, 2**63 - 2))
    assert (one != other).all()


def test_normals_are_independent_of_each_other():
    noise = Draw(0, range(40), depth=500, streams=4).normals()
    count = noise.size
    assert abs(noise.mean()) < 4 / math.sqrt(count)
    assert abs((noise**2).mean() - 1) < 4 * math.sqrt(2 / count)
    assert abs((noise**4).mean() - 3) < 4 * math.sqrt(96 / count)
    stacks = noise.transpose(1, 0, 2, 3).reshape(40, -1)
    correlation = np.corrcoef(stacks) - np.eye(40)
    assert np.abs(correlation).max() < 5 / math.sqrt(stacks.shape[1])


def test_picks_are_equally_likely_and_their_stack_alone_decides():
    picks = Draw(3, range(200), depth=300, streams=4).picks(5)
    assert picks.shape == (300, 200) and picks.min() == 0 and picks.max() == 4
    counts = np.bincount(picks.ravel())
    assert (np.abs(counts - 12_000) < 5 * math.sqrt(12_000 * 0.8)).all()
    np.testing.assert_array_equal(picks[:, 150:], Draw(3, range(150, 200), 300, 4).picks(5))
    np.testing.assert_array_equal(picks[:, 9], philox(3, 9).integers(5, size=300))
    assert not Draw(3, range(4), 10, 4).picks(1).any()
