"""What is not doubly stochastic, and was promised to be."""

import numpy as np
from sample_stacks import noise, projected, shift, stack


def at_one_site(matrix):
    matrices = np.repeat(shift(0.03)[None], 24, axis=0)
    matrices[7] = matrix
    return stack(matrices)


def split_wrongly():
    """The first n entries are the weights of a branch, between 0 and 2."""
    made = projected(noise(24, 4, 4, 4)).matrices.copy()
    made[..., 0, :] = 2 / (1 + np.exp(-noise(24, 4, 4, seed=1)))
    return stack(made)


TURN = np.array([[0.6, -0.8, 0, 0], [0.8, 0.6, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
SAMPLES = {
    "the projection is split in another order": split_wrongly,
    "a rotation at one site": lambda: at_one_site(TURN),
    "neither side near 1": lambda: at_one_site(0.8 * shift(0.3)),
}
NEAR_MISSES = {
    "sums off by 5 % at one site": lambda: at_one_site(0.95 * shift(0.3)),
    "an entry of -0.05": lambda: at_one_site(1.05 * np.eye(4) - 0.05 * shift(1.0)),
}
