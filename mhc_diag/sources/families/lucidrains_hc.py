"""Unconstrained Hyper-Connections of the package `hyper-connections` (arXiv 2409.19606).

Read in versions 0.0.10 to 0.4.11; the copies in the codes of mHC-lite and of tokenbender have the same names:

    P.static_alpha (n, v + n)        columns: v for what the branch reads, then n for the streams
    P.dynamic_alpha_fn (C, v + n)    and P.dynamic_alpha_scale ()
    P.static_beta (n)                P.dynamic_beta_fn (C), P.dynamic_beta_scale ()
    P.norm.gamma (C)                 each stream is normalised by itself

    alpha_s = static_alpha_s + scale tanh((x_s (gamma + 1)) dynamic_alpha_fn)
    H = alpha[:, v:]      M = H^T

The class for images has `dynamic_alpha_fn.weight (v + n, C, 1, 1)`, the one for several branches `static_beta
(n, v)`, the one for several inputs `dynamic_alpha_and_branch_input.proj.weight (v + n, C)`. With f fractions
of each stream (`dynamic_beta_fn (C / f, f)`) M is (n f, n f).

Whether the mixed streams are used at all is not in the names. The main class and the one for images return
the unmixed ones from 0.1.7 to 0.3.9, so that M = I, and so does tokenbender's code; before and after they
return the mixed ones, and so does mHC-lite's code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from mhc_diag.maths.caps import entrywise_caps, identity_caps
from mhc_diag.records import Caps, Skipped
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
)
from mhc_diag.sources.families._configured import tell
from mhc_diag.sources.readings import Read

TITLE = "hyper-connections package, unconstrained (HC)"
GENERIC = False
VARIANTS = {
    "applied": Variant(
        "the residual columns of `static_alpha` and what `dynamic_alpha_fn` adds, applied as their transpose",
        "transposed",
    ),
    "unapplied": Variant("the mixing is computed and not applied: every stream keeps to itself", "direct"),
}

SEVERAL_INPUTS = "dynamic_alpha_and_branch_input."
ROLES = {
    "static_alpha": ("static_alpha",),
    "scale": ("dynamic_alpha_scale", SEVERAL_INPUTS + "scale"),
    "static_beta": ("static_beta",),
    "beta_scale": ("dynamic_beta_scale", "dynamic_beta.scale"),
    "gamma": ("norm.gamma",),
    "fn": ("dynamic_alpha_fn", "dynamic_alpha_fn.weight", SEVERAL_INPUTS + "proj.weight"),
    "beta_fn": ("dynamic_beta_fn", "dynamic_beta_fn.0.weight", "dynamic_beta.proj.weight"),
}
READS = ("gamma", "fn", "beta_fn")
OTHER_CODE = ("H_res_logits", "residual_scale", "pre_branch_scale", "h_post_scale")
BESIDE = ("residual_transform", "depth_residual_fn")
ASSUMED = "no configuration tells tanh: the default, a tanh over the dynamic part, was taken"


@dataclass(frozen=True, slots=True)
class Viewed(FoundSite):
    """A site whose branch may be given several views, or fractions, of the streams."""

    views: int = 1
    fractions: int = 1


def find(shapes: Mapping[str, tuple[int, ...]]) -> Found:
    """Sites in the order that their names tell."""
    named: dict[str, dict[str, str]] = {}
    skipped: list[Skipped] = []
    prefixes = sequence.owners(shapes, "static_alpha")
    beside = {part: sequence.holders(prefixes, shapes, part) for part in BESIDE}
    for prefix in prefixes:
        if any(prefix + other in shapes for other in OTHER_CODE) or len(shapes[prefix + "static_alpha"]) != 2:
            continue
        found = {
            role: prefix + name for role, names in ROLES.items() for name in names if prefix + name in shapes
        }
        reason = _reason({role: _inputs_first(name, shapes[name]) for role, name in found.items()})
        if held := [part for part in BESIDE if prefix in beside[part]]:
            reason = reason or f"{held[0]} changes the streams beside the mixing"
        if reason:
            skipped.append(Skipped(prefix.rstrip("."), reason))
        else:
            named[prefix] = found
    places, unclear = sequence.in_order(named)
    sites = []
    for place in places:
        roles = named[place.prefix]
        small = {role: roles[role] for role in ROLES if role not in READS}
        reads = {role: roles[role] for role in READS}
        rows, columns = shapes[roles["static_alpha"]]
        f = _fractions({role: _inputs_first(name, shapes[name]) for role, name in roles.items()})
        views = (columns - rows) // f
        sites.append(Viewed(place.path, place.kind, rows, place.run, small, reads, views=views, fractions=f))
    return Found(tuple(sites), (*skipped, *unclear))


def variants(shapes: Shapes, config: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Both, unless all sites are of a class that always mixes, or the configuration is of a known code."""
    sites = find(shapes).sites
    if sites and all(_always(site, len(shapes[site.tensors["static_beta"]])) for site in sites):
        return ("applied",)
    if "hc" in tell(config, "hyper_conn_type"):  # mHC-lite's code, and KromHC's
        return ("applied",)
    if False in tell(config, "mhc") and any(True for _ in tell(config, "hc_num_streams")):  # tokenbender's
        return ("unapplied",)
    return ("applied", "unapplied")


