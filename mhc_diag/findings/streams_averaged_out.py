"""Mixing that makes all streams alike, long before the end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from mhc_diag.findings import Evidence, seen
from mhc_diag.findings._middle import middle
from mhc_diag.findings._sites import at_zero_input
from mhc_diag.records import Report
from mhc_diag.verdict import Level, Place

ID = "MHC201"
TITLE = "streams averaged out"
LEVELS: Mapping[str, Level] = {"mhc": "error", "hc": "warn", "residual": "off"}
WHAT = """
Mixing makes the streams alike, sooner than the depth allows.

- An error: the typical site leaves a thousandth of the differences between the streams or less (the
  median over tokens, and then over sites, of `uniformity`). Its M is 1/n everywhere.
- A warning: the typical site leaves less than half of them, so that their half-life is below one site, and
  over the depth they halve 24 times or more, which float32 does not tell from nothing.

A static reading at zero input is a warning at most, since real inputs have other matrices.
"""
WHY = """
Streams that are alike are one stream, at n times the memory: what a branch writes to one of them is in
all of them at the next site, and no later site can read it apart. No gain shows it, as averaging keeps
every sum at 1. What it does show is entries of 1/4 in all composites, whose log10, -0.6, has been taken
for a sign of stability.

Products of doubly stochastic matrices tend to full averaging, so being averaged at depth is no error,
and published codes start there. At initialisation the typical site leaves, of 1: Megatron-LM 0.006,
transformers' DeepSeek-V4 0.09 with 32 channels, 0.3 with 512, 0.6 with 4,096 and 0.7 with 7,168,
lucidrains' mHC 0.3, tokenbender's 1. Logits of scale 1 to 4 that all sites share, as in trained models,
leave 0.3 to 0.8. A thousandth is a sixth of the least of these. It is reached where weight decay, or a
scale that is too small, has taken the logits to nothing.
"""
FIX = """
Give the logits more range: a larger scale, a bias on the diagonal, and no weight decay on either. With
a bias of 6 on the diagonal the streams of a fresh model keep apart for some 70 sites, with 4 for 10. If
the reading is one at zero input, scan again with `--samples 64` or with `--model`. In a fresh model of a
published code the warning says what that code does.
"""
REFERENCES = (
    "Xie et al., mHC: Manifold-Constrained Hyper-Connections, arXiv 2512.24880, section 4",
    "Seneta, Non-negative Matrices and Markov Chains, chapter 4: products tend to full averaging",
    "hyper-connections 0.4.11, Megatron-LM `HyperConnectionModule`, transformers 5.23 `deepseek_v4`",
)
COLLAPSED = 1e-3
HALF = 0.5
HALVINGS = 24
"""Bits of a float32's digits."""


def check(report: Report) -> Iterator[Evidence]:
    """What the typical site leaves, against one site and against the depth."""
    curve, depth = seen(report, "uniformity", "site", "p50"), len(report.sites)
    if curve is None or report.streams < 2:
        return
    left = float(middle(curve.value))
    log10 = math.log10(left) if left > 0 else -math.inf
    place = Place("uniformity", "site", "p50", left, log10)
    what = f"the typical site leaves {left:.2g} of the differences between streams"
    if left <= COLLAPSED:
        at_zero = at_zero_input(report)
        how = ", at zero input" if at_zero else ""
        yield Evidence(f"{what}{how}: all become their average", place, "warn" if at_zero else None)
    elif left < HALF and depth * -math.log2(left) >= HALVINGS:
        yield Evidence(f"{what}: about 1e{depth * log10:.0f} is left after all {depth}", place, "warn")
