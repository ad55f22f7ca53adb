"""The other side of the mHC paper's measure: composites through which little or nothing comes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mhc_diag.findings import seen
from mhc_diag.records import COMPOSITE, DIRECTIONS, Direction, Report
from mhc_diag.verdict import Level, Limit

ID = "MHC102"
TITLE = "composite lets hardly anything through"
LEVELS: Mapping[str, Level] = {"mhc": "error", "hc": "error", "residual": "error"}
WHAT = """
The composite gain, which is that of the stream with the largest gain, is below its limit: all streams
fade, forward (row sums of what leads up to a site) or backward (column sums of what follows it). Or, of
doubly stochastic mixing, a single stream fades: its row or column sum in a composite is below a
hundredth. Doubly stochastic mixing must hold for every token, other mixing for the typical one, since
its entries of both signs may cancel by chance.
"""
WHY = """
What fades on the residual path reaches no later layer, and no gradient comes back. The n column sums
of doubly stochastic mixing are 1 on average at any depth, and its row sums likewise, so that the
largest is never below 1: half of that proves that something takes away. An eps of 0.02 in the
denominators of Sinkhorn leaves 0.31 after 60 sites. A single stream has less of a floor, since what is
left of an unfinished Sinkhorn adds up where sites resemble each other: the mHC paper shows a column
sum of 0.41 over 30 sites, and of 400 simulated stacks of such sites up to 122 deep the lowest had
0.09. Unconstrained mixing may fade to the hundredth part, as it may grow to a hundred, and a residual
path of one stream to a tenth.
"""
FIX = """
Look at the site that is named and those before it for a factor below 1. Candidates are an eps in a
denominator that is too large, a gate or a scale that multiplies the streams, and a normalisation of
the wrong axis. Doubly stochastic mixing needs no such factor.
"""
REFERENCES = (
    "Xie et al., mHC: Manifold-Constrained Hyper-Connections, arXiv 2512.24880, Fig. 8",
    "tile-ai/TileOPs issue 172: an eps of 0.02",
)
EXPLAINS = ("MHC103",)
LEAST = {"mhc": 0.5, "hc": 0.01, "residual": 0.1}
LEAST_OF_A_STREAM = 0.01
OF_A_STREAM: dict[Direction, str] = {"forward": "amin_forward", "backward": "amin_backward"}


def limits(profile: str, report: Report) -> Iterable[Limit]:
    """Both composite gains; of a single stream where all together do not fade."""
    for direction in DIRECTIONS:
        gain, scope = COMPOSITE[direction]
        statistic = "min" if profile == "mhc" else "p50"
        yield Limit(gain, scope, statistic, at_least=LEAST[profile])
        curve = seen(report, gain, scope, "min")
        if profile == "mhc" and curve is not None and not (curve.value < LEAST[profile]).any():
            yield Limit(OF_A_STREAM[direction], scope, "min", at_least=LEAST_OF_A_STREAM)