def settings(config: Mapping[str, Any] | None, variant: str) -> Settings:
    """Whether a tanh bounds the dynamic part."""
    if variant == "unapplied":
        return Settings()
    told = next(tell(config, "tanh"), None)
    return Settings(
        {"activation": "none" if told is False else "tanh"}, () if told in (True, False) else (ASSUMED,)
    )


def read(site: FoundSite, tensors: Tensors) -> Read:
    """The columns of both functions, under the weight of the norm: each stream is read by itself."""
    gain = tensors["gamma"].reshape(-1).astype(np.float64) + 1.0
    rows = [_rows(tensors[role], site.reads[role]) for role in ("fn", "beta_fn")]
    return Read(np.concatenate(rows) * gain, site.streams, blocks=site.streams)


def build(
    sites: Sequence[FoundSite],
    tensors: Sequence[Tensors],
    values: np.ndarray[Any, Any] | None,
    variant: str,
    settings: Settings,
) -> Mixing:
    """M, and how a branch reads and writes the streams where it has one view and whole streams."""
    tanh = settings.values.get("activation") != "none"
    built = [
        _site(site, t, None if values is None else values[k], variant, tanh)
        for k, (site, t) in enumerate(zip(sites, tensors, strict=True))
    ]
    matrices, *gates = (np.stack(parts) for parts in zip(*built, strict=True))
    pre, post = (None if np.isnan(gate).all() else gate for gate in gates)
    return Mixing(matrices, None, pre, post)


def caps(
    sites: Sequence[FoundSite],
    tensors: Sequence[Tensors],
    reach: np.ndarray[Any, Any] | None,
    variant: str,
    settings: Settings,
) -> Caps:
    """No entry is further from its static part than the tanh lets it: abs(scale)."""
    rows, columns = [], []
    for k, (site, t) in enumerate(zip(sites, tensors, strict=True)):
        static = _unfolded(site, t["static_alpha"][None].astype(np.float64))[0][0]
        moved = np.zeros_like(static)
        if reach is not None:
            most = reach[k].max(axis=0)[: t["static_alpha"].shape[1]]
            most = np.tanh(most) if settings.values.get("activation") != "none" else most
            wide = np.broadcast_to(abs(float(t["scale"])) * most, t["static_alpha"].shape)
            moved = _unfolded(site, wide[None])[0][0]
        one = entrywise_caps(static[None], moved[None])
        if variant == "unapplied" and not _always(site, t["static_beta"].ndim):
            one = identity_caps(1)
        rows.append(one.rows[0])
        columns.append(one.columns[0])
    return Caps(np.array(rows), np.array(columns))


def initial(site: FoundSite) -> dict[str, np.ndarray[Any, Any]]:
    """The identity for the streams; NaN where the code takes the layer's number into account."""
    rows, viewed = site.streams, cast(Viewed, site)
    static = np.concatenate([np.full((rows, viewed.views * viewed.fractions), np.nan), np.eye(rows)], axis=1)
    return {"static_alpha": static, "scale": np.array(0.01), "beta_scale": np.array(0.01)}


