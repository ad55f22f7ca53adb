"""Constrained mixing of the `hyper-connections` package at initialisation (0.4.11, mHC and mHCv2).

Formula: logits = I + scale * G, G of independent N(0, 1) entries.
The ones on the diagonal are logits: for 4 streams Sinkhorn makes them 0.4754 and the zeros beside them
0.1749, which is far from the identity. The dynamic part is a projection of the streams times a factor that
starts at 0.01. The projection starts at 0, so a fresh model has --scale 0; the default shows what the factor
lets through once the projection has grown to entries of size 1. That size is an assumption.
"""

from __future__ import annotations

from mhc_diag.maths import theory
from mhc_diag.maths.namespace import identity_like
from mhc_diag.records import Array
from mhc_diag.sources.draws import Draw

TITLE = "hyper-connections (mHC) at initialisation"
SCALE: float | None = 0.01
NOISE: float | None = None
NOTE = "the dynamic part, 0 in a fresh model, is taken to be normal times the scale"


def logits(draw: Draw) -> Array:
    """I + scale * G (L, T, n, n)."""
    drawn = draw.normals()
    drawn *= draw.scale
    drawn += identity_like(drawn)
    return drawn


def exponent(streams: int, scale: float) -> float | None:
    """Top Lyapunov exponent of the logits, were they applied as they are."""
    return theory.near_identity_exponent(streams, scale)
