"""The depth kernel of a stack over its tokens, where it is known how branches read and write the streams."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mhc_diag.curves import as_numpy
from mhc_diag.maths import statistics
from mhc_diag.maths.kernel import kernel_rows
from mhc_diag.records import MixingStack, Scalar, Triangle

NAME = "depth_kernel"
FORMULA = "|K_kj|, K_kj = h_k M_{k-1} ... M_{j+1} p_j"

Floats = np.ndarray[Any, Any]


def depth_kernel_of(stack: MixingStack) -> tuple[tuple[Triangle, ...], tuple[Scalar, ...]]:
    """Mean and maximum over tokens of the sizes of all entries, and the largest of them.

    Tokens of which h_k or p_j is not known are left out of entry [j, k], which is NaN if none is left.

    Returns:
        Two triangles, and one scalar; none of either where h or p is known of no branch, or nothing reaches
        a later branch that is.

    Example:
        >>> from mhc_diag.records import Provenance, Site
        >>> sites = tuple(Site(f"layers.{depth}", "", depth) for depth in range(3))
        >>> ones = np.ones((3, 1, 1))
        >>> made = MixingStack("doubling", np.full((3, 1, 1, 1), 2.0), sites,
        ...     Provenance("example", "simulated", "made by hand", "direct", "none"), pre=ones, post=ones)
        >>> depth_kernel_of(made)[1][0].title, depth_kernel_of(made)[1][0].value
        ('largest |K|, from the branch of layers.0 to that of layers.2', 2.0)
    """
    if stack.pre is None or stack.post is None:
        return (), ()
    matrices, pre, post = (as_numpy(x) for x in (stack.matrices, stack.pre, stack.post))
    depth = len(matrices)
    largest, mean = np.full((depth, depth), np.nan), np.full((depth, depth), np.nan)
    asked = np.zeros((depth, depth), dtype=bool)
    reads, writes = (np.isfinite(x).all(axis=-1) for x in (pre, post))
    for k, value, exponent in kernel_rows(matrices, pre, post, stack.reads_from):
        reaching = value.shape[1]
        known = reads[k][:, None] & writes[:reaching].T
        logs = statistics.log10(np.abs(value), exponent)
        asked[:reaching, k] = known.any(axis=0)
        largest[:reaching, k], mean[:reaching, k] = _over_tokens(logs, known)
    if not asked.any():
        return (), ()
    triangles = (Triangle(NAME, "mean", mean), Triangle(NAME, "max", largest))
    return triangles, (_largest(stack, largest, asked),)


def _over_tokens(logs: Floats, known: Floats) -> tuple[Floats, Floats]:
    """log10 of the largest and of the mean of numbers given by their log10 (T, J), where they are known."""
    top = np.where(known, logs, -math.inf).max(axis=0)
    base = np.where(np.isfinite(top), top, 0.0)
    total = np.where(known, 10.0 ** (logs - base), 0.0).sum(axis=0)
    count = known.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.log10(total / count) + base
    return np.where(count > 0, top, np.nan), np.where(count > 0, mean, np.nan)


def _largest(stack: MixingStack, logs: Floats, asked: Floats) -> Scalar:
    """The largest entry; one that is no number, since a matrix on its way is none, is the largest of all."""
    ranks = np.where(asked, np.where(np.isnan(logs), math.inf, logs.round(12)), -math.inf)
    j, k = divmod(int(ranks.argmax()), len(logs))
    names = [stack.sites[site].label or f"site {site}" for site in (j, k)]
    title = f"largest |K|, from the branch of {names[0]} to that of {names[1]}"
    value = 10.0 ** np.float64(logs[j, k])  # infinite where it leaves float64
    return Scalar("depth_kernel_max", title, FORMULA, float(f"{value:.12g}"))
