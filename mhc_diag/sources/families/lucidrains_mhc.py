"""Manifold-constrained Hyper-Connections of the package `hyper-connections`, its first and second version.

Read in 0.3.0 to 0.4.11 (`ManifoldConstrainedHyperConnections`, and the class of that name in `mHCv2`):

    P.static_alpha (n, 1 + n)           columns: one for what the branch reads, then n for the streams
    P.dynamic_alpha_fn (K, C, 1 + n)    K proposals; without that axis in 0.3
    P.pre_branch_scale (1)              P.residual_scale (1), P.h_post_scale ()
    P.static_beta (n), second version (n, 1, 1)     P.dynamic_beta_fn (C), second version (C, 1)
    P.norm.gamma (C)                    each stream is normalised by itself

    H = mean over k of sinkhorn(static_alpha[:, 1:] + residual_scale (x_s (gamma + 1)) fn_k[:, 1:])
    M = H^T

with 20 times columns and then rows. With f fractions of each stream M is (n f, n f) in the second version;
the first then projects matrices that are not square, and is left out. A projection of one's own
(`residual_mix_constraint_fn`) is in no file.

The 0.3 versions have the same names and do different things: up to 0.3.9 the mixed streams are not used,
M = I; 0.3.10 and 0.3.11 normalise each number by itself, so that all entries of M are 1; later ones do as
above. The first of them normalise all streams together, norm.gamma (n C), and are known by that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from mhc_diag.maths.caps import identity_caps, sinkhorn_caps
from mhc_diag.maths.projections import sinkhorn
from mhc_diag.records import Caps, Promise, Skipped
from mhc_diag.sources import sequence
from mhc_diag.sources.families import (
    MOST_CHANNELS,
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
from mhc_diag.sources.families._configured import configured, iterations
from mhc_diag.sources.readings import Read

TITLE = "hyper-connections package, manifold-constrained (mHC, mHCv2)"
GENERIC = False
VARIANTS = {
    "applied": Variant(
        "the residual columns of `static_alpha` and what `dynamic_alpha_fn` adds, projected by Sinkhorn's "
        "iteration and applied as their transpose",
        "transposed",
    ),
    "unapplied": Variant(
        "hyper-connections up to 0.3.9: the mixing is computed and not applied, every stream keeps to itself",
        "direct",
    ),
    "summed": Variant(
        "hyper-connections 0.3.10 and 0.3.11: every entry is normalised to 1, all streams become their sum",
        "direct",
    ),
}

SMALL = ("static_alpha", "static_beta", "pre_branch_scale", "residual_scale", "h_post_scale")
READS = {"gamma": "norm.gamma", "fn": "dynamic_alpha_fn", "beta_fn": "dynamic_beta_fn"}
BESIDE = ("residual_transform", "depth_residual_fn", "maybe_mix_streams")
PROJECTION = sinkhorn.PRESETS["lucidrains"]
MOST_PROPOSALS = 64


@dataclass(frozen=True, slots=True)
class Cut(FoundSite):
    """A site that may mix fractions of the streams."""

    fractions: int = 1


def find(shapes: Mapping[str, tuple[int, ...]]) -> Found:
    """Sites in the order that their names tell."""
    known: list[str] = []
    skipped: list[Skipped] = []
    prefixes = sequence.owners(shapes, "residual_scale")
    beside = {part: sequence.holders(prefixes, shapes, part) for part in BESIDE}
    for prefix in prefixes:
        names = {role: prefix + name for role, name in READS.items()} | {n: prefix + n for n in SMALL}
        parts = {role: shapes[name] for role, name in names.items() if name in shapes}
        if len(parts.get("static_alpha", ())) != 2 or _another(parts):
            continue
        reason = _reason(parts)
        if held := [part for part in BESIDE if prefix in beside[part]]:
            reason = reason or f"{held[0]} changes the streams beside the mixing, or what is read"
        if reason:
            skipped.append(Skipped(prefix.rstrip("."), reason))
        else:
            known.append(prefix)
    places, unclear = sequence.in_order(known)
    functions: dict[str, tuple[int, ...]] = {}
    sites: list[FoundSite] = []
    for place in places:
        small = {name: place.prefix + name for name in SMALL}
        reads = {role: place.prefix + name for role, name in READS.items()}
        shape = shapes[reads["fn"]]
        if shapes[reads["gamma"]] != (shape[-2],):
            reads = {}  # of a version that applies nothing
        rows, columns = shapes[small["static_alpha"]]
        averaged, cut = len(shape) == 3 and shape[0] > 1, columns - rows
        site = Cut(place.path, place.kind, rows, place.run, small, reads, averaged=averaged, fractions=cut)
        if functions.setdefault(place.run, shape) == shape:
            sites.append(site)
        else:
            reason = f"dynamic_alpha_fn {shape}, where those before have {functions[place.run]}"
            skipped.append(Skipped(place.prefix.rstrip("."), reason))
    return Found(tuple(sites), (*skipped, *unclear))


def variants(shapes: Shapes, config: Mapping[str, Any] | None) -> tuple[str, ...]:
    """All where the functions have no axis for proposals, as in 0.3."""
    sites = find(shapes).sites
    if not any(site.reads for site in sites):
        return ("unapplied",)
    current = all(len(shapes[site.reads["fn"]]) == 3 for site in sites if site.reads)
    return ("applied",) if current else tuple(VARIANTS)


def settings(config: Mapping[str, Any] | None, variant: str) -> Settings:
    """How often the projection normalises."""
    return configured(config, iterations("sinkhorn_iters")) if variant == "applied" else Settings()


def read(site: FoundSite, tensors: Tensors) -> Read:
    """The columns of all proposals and of beta, under the weight of the norm: each stream by itself."""
    fn = tensors["fn"]
    columns = np.moveaxis(fn.reshape(-1, *fn.shape[-2:]), 1, 2).reshape(-1, fn.shape[-2])
    beta = tensors["beta_fn"].reshape(fn.shape[-2], -1).T
    return Read(
        np.concatenate([columns, beta]) * (tensors["gamma"].astype(np.float64) + 1.0),
        site.streams,
        site.streams,
    )


def build(
    sites: Sequence[FoundSite],
    tensors: Sequence[Tensors],
    values: np.ndarray[Any, Any] | None,
    variant: str,
    settings: Settings,
) -> Mixing:
    """M, and where streams are whole pre = sigmoid and post = 2 sigmoid of what belongs to them."""
    n, tokens = sites[0].streams, 1 if values is None else values.shape[1]
    if variant != "applied":
        matrix = np.eye(n) if variant == "unapplied" else np.ones((n, n))
        return Mixing(np.broadcast_to(matrix, (len(sites), tokens, n, n)))
    built = [_site(t, None if values is None else values[k], settings) for k, t in enumerate(tensors)]
    matrices, *gates = (np.stack([part[i] for part in built]) for i in range(3))
    pre, post = (None if np.isnan(gate).all() else gate for gate in gates)
    single = all(logits.shape[1] == 1 for *_, logits in built)
    return Mixing(matrices, np.stack([part[3][:, 0] for part in built]) if single else None, pre, post)


def caps(
    sites: Sequence[FoundSite],
    tensors: Sequence[Tensors],
    reach: np.ndarray[Any, Any] | None,
    variant: str,
    settings: Settings,
) -> Caps:
    """Columns of M sum to at most 1, rows by how far the functions can move the logits."""
    if variant == "unapplied":
        return identity_caps(len(sites))
    if variant == "summed":
        return Caps(
            np.full(len(sites), float(sites[0].streams)), np.full(len(sites), float(sites[0].streams))
        )
    found = [_caps(t, None if reach is None else reach[k], settings) for k, t in enumerate(tensors)]
    return Caps(np.array([rows for rows, _ in found]), np.array([columns for _, columns in found]))


def promise(variant: str, settings: Settings) -> Promise:
    """Of the projection, which is what all versions mean to apply."""
    count = int(settings.values.get("sinkhorn_iters", 0))
    return _promised.sinkhorn(PROJECTION["last"], transposed=True, iterations=count)


def initial(site: FoundSite) -> dict[str, np.ndarray[Any, Any]]:
    """The identity for the streams; NaN where the code takes the layer's number into account."""
    n, cut = site.streams, cast(Cut, site)
    static = np.concatenate([np.full((n, cut.fractions), np.nan), np.eye(n)], axis=1)
    scales = {name: np.full(1, 0.01) for name in ("pre_branch_scale", "residual_scale")}
    return {"static_alpha": static, "h_post_scale": np.array(0.01), **scales}


