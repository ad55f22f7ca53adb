"""Sums that are all below 1."""

import numpy as np
from sample_stacks import noise, scaled, stack

from mhc_diag.maths.projections import sinkhorn
from mhc_diag.records import Promise


def with_eps(eps, side="rows", depth=24):
    """Sinkhorn with so much in its denominators."""
    logits = 6 * np.eye(4) + noise(depth, 3, 4, 4)
    made = sinkhorn.project(logits, iterations=20, eps=eps, last=side)
    return stack(made, logits, Promise("doubly stochastic", side, 20, eps, "a test"))


SAMPLES = {
    "eps 0.02": lambda: with_eps(0.02),
    "eps 0.02, columns last": lambda: with_eps(0.02, "columns"),
    "eps 0.003, deep": lambda: with_eps(0.003, depth=60),
    "nothing promised": lambda: scaled(1 / 1.01, promise=None),
}
WARNINGS = {"eps 0.003, deep"}
NEAR_MISSES = {
    "eps 1e-6": lambda: with_eps(1e-6),
    "eps 0.002": lambda: with_eps(0.002),
}
