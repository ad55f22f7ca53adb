"""Near the identity in the middle, strong at both ends: the shape of arXiv 2512.24880, Fig. 3, for HC.

Formula: logits_l = I + scale * (MIDDLE * G - DECAY * I + end_l * (G + SKEW * r 1^T)), with G of independent
N(0, 1) entries, r_i the mean of row i of G, and for site l = 0 .. L-1
end_l = FIRST * exp(-(l / L) / FIRST_WIDTH) + LAST * exp(-((L - 1 - l) / L) / LAST_WIDTH).

FIRST and LAST say how strong the ends are, and the widths, as parts of the depth, how far that reaches. SKEW
makes each row of the end sites move as one, so that row sums there exceed column sums. DECAY lets the middle
shrink what passes it; without that the backward curve would not fall again.
The constants were fitted by hand to figures that had been read off the picture. Medians over four samples of
1,000 stacks (unconstrained, scale 1, 60 sites, 4 streams), and in brackets what the picture shows: single
sites, forward/backward, 18/9 first (18/7) and 22/11 last (22/12); between sites 9 and 45, 90 % of forward
gains lie in 0.81 .. 1.74 (0.7 .. 1.7). Backward composite: 1600 at site 45, 2300 at 48, its peak of 2900 at
52 (near 3000 at 45 .. 52), 260 at site 1 (250). Forward composite at site 60: 500 (500). One sample's
composites differ by up to 20 %.
Not fitted: the composites elsewhere, other depths, where the same profile is stretched and the gains are
others, and what Sinkhorn makes of it: about 1.05 at most, since sites are independent.
"""

from __future__ import annotations

from mhc_diag.maths.namespace import identity_like
from mhc_diag.records import Array
from mhc_diag.sources.draws import Draw

TITLE = "the paper's profile over depth"
SCALE: float | None = 1.0
NOISE: float | None = None

MIDDLE, DECAY = 0.2, 0.16
FIRST, FIRST_WIDTH = 2.1, 0.015
LAST, LAST_WIDTH = 2.5, 0.045
SKEW = 2.0


def logits(draw: Draw) -> Array:
    """The identity and the profile (L, T, n, n)."""
    drawn = draw.normals()
    end = ends(draw.depth)
    skewed = drawn.mean(axis=-1, keepdims=True)
    skewed *= draw.scale * SKEW * end
    drawn *= draw.scale * (MIDDLE + end)
    drawn += skewed
    drawn += (1 - draw.scale * DECAY) * identity_like(drawn[0, 0])
    return drawn


def ends(depth: int) -> Array:
    """How strong each site is beyond the middle's strength: (L, 1, 1, 1)."""
    import numpy as np

    site = np.arange(depth)[:, None, None, None]
    first = FIRST * np.exp(-site / depth / FIRST_WIDTH)
    return first + LAST * np.exp(-(depth - 1 - site) / depth / LAST_WIDTH)
