"""tokenbender's mHC at initialisation: logits so far apart that Sinkhorn gives the identity.

Formula: logits = (8 (I - 1) + scale * G) / 0.05, 1 the matrix of ones, G of independent N(0, 1) entries.
The parameters are 0 on the diagonal and -8 beside it, the temperature 0.05 divides them, and Sinkhorn of 0
and -160 is the identity to 69 digits. The mixing does not depend on the input and nothing in it is random:
the default scale is 0 and all stacks are alike. Another scale shows parameters that have moved by that much,
each independently. Unconstrained, these logits mean nothing: the code never applies them.
"""

from __future__ import annotations

from mhc_diag.maths.namespace import identity_like
from mhc_diag.records import Array
from mhc_diag.sources.draws import Draw

TITLE = "tokenbender's mHC at initialisation"
SCALE: float | None = 0.0
NOISE: float | None = None
OFF_DIAGONAL, TEMPERATURE = -8.0, 0.05
NOTE = "static parameters, nothing random at scale 0; the code applies them projected only"


def logits(draw: Draw) -> Array:
    """The parameters over the temperature (L, T, n, n)."""
    drawn = draw.normals()
    drawn *= draw.scale
    drawn += OFF_DIAGONAL * (1 - identity_like(drawn[0, 0]))
    drawn /= TEMPERATURE
    return drawn
