"""Unconstrained Hyper-Connections at initialisation (arXiv 2409.19606; HC in package `hyper-connections`).

Formula: logits = I + scale * tanh(G), G of independent N(0, 1) entries.
The static part is the identity. The dynamic part is the hyperbolic tangent of a projection of the streams,
times a factor that starts at 0.01, so no entry is further than that from the identity's. The projection
starts at 0, so a fresh model has --scale 0 and no mixing at all; the default shows what the factor lets
through once the projection has grown to entries of size 1. That size is an assumption.
"""

from __future__ import annotations

from mhc_diag.maths.projections import none
from mhc_diag.records import Array
from mhc_diag.sources.draws import Draw

TITLE = "hyper-connections (HC) at initialisation"
SCALE: float | None = 0.01
NOISE: float | None = None
NOTE = "the dynamic part, 0 in a fresh model, is taken to be the tanh of a normal number times the scale"


def logits(draw: Draw) -> Array:
    """I + scale * tanh(G) (L, T, n, n)."""
    return none.project(draw.normals(), gate=draw.scale)
