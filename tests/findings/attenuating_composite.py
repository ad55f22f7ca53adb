"""Composites through which hardly anything comes."""

import numpy as np
from sample_stacks import FREE, repeated, scaled

from mhc_diag.records import Promise

PERMUTATIONS = Promise("doubly stochastic", "both", origin="a test")
"""With no eps that could take something off."""


def one_stream_fades(share, depth=184):
    """Stream 0 takes in a little of the others at every site, and nobody reads it."""
    matrix = np.eye(4)
    matrix[0] = [share, *[(1 - share) / 3] * 3]
    return repeated(matrix, depth)


SAMPLES = {
    "mHC, 0.31": lambda: scaled(1 / 1.05, promise=PERMUTATIONS),
    "HC, 0.007": lambda: scaled(0.81, promise=FREE),
    "one stream, 0.09": lambda: scaled(0.904, streams=1, promise=FREE),
    "one stream, 0.009, though all rows sum to 1": lambda: one_stream_fades(0.975),
    "nothing at all": lambda: repeated(np.zeros((4, 4))),
}
NEAR_MISSES = {
    "mHC, 0.55": lambda: scaled(0.9754, promise=PERMUTATIONS),
    "one stream, 0.011": lambda: one_stream_fades(0.976),
    "HC, 0.012": lambda: scaled(0.832, promise=FREE),
    "one stream, 0.11": lambda: scaled(0.912, streams=1, promise=FREE),
}
