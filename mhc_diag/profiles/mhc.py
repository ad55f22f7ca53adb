"""Manifold-Constrained Hyper-Connections (arXiv 2512.24880): doubly stochastic mixing, or meant to be.

Taken where the layout or the simulation promises it, and where nothing is promised and most sites look like
it: no entry is negative, as their gains and norms agree, and the sums of rows and columns are within a tenth
of 1, or those of one side are 1 and the others are what too few iterations leave.
"""

from __future__ import annotations

import contextlib

import numpy as np

from mhc_diag.records import Report

TITLE = "mHC, doubly stochastic mixing"
PLACE = 1
NEAR = 0.1
"""From 1 at most, the median over tokens of the sum furthest from it."""
EXACT = 1e-3
"""The same of the side that was normalised last; rounding of bfloat16 and an eps are below."""
MOST = 0.75
"""Share of the sites that must be near."""


def fits(report: Report) -> bool:
    """Whether most of the mixing is doubly stochastic, or was promised to be."""
    promise = report.provenance.promise
    if promise is not None:
        return promise.manifold == "doubly stochastic"
    with contextlib.suppress(KeyError), np.errstate(invalid="ignore"):
        off = [report.curve(f"{side}_residual", "site", "p50").value for side in ("row", "column")]
        gain = report.curve("amax_forward", "site", "p50").value
        norm = report.curve("inf_norm", "site", "p50").value
        near = (np.maximum(*off) <= NEAR) | (np.minimum(*off) <= EXACT)
        return bool(np.mean(near & (np.abs(norm - gain) <= 1e-6)) >= MOST)
    return False