def _site(t: Tensors, values: np.ndarray[Any, Any] | None, settings: Settings) -> tuple[Any, Any, Any, Any]:
    """M (T, n, n), pre and post (T, n), NaN for fractions, and logits (T, K, n, n) of one site."""
    alpha, views = _alpha(t, values)
    logits = np.swapaxes(alpha[..., views:], 1, 2)
    matrix = np.swapaxes(sinkhorn.project(logits, **_arguments(settings)).mean(axis=1), -1, -2)
    n = len(t["static_alpha"])
    if views > 1:
        nothing = np.full((len(alpha), n), np.nan)
        return matrix, nothing, nothing, logits
    beta = t["static_beta"].astype(np.float64).reshape(1, n)
    if values is not None:
        beta = beta + float(t["h_post_scale"]) * values[..., alpha.shape[2] * alpha.shape[3]]
    return matrix, _joint.sigmoid(alpha[..., 0]).mean(axis=2), 2 * _joint.sigmoid(beta), logits


def _alpha(t: Tensors, values: np.ndarray[Any, Any] | None) -> tuple[np.ndarray[Any, Any], int]:
    """(T, n, K, columns) before it is constrained, and how many of its columns the branch reads."""
    static = t["static_alpha"].astype(np.float64)[None, :, None]
    n, columns = t["static_alpha"].shape
    views = columns - n
    if values is None:
        return static, views
    proposals = values.shape[-1] // columns  # beta's columns are fewer than those of one proposal
    scale = np.repeat([float(t["pre_branch_scale"][0]), float(t["residual_scale"][0])], [views, n])
    moved = values[..., : proposals * columns].reshape(len(values), n, proposals, columns)
    return static + scale * moved, views


