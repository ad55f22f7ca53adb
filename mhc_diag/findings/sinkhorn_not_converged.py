"""Sinkhorn's iteration was cut off too early."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mhc_diag.findings import Evidence, seen
from mhc_diag.findings._middle import middle
from mhc_diag.findings._sides import Sides, sides
from mhc_diag.records import Report
from mhc_diag.verdict import Level, Place

ID = "MHC301"
TITLE = "Sinkhorn not converged"
LEVELS: Mapping[str, Level] = {"mhc": "error"}
WHAT = """
The sums of one side, rows or columns, are exactly 1 and those of the other are not: what is left when
Sinkhorn's iteration is cut off. Told is, as an error,

- that fewer iterations were done than the configuration or the layout promises. An iteration multiplies
  the error by sigma_2^2 or less, the convergence rate that the matrix itself shows, so that a large error
  of a matrix that converges fast proves that few were done. Where one matrix in ten looks like 0.8 of
  what is promised or less, they were not done: of logits of size 1 to 8, after 20 iterations, fewer than
  one matrix in a hundred looks like 16 or less.
- that at half of the sites the typical token's sums are further than 4 % from 1.

A worst token whose sums are further than 10 % from 1 is a warning: its logits need more iterations
than others. So is everything where no Sinkhorn was promised.
"""
WHY = """
Sums off by 4 % multiply over depth: 60 sites that lean to the same side amplify or attenuate a stream
by 1.04^60 = 10, where converged ones keep it. Twenty iterations are what the mHC paper does. Of 500
simulated stacks whose sites share logits of size 1 to 4 they left at most 2.5 % on the typical token of
half of the sites, and 6.5 % on the worst token of any; one to three iterations left 5 to 60 %.
"""
FIX = """
Do as many iterations as were promised, which is 20 in the mHC paper. Look at what the kernel does by
default: TileKernels' does 10. Where the message says that more than some 50 are needed, the logits are too
far apart: lower their scale instead.
"""
REFERENCES = (
    "Xie et al., mHC: Manifold-Constrained Hyper-Connections, arXiv 2512.24880, section 4.2: 20 iterations",
    "Knight, The Sinkhorn-Knopp algorithm: convergence and applications, 2008: the rate sigma_2^2",
    "NVIDIA/Megatron-LM issue 5106, deepseek-ai/TileKernels (`sinkhorn_repeat=10`): fewer than promised",
)
TYPICAL = 0.04
WORST = 0.10
FEWER = 0.8
"""Of the promised iterations: what may look like it because `done_at_most` is off by as much."""
SHARE = 0.1
"""Of the matrices that can be told: correlated sites err together, so one alone proves little."""
VISIBLE = 100.0
"""Roundings that an error must be above to be one of Sinkhorn's."""


def check(report: Report) -> Iterator[Evidence]:
    """One side exact and the other not, by too much."""
    import numpy as np

    found, promise = sides(report, "p50"), report.provenance.promise
    known = promise is not None and bool(promise.manifold)
    if found is None or (known and promise is not None and promise.exact not in ("rows", "columns")):
        return
    side = max(("rows", "columns"), key=lambda name: int(found.inexact(name).sum()))
    off = np.where(found.inexact(side), found.rows if side == "rows" else found.columns, 0.0)
    if not off.any():
        return
    promised = promise.iterations if promise is not None else 0
    fewer = _fewer(report, found, promised) if promised else ""
    typical, first = float(middle(off)), int(np.argmax(off))
    place = Place(f"{side[:-1]}_residual", "site", "p50", float(off[first]), None, first,
                  report.sites[first].label)  # fmt: skip
    sums = f"{side[:-1]} sums of the typical token are {typical:.2%} from 1 at half of the sites"
    if fewer or typical > TYPICAL:
        yield Evidence(f"{sums}{fewer}{_needed(report)}", place, None if known else "warn")
        return
    worst = seen(report, f"{side[:-1]}_residual", "site", "max")
    if worst is not None and float(np.max(worst.value)) > WORST:
        yield _worst(report, side, worst.value, worst.token)


def _fewer(report: Report, found: Sides, promised: int) -> str:
    """How many iterations were done at most, where that is fewer than promised; else nothing."""
    import numpy as np

    from mhc_diag.maths.truncated import done_at_most

    if report.sample is None:
        return ""
    sample = np.asarray(report.sample, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        off = np.abs(np.stack([sample.sum(-1), sample.sum(-2)]) - 1).max(-1)  # (2, L, K)
    told = (off.max(0) > VISIBLE * found.rounding) & (off.max(0) > 30 * off.min(0))
    if not told.any() or (sample < 0).any():
        return ""
    with np.errstate(invalid="ignore", over="ignore"):
        done = done_at_most(sample)[told]
    few = done < FEWER * promised
    if np.mean(few) < SHARE:
        return ""
    least = max(1, int(np.min(done)))
    return f", as after {least} of the {promised} iterations that {_origin(report)} promises"


def _origin(report: Report) -> str:
    promise = report.provenance.promise
    return (promise.origin if promise is not None else "") or "the model"


def _needed(report: Report) -> str:
    """How many would do, where the logits are known."""
    import numpy as np

    curve = seen(report, "sinkhorn_iterations", "site", "p50")
    if curve is None or not np.isfinite(curve.value).any():
        return ""
    typical = float(middle(curve.value[np.isfinite(curve.value)]))
    return f"; half of the sites need {typical:.0f} iterations or more to 1e-6"


def _worst(report: Report, side: str, value: Any, token: Any) -> Evidence:
    """The token of the largest error."""
    import numpy as np

    site = int(np.argmax(value))
    label = report.sites[site].label
    where = f"site {site}" + (f" ({label})" if label else "")
    needs = seen(report, "sinkhorn_iterations", "site", "max")
    more = "" if needs is None else f"; it needs up to {needs.value[site]:.0f} iterations to 1e-6"
    number = None if token is None else int(token[site])
    return Evidence(
        f"{side[:-1]} sums of one token are {value[site]:.1%} from 1 at {where}{more}",
        Place(f"{side[:-1]}_residual", "site", "max", float(value[site]), None, site, label, number),
        "warn",
    )
