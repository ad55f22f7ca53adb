"""mHC as the code of mHC-lite has it for comparison (arXiv 2512.24880; github.com/FFTYYY/mhc-lite, ea19775).

`hyper_conn/mhc.py` there, and its copy in github.com/wz1119/KromHC, keep for each site, beside what
`_joint` lists,

    P.static_alpha (n, 1 + n)           columns: one for what the branch reads, then n for the streams
    P.dynamic_alpha_fn (n C, n (1 + n)) in the same order by rows

    H = sinkhorn(static_alpha[:, 1:] + residual_scale ((x (gamma + 1)) dynamic_alpha_fn)[:, 1:])     M = H^T

with 20 times columns and then rows, in the log domain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mhc_diag.maths.caps import sinkhorn_caps
from mhc_diag.maths.projections import sinkhorn
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
from mhc_diag.sources.families._configured import configured, iterations

TITLE = "mHC in the code of mHC-lite"
GENERIC = False
VARIANTS = {
    "sinkhorn": Variant(
        "the residual columns of `static_alpha` and what `dynamic_alpha_fn` adds, projected by Sinkhorn's "
        "iteration and applied as their transpose",
        "transposed",
    )
}

read = _joint.read


def find(shapes: Mapping[str, tuple[int, ...]]) -> Found:
    """Sites in the order that their names tell."""
    return _joint.find(shapes, lambda n: (n, 1 + n))


def variants(shapes: Shapes, config: Mapping[str, Any] | None) -> tuple[str, ...]:
    """One."""
    return ("sinkhorn",)


def settings(config: Mapping[str, Any] | None, variant: str) -> Settings:
    """How often the projection normalises."""
    return configured(config, iterations("sinkhorn_iters"))


def build(
    sites: Sequence[FoundSite],
    tensors: Sequence[Tensors],
    values: np.ndarray[Any, Any] | None,
    variant: str,
    settings: Settings,
) -> Mixing:
    """M, pre = sigmoid and post = 2 sigmoid of the numbers that belong to them."""
    n = sites[0].streams
    logits, pre, post = [], [], []
    for k, t in enumerate(tensors):
        alpha, beta = _joint.scaled(t, None if values is None else values[k], _residual(n))
        split = alpha.reshape(len(alpha), n, 1 + n)
        logits.append(split[..., 1:])
        pre.append(_joint.sigmoid(split[..., 0]))
        post.append(2 * _joint.sigmoid(beta))
    z = np.stack(logits)
    h = sinkhorn.project(z, iterations=int(settings.values["sinkhorn_iters"]), last="rows")
    return Mixing(np.swapaxes(h, -1, -2), z, np.stack(pre), np.stack(post))


def caps(
    sites: Sequence[FoundSite],
    tensors: Sequence[Tensors],
    reach: np.ndarray[Any, Any] | None,
    variant: str,
    settings: Settings,
) -> Caps:
    """Columns of M sum to at most 1, rows by how far the function can move the logits."""
    n = sites[0].streams
    middle = np.stack([t["static_alpha"][:, 1:] for t in tensors]).astype(np.float64)
    moved = np.zeros_like(middle)
    if reach is not None:
        scale = np.abs([float(t["residual_scale"][0]) for t in tensors])
        most = reach[:, 0, : n * (1 + n)].reshape(-1, n, 1 + n)[..., 1:]
        moved = scale[:, None, None] * most
    iterations = int(settings.values["sinkhorn_iters"])
    return sinkhorn_caps(middle, moved, iterations=iterations, last="rows").transposed()


def promise(variant: str, settings: Settings) -> Promise:
    """Of the projection."""
    return _promised.sinkhorn("rows", transposed=True, iterations=int(settings.values["sinkhorn_iters"]))


def initial(site: FoundSite) -> dict[str, np.ndarray[Any, Any]]:
    """Logits of almost the identity; NaN where the code takes the layer's number into account."""
    n = site.streams
    static = np.concatenate([np.full((n, 1), np.nan), 8 * (np.eye(n) - 1)], axis=1)
    scales = {name: np.full(1, 0.01) for name in ("pre_branch_scale", "residual_scale")}
    return {"static_alpha": static, "h_post_scale": np.array(0.01), **scales}


def _residual(n: int) -> np.ndarray[Any, Any]:
    return np.tile(np.arange(1 + n) > 0, n)
