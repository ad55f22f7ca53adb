"""Growth that is not large yet and will be: a rate, held against the depth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from mhc_diag.records import DIRECTIONS, Report
from mhc_diag.verdict import Level, Limit

ID = "MHC103"
TITLE = "growth rate above what the depth allows"
LEVELS: Mapping[str, Level] = {"mhc": "error", "hc": "warn", "residual": "warn"}
WHAT = """
Between the middle and the end of the stack the composite gain grows so fast that, at this rate, the
whole depth would amplify more than it may. The rate is in nats per site, the mean over the tokens, and
the limit is a logarithm over the number of sites: ln 2 / L of doubly stochastic mixing, ln 100 / L of
unconstrained mixing and ln 10 / L of one stream.
"""
WHY = """
A gain at the end says nothing of a deeper model, and a rate does: 0.13 nats per site, which look like
little, are the factor of 3,000 that the mHC paper saw after 60 sites, and 9 million after 120.
Composites of doubly stochastic matrices do not grow at all. Where Sinkhorn stops after 20 iterations
and all sites resemble each other the rate came to 0.14 / L at most in 800 simulated stacks, so a
doubling is far from what is healthy, and it is seen long before the gain reaches n. Elsewhere the rate
warns of what the gain itself has not broken.
"""
FIX = """
Look at the sums of single sites: a factor of 1.02 that all of them have is 3.3 after 60. The usual
causes are a projection that is skipped, a scale that is applied after it, or logits whose range grows
during training.
"""
REFERENCES = (
    "Xie et al., mHC: Manifold-Constrained Hyper-Connections, arXiv 2512.24880, Fig. 3",
    "Newman, The distribution of Lyapunov exponents, 1986: products of random matrices grow at a rate",
)
GAIN = {"mhc": 2.0, "hc": 100.0, "residual": 10.0}
"""What the rate may come to over the whole depth."""


def limits(profile: str, report: Report) -> Iterable[Limit]:
    """Both rates."""
    for direction in DIRECTIONS:
        most = math.log(GAIN[profile]) / max(len(report.sites), 1)
        yield Limit(f"growth_{direction}", "stack", "", at_most=float(f"{most:.3g}"))
