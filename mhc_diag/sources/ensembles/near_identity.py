"""The identity and independent noise: the regime of trained Hyper-Connections (arXiv 2409.19606).

Formula: logits = I + scale * G, G of independent N(0, 1) entries.
The default scale is the one at which unconstrained mixing grows to a typical gain of 3000 in 60 sites, where
the 27B model of arXiv 2512.24880 (Fig. 3) peaks: 0.3661 for 4 streams.
"""

from __future__ import annotations

from mhc_diag.maths import theory
from mhc_diag.maths.namespace import identity_like
from mhc_diag.records import Array
from mhc_diag.sources.draws import Draw

TITLE = "identity and noise"
SCALE: float | None = None
NOISE: float | None = None

PAPER_GAIN, PAPER_DEPTH = 3000.0, 60


def default_scale(streams: int) -> float:
    """What grows to the paper's gain at the paper's depth."""
    return theory.near_identity_scale(streams, PAPER_GAIN, PAPER_DEPTH)


def logits(draw: Draw) -> Array:
    """I + scale * G (L, T, n, n)."""
    drawn = draw.normals()
    drawn *= draw.scale
    drawn += identity_like(drawn)
    return drawn


def exponent(streams: int, scale: float) -> float | None:
    """Top Lyapunov exponent."""
    return theory.near_identity_exponent(streams, scale)
