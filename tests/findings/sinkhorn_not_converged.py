"""Sinkhorn that was cut off."""

import numpy as np
from sample_stacks import noise, projected

from mhc_diag.records import Promise


def drawn(scale, done, promised=20, tokens=4, seed=1):
    """Logits of independent sites, on which fewer iterations were done than promised."""
    logits = scale * noise(8, tokens, 4, 4, seed=seed)
    return projected(logits, done, promise=Promise("doubly stochastic", "rows", promised, 0.0, "a test"))


def without_logits(stack):
    return stack.__class__(**{name: getattr(stack, name) for name in stack.__slots__ if name != "logits"})


def one_hard_token():
    """A token of nearly decoupled streams among others that converge."""
    logits = 0.5 * noise(8, 9, 4, 4, seed=2)
    logits[3, 4] = 8 * np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 1.6, 0, 1]])
    return projected(logits)


SAMPLES = {
    "2 iterations of 20": lambda: drawn(2, 2),
    "10 of 20, logits not known": lambda: without_logits(drawn(2, 10)),
    "3 promised and done, far too few": lambda: drawn(3, 3, promised=3),
}
NEAR_MISSES = {
    "20 of 20": lambda: drawn(2, 20),
    "10 of 10": lambda: drawn(1, 10, promised=10),
    "20 of 20, logits not known": lambda: without_logits(drawn(2, 20)),
}
