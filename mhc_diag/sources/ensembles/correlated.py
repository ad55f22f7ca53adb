"""Sites that resemble each other: the same mixing again and again, and a little noise.

Formula: logits_l = scale * S + noise * N_l; S is drawn once for a stack and N_l for every site, both of
independent N(0, 1) entries.
After finitely many Sinkhorn iterations one of the marginals is a little off. Independent sites average that
out over depth; sites that share their logits repeat it. With scale 4, noise 0.3, 20 iterations (rows last)
and 30 sites of 4 streams, the largest column sum of the composite has its 99th percentile over stacks at
1.56 and the smallest its first percentile at 0.42 (80,000 stacks; samples of 4,000 scatter about that with
standard deviations of 0.04 and 0.02). That is the spread of the composite of 30 sites in arXiv 2512.24880,
Fig. 8: 1.50 and 0.41. Independent sites of scale 4 give 1.05 and 0.94.
"""

from __future__ import annotations

from mhc_diag.records import Array
from mhc_diag.sources.draws import Draw

TITLE = "shared by all sites, and noise"
SCALE: float | None = 4.0
NOISE: float | None = 0.3


def logits(draw: Draw) -> Array:
    """What is shared, and the noise of each site (L, T, n, n)."""
    drawn = draw.normals()
    drawn *= draw.noise
    shared = draw.normals(1, stretch=1)
    shared *= draw.scale
    drawn += shared
    return drawn
