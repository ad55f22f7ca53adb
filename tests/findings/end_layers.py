"""A gain that comes from the ends."""

import numpy as np
from sample_stacks import FREE, shift, stack


def with_ends(first, last, middle=1.0, depth=20):
    """A gain of the first site, one of the last, and one of all between."""
    gains = np.full((depth, 1, 1), middle)
    gains[0], gains[-1] = first, last
    return stack(gains * shift(0.03), promise=FREE)


SAMPLES = {
    "the last": lambda: with_ends(1, 9.1, middle=1.01),
    "the first": lambda: with_ends(4, 1),
}
NEAR_MISSES = {
    "no more than 3": lambda: with_ends(2.9, 2.9, middle=0.95),
    "not 3 times as much as in the middle": lambda: with_ends(1, 3.1, middle=1.05),
    "too few sites": lambda: with_ends(1, 4, depth=9),
}
