"""Sites drawn from a measured model: its own matrices, at any depth and in any number of stacks.

Formula: site l of L takes the measured site floor(l * L_m / L) of L_m, and there one of the K saved tokens at
random, independently of all other sites. The measured order of the sites is kept and stretched; that the
matrices of one token belong together is not, so composites differ from the measured ones where the sites of a
token depend on each other.
Unconstrained mixing applies the measured matrices. Projections act on the measured logits; where none were
saved, on ln M if no entry of any M is negative, and on M itself otherwise. The report's notes say which.
"""

from __future__ import annotations

from mhc_diag.records import Array
from mhc_diag.sources.draws import Draw

TITLE = "resampled from a report"
SCALE: float | None = None
NOISE: float | None = None
MEASURED = True


def logits(draw: Draw) -> Array:
    """What projections act on (L, T, n, n)."""
    assert draw.measured is not None
    return _resampled(draw, draw.measured.logits)


def matrices(draw: Draw) -> Array:
    """The measured matrices at the same picks (L, T, n, n)."""
    assert draw.measured is not None
    return _resampled(draw, draw.measured.matrices)


def _resampled(draw: Draw, sample: Array) -> Array:
    import numpy as np

    sites, tokens = sample.shape[:2]
    taken = np.arange(draw.depth) * sites // draw.depth
    return sample[taken[:, None], draw.picks(tokens)]
