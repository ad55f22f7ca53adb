"""tokenbender's mHC, whose logits are parameters and do not depend on the input.

In github.com/tokenbender/mHC-manifold-constrained-hyper-connections, 088310e, the files
`hyper_connections.py` and `hyper_connections_mhc.py` keep for each site

    P.H_res_logits (n, n)     P.H_pre_logits (n) or (1, n)     P.H_post_logits (n) or (1, n)

    H = sinkhorn(H_res_logits / tau), rows and then columns, or orthostochastic(H_res_logits)
    M = H^T     pre, post = softmax of their logits

The first file keeps the parameters of unconstrained Hyper-Connections beside them and does not use them. In
the fork of pherber3 (70b0e12) `H_res_logits` can be (n - 1, n - 1): stream 0 keeps to itself. tau, the number
of iterations and which projection it is are in the training script's `config` only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mhc_diag.maths.projections import orthostochastic, sinkhorn
from mhc_diag.records import Promise, Skipped
from mhc_diag.sources import sequence
from mhc_diag.sources.families import (
    MOST_STREAMS,
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
from mhc_diag.sources.families._configured import Wanted, configured, tell

TITLE = "tokenbender's mHC (H_res_logits)"
GENERIC = False
VARIANTS = {
    "sinkhorn": Variant(
        "static logits over a temperature, projected by Sinkhorn's iteration, applied as their transpose",
        "transposed",
    ),
    "orthostochastic": Variant(
        "static logits, orthogonalised by Newton and Schulz and squared, applied as their transpose",
        "transposed",
    ),
}

LOGITS = ("H_res_logits", "H_pre_logits", "H_post_logits")
UNUSED = (
    "static_alpha",
    "dynamic_alpha_fn",
    "dynamic_alpha_scale",
    "static_beta",
    "dynamic_beta_fn",
    "dynamic_beta_scale",
    "norm.gamma",
)
TAU = Wanted(("sinkhorn_tau", "mhc_tau"), 0.05, "a positive number", 1e-9, 1e9)
ITERATIONS = Wanted(("sinkhorn_iters", "mhc_num_iters"), 10, "a whole number from 1 to 10000", 1, 10_000)
PROJECTION = "mhc_h_res_proj"


def find(shapes: Mapping[str, tuple[int, ...]]) -> Found:
    """Sites in the order that their names tell."""
    streams: dict[str, int] = {}
    skipped: list[Skipped] = []
    unused: list[str] = []
    prefixes = sequence.owners(shapes, LOGITS[0])
    transformed = sequence.holders(prefixes, shapes, "residual_transform")
    for prefix in prefixes:
        n, reason = _streams({name: shapes[prefix + name] for name in LOGITS if prefix + name in shapes})
        if prefix in transformed:
            reason = reason or "residual_transform changes the streams beside the mixing"
        if reason:
            skipped.append(Skipped(prefix.rstrip("."), reason))
        else:
            streams[prefix] = n
            unused += [prefix + name for name in UNUSED if prefix + name in shapes]
    places, unclear = sequence.in_order(streams)
    sites = []
    for place in places:
        tensors = {name: place.prefix + name for name in LOGITS}
        sites.append(FoundSite(place.path, place.kind, streams[place.prefix], place.run, tensors))
    return Found(tuple(sites), (*skipped, *unclear), tuple(unused))


def variants(shapes: Shapes, config: Mapping[str, Any] | None) -> tuple[str, ...]:
    """What the configuration says; without one both, where the code knows both."""
    if told := [name for name in tell(config, PROJECTION) if name in VARIANTS]:
        return (str(told[0]),)
    if any(True for key in (*TAU.names, *ITERATIONS.names) for _ in tell(config, key)):
        return ("sinkhorn",)  # by the code before it knew another
    both = any(name.rpartition(".")[2] == "static_alpha" for name in find(shapes).unused)
    return ("sinkhorn", "orthostochastic") if both else ("sinkhorn",)


def settings(config: Mapping[str, Any] | None, variant: str) -> Settings:
    """Temperature and iterations."""
    if variant == "orthostochastic":
        return Settings({"ns_steps": 5})
    return configured(config, TAU, ITERATIONS)


def build(
    sites: Sequence[FoundSite],
    tensors: Sequence[Tensors],
    values: np.ndarray[Any, Any] | None,
    variant: str,
    settings: Settings,
) -> Mixing:
    """M = H^T, and softmaxes for pre and post."""
    n = sites[0].streams
    logits = [t["H_res_logits"].astype(np.float64) for t in tensors]
    matrices = np.tile(np.eye(n), (len(sites), 1, 1, 1))
    for k, z in enumerate(logits):
        matrices[k, 0, n - len(z) :, n - len(z) :] = _project(z, variant, settings).T
    pre, post = (
        np.stack([_joint.softmax(t[name].astype(np.float64).reshape(1, n)) for t in tensors])
        for name in LOGITS[1:]
    )
    whole = variant == "sinkhorn" and all(len(z) == n for z in logits)
    tau = float(settings.values["sinkhorn_tau"]) if whole else 1.0
    return Mixing(matrices, np.stack(logits)[:, None] / tau if whole else None, pre, post)


def promise(variant: str, settings: Settings) -> Promise:
    """Of the projection: Newton and Schulz leave neither side exact."""
    if variant == "orthostochastic":
        return _promised.doubly_stochastic("")
    return _promised.sinkhorn("columns", transposed=True, iterations=int(settings.values["sinkhorn_iters"]))


def initial(site: FoundSite) -> dict[str, np.ndarray[Any, Any]]:
    """Almost the identity; which stream a branch reads depends on the layer's number."""
    n = site.streams
    return {"H_res_logits": 8.0 * (np.eye(n) - 1), "H_post_logits": np.zeros(n)}


def _project(z: np.ndarray[Any, Any], variant: str, settings: Settings) -> np.ndarray[Any, Any]:
    if variant == "orthostochastic":
        return np.asarray(orthostochastic.project(z, steps=int(settings.values["ns_steps"])))
    iterations, tau = int(settings.values["sinkhorn_iters"]), float(settings.values["sinkhorn_tau"])
    return np.asarray(sinkhorn.project(z, iterations=iterations, last="columns", temperature=tau))


def _streams(parts: Mapping[str, tuple[int, ...]]) -> tuple[int, str]:
    """Number of streams that the shapes agree on, or the reason why they do not."""
    if "H_post_logits" not in parts and "H_pre_logits" in parts:
        return 0, "no H_post_logits beside it: the branch's output is not added to the streams there"
    res, pre, post = (parts.get(name, ()) for name in LOGITS)
    n = pre[-1] if len(pre) == 1 or (len(pre) == 2 and pre[0] == 1) else 0
    if 1 <= n <= MOST_STREAMS and post == pre and res in ((n, n), (n - 1, n - 1)) and res[0] > 0:
        return n, ""
    seen = ", ".join(f"{name} {shape}" for name, shape in parts.items())
    return 0, f"shapes that do not belong together: {seen}"
