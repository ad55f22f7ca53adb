"""Composites through which hardly anything comes."""

import numpy as np
from sample_stacks import DEPTH, FREE, repeated, scaled, shift, stack

from mhc_diag.records import Promise

PERMUTATIONS = Promise("doubly stochastic", "both", origin="a test")
"""With no eps that could take something off."""


def one_stream_fades(factor):
    """Rows sum to 1 and entries are not negative, but what stream 0 holds is hardly ever read."""
    matrices = np.repeat(shift(0.03)[None], DEPTH, axis=0)
    matrices[:, :, 0] *= factor
    matrices /= matrices.sum(axis=-1, keepdims=True)
    return stack(matrices, promise=FREE)


SAMPLES = {
    "mHC, 0.31": lambda: scaled(1 / 1.05, promise=PERMUTATIONS),
    "HC, 0.007": lambda: scaled(0.81, promise=FREE),
    "one stream, 0.09": lambda: scaled(0.904, streams=1, promise=FREE),
    "nothing at all": lambda: repeated(np.zeros((4, 4))),
}
NEAR_MISSES = {
    "mHC, 0.55": lambda: scaled(0.9754, promise=PERMUTATIONS),
    "HC, 0.012": lambda: scaled(0.832, promise=FREE),
    "one stream, 0.11": lambda: scaled(0.912, streams=1, promise=FREE),
}
