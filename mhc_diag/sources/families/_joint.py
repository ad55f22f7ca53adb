"""Sites of the code of mHC-lite and what was derived from it, which read all streams of a token together.

    P.static_alpha                  numbers for what the branch reads, and numbers for the residual mixing
    P.dynamic_alpha_fn (n C, R)     as many for each token, from P.norm.gamma (n C) and a norm over all of n C
    P.pre_branch_scale (1)          P.residual_scale (1)
    P.static_beta (n)               P.dynamic_beta_fn (n C, n), P.h_post_scale ()

What the residual numbers mean tells the layouts apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mhc_diag.records import Skipped
from mhc_diag.sources import sequence
from mhc_diag.sources.families import MOST_CHANNELS, MOST_STREAMS, Found, FoundSite, Shapes, Tensors
from mhc_diag.sources.readings import Read

Floats = np.ndarray[Any, Any]
SMALL = ("static_alpha", "static_beta", "pre_branch_scale", "residual_scale", "h_post_scale")
READS = {"gamma": "norm.gamma", "fn": "dynamic_alpha_fn", "beta_fn": "dynamic_beta_fn"}


def find(shapes: Shapes, static: Callable[[int], tuple[int, ...] | None]) -> Found:
    """Sites of n streams whose `static_alpha` has the shape static(n), in the order that their names tell.

    Example:
        >>> shapes = {"static_alpha": (4,), "static_beta": (2,), "dynamic_alpha_fn": (6, 4),
        ...     "dynamic_beta_fn": (6, 2), "norm.gamma": (6,), "pre_branch_scale": (1,),
        ...     "residual_scale": (1,), "h_post_scale": ()}
        >>> find({f"h.0.hc.{name}": s for name, s in shapes.items()}, lambda n: (2 * n,)).sites[0].kind
        'hc'
    """
    streams: dict[str, int] = {}
    skipped: list[Skipped] = []
    prefixes = sequence.owners(shapes, "residual_scale")
    gated = sequence.holders(prefixes, shapes, "depth_residual_fn")
    for prefix in prefixes:
        names = {role: prefix + name for role, name in READS.items()} | {n: prefix + n for n in SMALL}
        parts = {role: shapes[name] for role, name in names.items() if name in shapes}
        n = _streams(parts)
        if not n or parts["static_alpha"] != static(n):
            continue
        if prefix in gated:
            skipped.append(
                Skipped(prefix.rstrip("."), "depth_residual_fn changes the streams beside the mixing")
            )
        else:
            streams[prefix] = n
    places, unclear = sequence.in_order(streams)
    sites = tuple(
        FoundSite(
            place.path,
            place.kind,
            streams[place.prefix],
            place.run,
            {name: place.prefix + name for name in SMALL},
            {role: place.prefix + name for role, name in READS.items()},
        )
        for place in places
    )
    return Found(sites, (*skipped, *unclear))


def read(site: FoundSite, tensors: Tensors) -> Read:
    """The columns of both functions, under the weight of the norm.

    Example:
        >>> site = FoundSite("", "", 2, "", {})
        >>> tensors = {"fn": np.ones((6, 4)), "beta_fn": np.ones((6, 2)), "gamma": np.zeros(6)}
        >>> read(site, tensors).weight.shape
        (6, 6)
    """
    weight = np.concatenate([tensors["fn"], tensors["beta_fn"]], axis=1).T
    return Read(weight * (tensors["gamma"].astype(np.float64) + 1.0), site.streams, blocks=1)


def scaled(t: Tensors, values: Floats | None, residual: Floats) -> tuple[Floats, Floats]:
    """The numbers of `static_alpha` (T, R) and of `static_beta` (T, n) with their dynamic parts.

    Args:
        t: the small tensors of one site.
        values: (T, 1, R + n), what the site reads off; None for nothing.
        residual: (R,) booleans: which numbers are for the residual mixing, the others for the branch.

    Example:
        >>> t = {"static_alpha": np.arange(4.0), "static_beta": np.ones(2), "pre_branch_scale": np.ones(1),
        ...     "residual_scale": np.zeros(1), "h_post_scale": np.array(2.0)}
        >>> [x.tolist() for x in scaled(t, np.ones((1, 1, 6)), np.array([False, False, True, True]))]
        [[[1.0, 2.0, 2.0, 3.0]], [[3.0, 3.0]]]
    """
    alpha = t["static_alpha"].reshape(1, -1).astype(np.float64)
    beta = t["static_beta"].reshape(1, -1).astype(np.float64)
    if values is not None:
        scale = np.where(residual, float(t["residual_scale"][0]), float(t["pre_branch_scale"][0]))
        alpha = alpha + scale * values[:, 0, : len(residual)]
        beta = beta + float(t["h_post_scale"]) * values[:, 0, len(residual) :]
    return alpha, beta


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)).

    Example:
        >>> sigmoid(np.array([0.0, 9e9])).tolist()
        [0.5, 1.0]
    """
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-x)))


def softmax(x: Floats) -> Floats:
    """exp(x) over its sum along the last axis.

    Example:
        >>> softmax(np.array([[0.0, 0.0], [9e9, 0.0]])).tolist()
        [[0.5, 0.5], [1.0, 0.0]]
    """
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def _streams(parts: Mapping[str, tuple[int, ...]]) -> int:
    """Number of streams that all shapes but that of `static_alpha` agree on; 0 where they do not."""
    if parts.keys() != {*SMALL, *READS}:
        return 0
    n = parts["static_beta"][0] if len(parts["static_beta"]) == 1 else 0
    width = parts["gamma"][0] if len(parts["gamma"]) == 1 else 0
    numbers = int(np.prod(parts["static_alpha"], dtype=object))
    fits = (
        2 <= n <= MOST_STREAMS
        and 1 <= width <= MOST_CHANNELS
        and width % n == 0
        and parts["fn"] == (width, numbers)
        and parts["beta_fn"] == (width, n)
        and parts["pre_branch_scale"] == parts["residual_scale"] == (1,)
        and parts["h_post_scale"] == ()
    )
    return n if fits else 0
