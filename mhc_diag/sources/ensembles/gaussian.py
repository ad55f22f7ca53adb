"""Independent normal logits: the only ensemble whose growth is an exact sum at every depth (Newman 1986).

Formula: logits = scale * G, G of independent N(0, 1) entries.
"""

from __future__ import annotations

from mhc_diag.maths import theory
from mhc_diag.records import Array
from mhc_diag.sources.draws import Draw

TITLE = "independent normal"
SCALE: float | None = 1.0
NOISE: float | None = None


def logits(draw: Draw) -> Array:
    """The scaled normal numbers (L, T, n, n)."""
    drawn = draw.normals()
    drawn *= draw.scale
    return drawn


def exponent(streams: int, scale: float) -> float | None:
    """Top Lyapunov exponent; nothing grows or shrinks at a definite rate without logits."""
    return theory.gaussian_exponent(streams, scale) if scale > 0 else None


def spectrum(streams: int, scale: float) -> tuple[float, ...]:
    """All Lyapunov exponents, the largest first; none without logits."""
    return theory.gaussian_spectrum(streams, scale) if scale > 0 else ()
