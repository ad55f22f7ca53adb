"""DeepSeek-V4's mixing as Hugging Face transformers initialises it (`deepseek_v4` and `glm5_next`, 5.23).

Formula: logits = scale * G, G of independent N(0, 1) entries; scale = 0.02 * sqrt(n * C).
The code has logits = fn x + base with base 0, factor 1, entries of fn from N(0, 0.02^2), and x the n streams
of C channels side by side, divided by their root mean square. So the sum of x^2 is n * C, and whatever the
streams are, the logits of a site are exactly such numbers, independent of those of every other site. A stack
is one token of one freshly initialised model.
C is taken to be 4096, the default of the configuration, which for 4 streams gives a scale of 2.56: far from
uniform mixing. A narrow model starts near it: C = 32 is --scale 0.226. The code's own Sinkhorn differs from
the paper's in its eps and in the order of the axes.
"""

from __future__ import annotations

import math

from mhc_diag.maths import theory
from mhc_diag.records import Array
from mhc_diag.sources.draws import Draw

TITLE = "DeepSeek-V4 at initialisation"
SCALE: float | None = None
NOISE: float | None = None
CHANNELS, WEIGHT = 4096, 0.02
NOTE = f"the scale is that of streams of {CHANNELS} channels unless --scale was given"


def default_scale(streams: int) -> float:
    """Standard deviation of the logits."""
    return WEIGHT * math.sqrt(streams * CHANNELS)


def logits(draw: Draw) -> Array:
    """The scaled normal numbers (L, T, n, n)."""
    drawn = draw.normals()
    drawn *= draw.scale
    return drawn


def exponent(streams: int, scale: float) -> float | None:
    """Top Lyapunov exponent of the logits, were they applied as they are."""
    return theory.gaussian_exponent(streams, scale) if scale > 0 else None
