"""KromHC: Kronecker products of 2 x 2 matrices (arXiv 2601.21579; github.com/wz1119/KromHC, 7b15834).

`hyper_conn/Kromhc.py` keeps for each site of n = 2^K streams, beside what `_joint` lists,

    P.static_alpha (n + 2 K)    first n numbers for what the branch reads, then two for each factor
    P.dynamic_alpha_fn (n C, n + 2 K)

    (p_k, 1 - p_k) = softmax of the two numbers of factor k, static and dynamic
    U_k = [[p_k, 1 - p_k], [1 - p_k, p_k]]
    H = U_1 (x) ... (x) U_K, the first factor the slowest      M = H^T = H

Rows and columns of M sum to 1 for every input. Two streams are mHC-lite's layout, names and formula alike.
"""

from __future__ import annotations

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

TITLE = "KromHC (Kronecker products)"
GENERIC = False
VARIANTS = {
    "kronecker": Variant(
        "Kronecker products of doubly stochastic 2 x 2 matrices, which are symmetric", "transposed"
    )
}

read = _joint.read


def find(shapes: Mapping[str, tuple[int, ...]]) -> Found:
    """Sites in the order that their names tell."""
    return _joint.find(shapes, lambda n: (n + 2 * _factors(n),) if n == 2 ** _factors(n) > 2 else None)


def variants(shapes: Shapes, config: Mapping[str, Any] | None) -> tuple[str, ...]:
    """One."""
    return ("kronecker",)


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
    residual = np.arange(n + 2 * _factors(n)) >= n
    matrices, pre, post = [], [], []
    for k, t in enumerate(tensors):
        alpha, beta = _joint.scaled(t, None if values is None else values[k], residual)
        matrices.append(_product(_joint.softmax(alpha[:, n:].reshape(len(alpha), -1, 2))))
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
    """Almost the identity; NaN where the code takes the layer's number into account."""
    n = site.streams
    scales = {name: np.full(1, 0.01) for name in ("pre_branch_scale", "residual_scale")}
    static = np.append(np.full(n, np.nan), np.tile([0.0, -8.0], _factors(n)))
    return {"static_alpha": static, "h_post_scale": np.array(0.01), **scales}


def _factors(n: int) -> int:
    return int(math.log2(n))


def _product(weights: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(T, 2^K, 2^K) out of (T, K, 2): what each factor keeps, and what it exchanges."""
    made = np.ones((len(weights), 1, 1))
    for k in range(weights.shape[1]):
        keeps, swaps = weights[:, k, 0], weights[:, k, 1]
        factor = np.stack([np.stack([keeps, swaps], -1), np.stack([swaps, keeps], -1)], -2)
        size = 2 * made.shape[-1]
        made = (made[:, :, None, :, None] * factor[:, None, :, None, :]).reshape(len(weights), size, size)
    return made
