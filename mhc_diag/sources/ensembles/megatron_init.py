"""Megatron-LM's mixing at initialisation (`HyperConnectionModule`): about uniform, 1/n everywhere.

Formula: logits = scale * G, G of independent N(0, 1) entries; scale = 0.01 * sqrt(2) = 0.0141.
The code has logits = alpha W x with alpha = 0.01, bias 0, and x the n streams of C channels side by side,
divided by their root mean square. W is uniform after Xavier with variance 2 / (n C + n^2 + 2 n), so the
logits have variance 2 alpha^2 / (1 + (n + 2) / C). Taken here: C much larger than n, and a normal law
instead of a sum of n * C uniform terms. A stack is one token of one freshly initialised model.
"""

from __future__ import annotations

import math

from mhc_diag.maths import theory
from mhc_diag.records import Array
from mhc_diag.sources.draws import Draw

TITLE = "Megatron-LM at initialisation"
SCALE: float | None = 0.01 * math.sqrt(2)
NOISE: float | None = None


def logits(draw: Draw) -> Array:
    """The scaled normal numbers (L, T, n, n)."""
    drawn = draw.normals()
    drawn *= draw.scale
    return drawn


def exponent(streams: int, scale: float) -> float | None:
    """Top Lyapunov exponent of the logits, were they applied as they are."""
    return theory.gaussian_exponent(streams, scale) if scale > 0 else None
