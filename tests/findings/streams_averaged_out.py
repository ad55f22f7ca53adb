"""Streams that become their average."""

from dataclasses import replace

import numpy as np
from sample_stacks import FREE, noise, projected, repeated, stack

from mhc_diag.records import Caps

EYE = np.eye(4)


def leaving(share, depth=24, **other):
    """So much of the differences between streams is left by every site."""
    return repeated(share * EYE + (1 - share) / 4, depth, **other)


def at_zero_input():
    """Logits that are 0 without an input, as in a fresh DeepSeek-V4 or Megatron-LM."""
    made = leaving(0.0, method="static")
    return replace(made, caps=Caps(np.ones(24), np.full(24, 4.0)))


def decayed(scale, depth=24):
    """Logits that weight decay has taken to nothing."""
    return projected(scale * noise(depth, 8, 4, 4))


def first_averages():
    """Nothing is lost where it happens: all streams enter alike."""
    matrices = leaving(0.97).matrices.copy()
    matrices[0] = 0.25
    return stack(matrices)


def random_products():
    """Logits of scale 1, independent at every site: the gain of an entry becomes 1/4."""
    return projected(noise(64, 8, 4, 4))


SAMPLES = {
    "1/n everywhere": lambda: leaving(0.0),
    "1/n to four digits, not promised": lambda: leaving(1e-4, promise=None),
    "unconstrained": lambda: leaving(1e-4, promise=FREE),
    "logits after weight decay": lambda: decayed(1e-3),
    "products of random doubly stochastic matrices": random_products,
    "at zero input": at_zero_input,
    "lucidrains' mHC at initialisation": lambda: leaving(0.3005),
    "Megatron-LM at initialisation": lambda: decayed(0.0141),
}
WARNINGS = {
    "products of random doubly stochastic matrices",
    "at zero input",
    "lucidrains' mHC at initialisation",
    "Megatron-LM at initialisation",
}
NEAR_MISSES = {
    "the typical site leaves more than half": lambda: leaving(0.51, depth=200),
    "lucidrains' mHC, shallow": lambda: leaving(0.3005, depth=12),
    "only the first site averages": first_averages,
}
