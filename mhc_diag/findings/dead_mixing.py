"""Mixing that has saturated, so that no gradient reaches its parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from mhc_diag.findings import Evidence, seen
from mhc_diag.findings._sites import at_of, named
from mhc_diag.records import Report
from mhc_diag.verdict import Level, Place

ID = "MHC203"
TITLE = "dead or saturated mixing"
LEVELS: Mapping[str, Level] = {"mhc": "error", "hc": "warn", "residual": "off"}
WHAT = """
At half of the sites or more, for the typical token, one of two things holds.

- The logits are known, they are 30 or more apart (`log_nu`, the largest minus the smallest), and a row
  of M reads fewer than sqrt(n) streams (`row_entropy` below half of ln n).
- They are not known, and M is a permutation, other than the identity, to within 0.001.

One logit that is far below all others, as of an entry that is masked, is not dead mixing: its row still
reads the other streams.
"""
WHY = """
The gradient of a logit is in proportion to its entry of M. At a distance of 30 that entry is
e^-30 = 1e-13, below the rounding of float32 (6e-8), and the update is lost. Such mixing stays what it
is, whatever the loss says. A temperature of 0.05, the default of one published code, turns logits of 0
and -8 into 0 and -160 and mixing into the identity at initialisation. The logits of healthy models are
nearer: 0.05 apart in Megatron-LM at initialisation, 1 in lucidrains' mHC, 9 to 12 in DeepSeek-V4 with
4,096 to 7,168 channels, and 13 to 15 where they have a scale of 4.
"""
FIX = """
Bring the logits closer together: a higher temperature (1 instead of 0.05) or a lower scale. A start that
favours the identity needs no more than 8 on the diagonal, which gives entries of 0.999 and 0.0003.
"""
REFERENCES = (
    "tokenbender/mHC-manifold-constrained-hyper-connections issue 2: temperature 0.05",
    "NovaSky-AI/SkyRL issue 1008",
    "Franklin and Lorenz, On the scaling of multidimensional matrices, 1989: log(1 / nu)",
)
EXPLAINS = ("MHC202", "MHC301")
APART = 30.0
SATURATED = 0.5
"""Of ln n."""
PERMUTATION = 1e-3
MOST = 0.5
"""Share of the sites."""


def check(report: Report) -> Iterator[Evidence]:
    """Logits too far apart, or permutations."""
    if report.streams < 2:
        return
    yield from _by_logits(report) if seen(report, "log_nu", "site", "p50") else _by_matrix(report)


def _by_logits(report: Report) -> Iterator[Evidence]:
    import numpy as np

    apart, entropy = seen(report, "log_nu", "site", "p50"), seen(report, "row_entropy", "site", "p50")
    if apart is None or entropy is None:
        return
    dead = (apart.value >= APART) & (entropy.value <= SATURATED * math.log(report.streams))
    if np.mean(dead) < MOST:
        return
    site = int(np.argmax(np.where(dead, apart.value, -np.inf)))
    value = float(apart.value[site])
    place = Place("log_nu", "site", "p50", value, math.log10(value), site, report.sites[site].label)
    count = at_of(report, int(dead.sum()))
    yield Evidence(
        f"logits {APART:g} or more apart and mixing saturated {count}, {value:.3g} at {named(report, site)}",
        place,
    )


def _by_matrix(report: Report) -> Iterator[Evidence]:
    import numpy as np

    order, apart = (seen(report, f"{what}_distance", "site", "p50") for what in ("permutation", "identity"))
    if order is None or apart is None:
        return
    saturated = order.value <= PERMUTATION
    swapped = saturated & (apart.value > PERMUTATION)
    if np.mean(saturated) < MOST or not swapped.any():
        return
    site = int(np.argmax(swapped))
    place = Place("permutation_distance", "site", "p50", float(order.value[site]), None, site,
                  report.sites[site].label)  # fmt: skip
    count = at_of(report, int(saturated.sum()))
    yield Evidence(
        f"M is a permutation to within {PERMUTATION:g} {count}, as at {named(report, site)}", place
    )
