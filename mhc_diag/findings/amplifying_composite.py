"""The first measure of the mHC paper: how far a composite can amplify."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mhc_diag.records import Report
from mhc_diag.verdict import Level, Limit

ID = "MHC101"
TITLE = "composite gain above what the streams allow"
LEVELS: Mapping[str, Level] = {"mhc": "error", "hc": "error", "residual": "error"}
WHAT = """
The largest composite gain of any token, forward (row sums of what leads up to a site) or backward
(column sums of what follows it), is above its limit.
"""
WHY = """
Signals or gradients grow by that factor on the residual path alone. In a 27B model with
unconstrained mixing the gain peaked near 3,000, and its training became unstable; with doubly
stochastic mixing it stayed near 1.6. Doubly stochastic mixing of n streams cannot exceed n in
either direction, at any depth: a larger gain proves that matrices are not what they are meant to
be. Of unconstrained mixing 100 is the limit, between the 9 of small models that train well and the
3,000 of the one that did not.
"""
FIX = """
Project each matrix onto the doubly stochastic ones (Sinkhorn-Knopp, 20 iterations), or bound its
norm. The heat map of all composites (`--triangle`) shows between which sites the growth lies.
"""
REFERENCES = (
    "Xie et al., mHC: Manifold-Constrained Hyper-Connections, arXiv 2512.24880, section 3.1 and Fig. 3",
)
EXPLAINS = ("MHC103",)
ROUNDING = 1.01
"""What a Sinkhorn iteration that is cut off may add to the cap of n."""
UNCONSTRAINED = 100.0
ONE_STREAM = 10.0


def limits(profile: str, report: Report) -> Iterable[Limit]:
    """Both composite gains, of every token."""
    most = {"mhc": ROUNDING * report.streams, "hc": UNCONSTRAINED, "residual": ONE_STREAM}[profile]
    yield Limit("amax_forward", "prefix", "max", at_most=most)
    yield Limit("amax_backward", "suffix", "max", at_most=most)