def _caps(t: Tensors, reach: np.ndarray[Any, Any] | None, settings: Settings) -> tuple[float, float]:
    static, views = _alpha(t, None)
    moved = np.zeros_like(static)
    if reach is not None:
        most, _ = _alpha({**t, "static_alpha": np.zeros_like(t["static_alpha"])}, reach[None])
        moved = np.abs(most)
    moved = np.swapaxes(moved[0, ..., views:], 0, 1)
    middle = np.broadcast_to(np.swapaxes(static[0, ..., views:], 0, 1), moved.shape)
    found = sinkhorn_caps(middle, moved, **_arguments(settings)).transposed()
    return float(found.rows.mean()), float(found.columns.mean())


def _arguments(settings: Settings) -> dict[str, Any]:
    return {**PROJECTION, "iterations": int(settings.values["sinkhorn_iters"])}


def _another(parts: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the streams are normalised, and read, together: then it is another code's."""
    return len(parts.get("fn", ())) == 2 and parts["fn"][1] != parts["static_alpha"][1]


def _reason(parts: Mapping[str, tuple[int, ...]]) -> str:
    """Why the shapes of a site are not of this layout, if they are not."""
    if "static_beta" not in parts and {"gamma", "fn"} <= parts.keys():
        return "no static_beta beside it: the branch's output is not added to the streams there"
    if missing := [name for name in (*READS, *SMALL) if name not in parts]:
        return f"no {READS.get(missing[0], missing[0])} beside it: no code that is known"
    (rows, columns), beta, fn, beta_fn = (parts[r] for r in ("static_alpha", "static_beta", "fn", "beta_fn"))
    second = len(beta) == 3
    f = beta_fn[1] if len(beta_fn) == 2 else 1
    channels = fn[-2] if len(fn) in (2, 3) else 0
    together = (rows * channels,) if len(fn) == 2 else (channels,)
    if f > 1 and not second and columns * f == (rows + f) * f:
        return "fractions of each stream in the first version, which projects what is not square"
    fits = (
        1 <= rows <= MOST_STREAMS
        and f >= 1
        and 1 <= rows * channels <= MOST_CHANNELS
        and rows % f == 0
        and columns == rows + f
        and beta == ((rows // f, f, 1) if second else (rows,))
        and fn[-2:] == (channels, columns)
        and (len(fn) == 2 or (len(fn) == 3 and 1 <= fn[0] <= MOST_PROPOSALS))
        and beta_fn == ((channels, f) if second else (channels,))
        and parts["gamma"] in ((channels,), together)
        and parts["pre_branch_scale"] == parts["residual_scale"] == (1,)
        and parts["h_post_scale"] == ()
    )
    seen = ", ".join(f"{role} {shape}" for role, shape in sorted(parts.items()))
    return "" if fits else f"shapes that do not belong together: {seen}"
