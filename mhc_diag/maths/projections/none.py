"""No constraint: the matrix is applied as it is, as in Hyper-Connections (arXiv 2409.19606).

Formula: M = logits; with a gate, as in the dynamic variant of that paper, M = I + gate * tanh(logits).
There the logits are a projection of the streams and the gate is a learned number that starts small, such as
0.01: every entry is within abs(gate) of the identity's, and row sums within n * abs(gate) of 1. Nothing else
bounds the gains of a composite.
"""

from __future__ import annotations

from mhc_diag.maths.namespace import identity_like, namespace
from mhc_diag.records import Array

TITLE = "unconstrained"
PARAMETERS: tuple[str, ...] = ()


def project(logits: Array, *, gate: float | None = None) -> Array:
    """The logits themselves (*B, n, n), or the identity and a gated, bounded part.

    Args:
        logits: (*B, n, n).
        gate: what multiplies the hyperbolic tangents; None for no gate and no tangents.

    Example:
        >>> import numpy as np
        >>> project(np.array([[1.0, -2.0], [0.0, 3.0]])).tolist()
        [[1.0, -2.0], [0.0, 3.0]]
        >>> project(np.array([[9e9, -9e9], [0.0, 0.0]]), gate=0.25).tolist()
        [[1.25, -0.25], [0.0, 1.0]]
    """
    if gate is None:
        return logits
    return identity_like(logits) + gate * namespace(logits).tanh(logits)


def violation(matrix: Array) -> Array:
    """Zero for every finite matrix, NaN for any other (*B).

    Example:
        >>> import numpy as np
        >>> float(violation(np.array([[5.0, -5.0], [0.0, 1.0]])))
        0.0
    """
    xp = namespace(matrix)
    return xp.sum(matrix * 0.0, axis=(-2, -1))
