"""mHC-lite: convex combinations of all permutations (arXiv 2601.05732; github.com/FFTYYY/mhc-lite, ea19775).

`hyper_conn/mhc_lite.py` keeps for each site, beside what `_joint` lists,

    P.static_alpha (n + n!)     first n numbers for what the branch reads, then one for each permutation
    P.dynamic_alpha_fn (n C, n + n!)

    w = softmax(static_alpha[n:] + residual_scale (x (gamma + 1)) dynamic_alpha_fn[:, n:])
    H = sum over r of w_r P_r      (P_r)_{i, p_r(i)} = 1, p_r in lexicographic order      M = H^T

Rows and columns of M sum to 1 for every input. For two streams KromHC's code has the same names and formula.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mhc_diag.maths.caps import doubly_stochastic_caps
from mhc_diag.records import Caps, Promise
from mhc_diag.sources.families import (
    Found,
    FoundSite,
    Mixing,
    Settings,
    Shapes,
    Tensors,
    Variant,
    _joint,
    _promised,
)

TITLE = "mHC-lite (mixes of permutations)"
GENERIC = False
VARIANTS = {
    "permutations": Variant(
        "mixes of all permutations, weighted by a softmax, applied as their transpose", "transposed"
    )
}
LARGEST = 6
"""Streams: 720 permutations."""

read = _joint.read


def find(shapes: Mapping[str, tuple[int, ...]]) -> Found:
    """Sites in the order that their names tell."""
    return _joint.find(shapes, lambda n: (n + math.factorial(n),) if n <= LARGEST else None)


def variants(shapes: Shapes, config: Mapping[str, Any] | None) -> tuple[str, ...]:
    """One."""
    return ("permutations",)


def settings(config: Mapping[str, Any] | None, variant: str) -> Settings:
    """Nothing that is not in the tensors."""
    return Settings()


def build(
    sites: Sequence[FoundSite],
    tensors: Sequence[Tensors],
    values: np.ndarray[Any, Any] | None,
    variant: str,
    settings: Settings,
) -> Mixing:
    """M, pre = sigmoid and post = 2 sigmoid of the numbers that belong to them."""
    n = sites[0].streams
    permutations = np.eye(n)[list(itertools.permutations(range(n)))]
    residual = np.arange(n + len(permutations)) >= n
    matrices, pre, post = [], [], []
    for k, t in enumerate(tensors):
        alpha, beta = _joint.scaled(t, None if values is None else values[k], residual)
        weights = _joint.softmax(alpha[:, n:])
        matrices.append(np.einsum("tr,rij->tji", weights, permutations))
        pre.append(_joint.sigmoid(alpha[:, :n]))
        post.append(2 * _joint.sigmoid(beta))
    return Mixing(np.stack(matrices), None, np.stack(pre), np.stack(post))


def caps(
    sites: Sequence[FoundSite],
    tensors: Sequence[Tensors],
    reach: np.ndarray[Any, Any] | None,
    variant: str,
    settings: Settings,
) -> Caps:
    """Rows and columns sum to 1 for every input."""
    return doubly_stochastic_caps(len(sites))


def promise(variant: str, settings: Settings) -> Promise:
    """Sums are 1 to rounding for every input."""
    return _promised.doubly_stochastic("both")


def initial(site: FoundSite) -> dict[str, np.ndarray[Any, Any]]:
    """The identity but for weights of exp(-8); NaN where the code takes the layer's number into account."""
    n = site.streams
    weights = np.full(math.factorial(n), -8.0)
    weights[0] = 0.0
    scales = {name: np.full(1, 0.01) for name in ("pre_branch_scale", "residual_scale")}
    return {"static_alpha": np.append(np.full(n, np.nan), weights), "h_post_scale": np.array(0.01), **scales}
