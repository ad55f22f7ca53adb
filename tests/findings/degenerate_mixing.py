"""Mixing of rank one."""

import numpy as np
from sample_stacks import FREE, repeated

ONES = np.ones((4, 4))


def column(index, rest=0.0):
    """Every stream becomes a copy of one, but for a little of its own."""
    matrix = rest * np.eye(4)
    matrix[:, index] += 1 - rest
    return matrix


SAMPLES = {
    "all ones, as hyper-connections 0.3.10": lambda: repeated(ONES, promise=FREE),
    "all ones where mHC is promised": lambda: repeated(ONES),
    "copies of one stream": lambda: repeated(column(2)),
    "a single row": lambda: repeated(column(2).T, promise=FREE),
}
NEAR_MISSES = {
    "copies but for a fiftieth": lambda: repeated(column(2, rest=0.02), promise=FREE),
    "mostly copies": lambda: repeated(0.5 * column(2, rest=0.5) + 0.5 * np.eye(4), promise=FREE),
}
