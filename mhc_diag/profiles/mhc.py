"""Manifold-Constrained Hyper-Connections (arXiv 2512.24880): doubly stochastic mixing, or meant to be.

Taken where the layout or the simulation promises it, and otherwise where most sites are near: no negative
entry, as their gains and norms agree, and sums of rows and columns within a tenth of 1.
"""

from __future__ import annotations

import contextlib

import numpy as np

from mhc_diag.records import Report

TITLE = "mHC, doubly stochastic mixing"
PLACE = 1
NEAR = 0.1
"""From 1 at most, the median over tokens of the sum furthest from it."""
MOST = 0.75
"""Share of the sites that must be near."""


def fits(report: Report) -> bool:
    """Whether most of the mixing is doubly stochastic, or was promised to be."""
    promise = report.provenance.promise
    if promise is not None and promise.manifold:
        return promise.manifold == "doubly stochastic"
    with contextlib.suppress(KeyError), np.errstate(invalid="ignore"):
        off = [report.curve(f"{side}_residual", "site", "p50").value for side in ("row", "column")]
        gain = report.curve("amax_forward", "site", "p50").value
        norm = report.curve("inf_norm", "site", "p50").value
        near = (np.maximum(*off) <= NEAR) & (np.abs(norm - gain) <= 1e-6)
        return bool(np.mean(near) >= MOST)
    return False