def _site(
    site: FoundSite, t: Tensors, values: np.ndarray[Any, Any] | None, variant: str, tanh: bool
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """M (T, n, n), pre and post (T, n) of one site; NaN where a branch does not read or write one vector."""
    n, columns = site.streams, t["static_alpha"].shape[1]
    alpha = t["static_alpha"][None].astype(np.float64)
    beta = t["static_beta"].astype(np.float64).reshape(n, -1)[None]
    if values is not None:
        moved = np.tanh(values) if tanh else values
        f = cast(Viewed, site).fractions
        folded = moved[..., :columns].reshape(len(moved), n // f, f, columns)  # (T, s, f, columns)
        alpha = alpha + float(t["scale"]) * np.swapaxes(folded, 1, 2).reshape(len(moved), n, columns)
        beta = beta + float(t["beta_scale"]) * moved[..., columns : columns + beta.shape[-1]]
    matrix, pre = _unfolded(site, alpha)
    if variant == "unapplied" and not _always(site, t["static_beta"].ndim):
        matrix = np.broadcast_to(np.eye(n), matrix.shape)
    nothing = np.full((len(alpha), n), np.nan)
    one_write = beta.shape[-1] == cast(Viewed, site).fractions == 1
    return matrix, pre[..., 0] if pre.shape[-1] == 1 else nothing, beta[..., 0] if one_write else nothing


def _unfolded(
    site: FoundSite, alpha: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """M (T, n f, n f) and pre (T, n f, v f) out of alpha (T, f n, f (v + n)); fractions side by side."""
    f = cast(Viewed, site).fractions
    n = site.streams // f
    split = alpha.reshape(len(alpha), f, n, f, -1)  # (T, f in, s in, f out, v + s out)
    views = split.shape[-1] - n
    matrix = split[..., views:].transpose(0, 4, 3, 2, 1).reshape(len(alpha), n * f, n * f)
    return matrix, split[..., :views].transpose(0, 2, 1, 4, 3).reshape(len(alpha), n * f, views * f)


def _fractions(parts: Mapping[str, tuple[int, ...]]) -> int:
    """Into how many parts each stream is cut; where `static_beta` has two axes, branches are counted."""
    return parts["beta_fn"][1] if len(parts["beta_fn"]) == 2 and len(parts["static_beta"]) == 1 else 1


def _always(site: FoundSite, beta_axes: int) -> bool:
    """Whether the site is of a class that has returned the mixed streams in all versions."""
    return beta_axes == 2 or SEVERAL_INPUTS in site.tensors["scale"]


def _rows(weight: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    """(R, C): a layer's weight has its outputs first, a bare parameter its inputs."""
    if name.endswith(".weight"):
        return weight.reshape(len(weight), -1)
    return weight.reshape(len(weight), -1).T


def _inputs_first(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a layer's weight as if it were a bare parameter."""
    if name.endswith(".weight") and len(shape) >= 2 and shape[2:] in ((), (1, 1)):
        return shape[1], shape[0]
    return shape


def _reason(parts: Mapping[str, tuple[int, ...]]) -> str:
    """Why the shapes of a site are not of this layout, if they are not."""
    if "static_beta" not in parts and {"gamma", "fn"} <= parts.keys():
        return "no static_beta beside it: the branch's output is not added to the streams there"
    if missing := [ROLES[role][0] for role in ROLES if role not in parts]:
        return f"no {missing[0]} beside it: no code that is known"
    (rows, columns), beta, fn, beta_fn = (parts[r] for r in ("static_alpha", "static_beta", "fn", "beta_fn"))
    channels = parts["gamma"][0] if parts["gamma"] else 0
    several, f = len(beta) == 2, _fractions(parts)
    views = columns // f - rows // f if f else 0
    fits = (
        f
        and 1 <= rows <= MOST_STREAMS
        and 1 <= views <= MOST_STREAMS
        and rows % f == columns % f == 0
        and 1 <= channels * rows <= MOST_CHANNELS
        and beta == ((rows, views) if several else (rows,))
        and fn == (channels, columns)
        and beta_fn in ((channels,), (channels, views if several else f))
        and parts["gamma"] in ((channels,), (channels, 1, 1))
        and parts["scale"] == parts["beta_scale"] == ()
    )
    seen = ", ".join(f"{role} {shape}" for role, shape in sorted(parts.items()))
    return "" if fits else f"shapes that do not belong together: {seen}"
