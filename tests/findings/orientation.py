"""The transpose of what was meant."""

from dataclasses import replace

import numpy as np
from sample_stacks import healthy, noise, projected

from mhc_diag.records import Exposed, Promise

APPLIED = Promise("doubly stochastic", "rows", 20, 1e-6, "layout deepseek", "transposed")


def drawn():
    return projected(1.5 * noise(8, 4, 4, 4, seed=1))


def swapped(stack):
    return replace(stack, matrices=np.swapaxes(stack.matrices, -1, -2))


def shown(*relations, position="output"):
    """Matrices that the module of site 0 shows."""
    made = tuple(Exposed(0, "layers.0.attn", f"{position} {k}", 0, r, 0.0) for k, r in enumerate(relations))
    return healthy(promise=APPLIED, exposed=made)


SAMPLES = {
    "the exact sums are on the other side": lambda: swapped(drawn()),
    "the matrix is applied as it is": lambda: shown("equal"),
}
NEAR_MISSES = {
    "the exact sums are where they belong": drawn,
    "converged on both sides": lambda: swapped(projected(0.5 * noise(8, 4, 4, 4))),
    "the transpose is applied": lambda: shown("transposed"),
    "both are shown": lambda: shown("equal", "transposed"),
    "as an argument, turned before": lambda: shown("equal", position="argument mixing"),
    "the sums prove that the transpose is applied": lambda: replace(
        drawn(), provenance=shown("equal").provenance
    ),
    "symmetric": lambda: shown("either"),
}
