"""Mixing that is the identity at every site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mhc_diag.findings import Evidence, seen
from mhc_diag.records import Report
from mhc_diag.verdict import Level, Place

ID = "MHC202"
TITLE = "streams never mix"
LEVELS: Mapping[str, Level] = {"mhc": "warn", "hc": "warn", "residual": "off"}
WHAT = """
The mixing of every site and of every token is within 0.01 of the identity, in the Frobenius norm, and so
is that of all sites together. It is a warning at most, and none where the layout of the parameters says
that there is no mixing.
"""
WHY = """
4 streams that never mix take 4 times the memory of one, and all they can exchange has to go through the
branches.

Stable it is, and often on purpose. Hyper-Connections start as the identity and have to learn otherwise;
HY-V4 and Qwen4-Exp have no mixing by design. In a model that has been trained it is a sign that mixing
is computed and not applied (hyper-connections up to 0.3.9), or that it gets no gradient.
"""
FIX = """
See whether the mixing parameters have moved from their start, and whether their result is applied. In a
fresh model, or in a layout without mixing, nothing is wrong: set the level of MHC202 to off.
"""
REFERENCES = (
    "Zhu et al., Hyper-Connections, arXiv 2409.19606, section 2.3: initialisation",
    "lucidrains/hyper-connections issue 8, tokenbender/mHC issue 3: computed and not applied",
)
NEAR = 0.01
"""A coupling of 1 % over the whole depth."""


def check(report: Report) -> Iterator[Evidence]:
    """How far the sites and their product are from the identity."""
    import numpy as np

    promise = report.provenance.promise
    single = seen(report, "identity_distance", "site", "max")
    product = seen(report, "identity_distance", "prefix", "max")
    if report.streams < 2 or single is None or product is None:
        return
    if promise is not None and promise.manifold == "identity":
        return
    worst = float(np.max(single.value))
    if worst <= NEAR and float(product.value[-1]) <= NEAR:
        how = f"to within {worst:.1e}" if worst else "exactly"
        yield Evidence(
            f"M is the identity {how} at all {len(report.sites)} sites",
            Place("identity_distance", "site", "max", worst, None, int(np.argmax(single.value))),
        )
