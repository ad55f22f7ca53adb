"""Mixing that has saturated."""

import numpy as np
from sample_stacks import noise, projected, repeated, shift

ORDER = np.roll(np.eye(4), 1, axis=0)


def drawn(scale, temperature=1.0):
    return projected(scale * noise(24, 4, 4, 4) / temperature, iterations=100)


def masked():
    """Nobody reads stream 0 at stream 3, and the rest mixes as it would."""
    logits = 2 * np.eye(4) + 0.5 * noise(24, 4, 4, 4)
    logits[..., 3, 0] = -1e4
    return projected(logits, iterations=200)


def biased(bias):
    """So much on the diagonal, as in an identity-like start."""
    return projected(np.broadcast_to(bias * np.eye(4), (24, 4, 4)))


SAMPLES = {
    "temperature 0.05": lambda: drawn(1, 0.05),
    "tokenbender's mHC at initialisation": lambda: biased(8 / 0.05),
    "logits not known": lambda: repeated(ORDER),
}
NEAR_MISSES = {
    "temperature 1": lambda: drawn(3),
    "an identity-like start": lambda: biased(8),
    "one logit is masked": masked,
    "nearly a permutation": lambda: repeated(0.99 * ORDER + 0.01 * shift(0.5)),
}
