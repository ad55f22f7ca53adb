"""Megatron-LM's `HyperConnectionModule`, one or two in a layer.

    P.(self_attention|mlp)_hyper_connection.(mapping_proj.weight|alpha_pre|alpha_post|alpha_res|bias)
    P.hyper_connection.(...)     hybrid models: one site in a layer

mapping_proj is (n^2 + 2n, n C) and bias (n^2 + 2n), in the order pre (n), post (n), res (n x n, by rows). P
ends in the layer's number; distributed checkpoints may instead hold all layers in one tensor (L, ...) without
a number. For the normalised input x of a token, z = alpha * (mapping_proj x) + bias. The same tensors are
read in two ways:

    main    H = exp(z), rows and columns normalised in turns, sums of at least 1e-6; M = H.
            Main branch (August 2026), 26.04-alpha, and dev up to June 2026; the dsv4 branch adds 1e-6 instead
    dev     H as in DeepSeek's code; M = H^T. Since commit 9d46c924dc of the dev branch
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mhc_diag.records import Caps, Promise, Skipped
from mhc_diag.sources.families import (
    Found,
    FoundSite,
    Mixing,
    Settings,
    Shapes,
    Tensors,
    Variant,
    _configured,
    _fused,
    _named,
)
from mhc_diag.sources.readings import Read

TITLE = "Megatron-LM (hyper_connection.mapping_proj)"
GENERIC = False
LOGITS = "the bias and what mapping_proj reads"
VARIANTS = {
    "main": Variant(f"the Sinkhorn projection of {LOGITS}, applied as it is", "direct"),
    "dev": Variant(f"the Sinkhorn projection of {LOGITS}, as in DeepSeek's code, transposed", "transposed"),
    "single-pass": Variant(
        f"the Sinkhorn projection of {LOGITS}, as in DeepSeek's code, transposed; no head collapses the "
        "streams, as where branches read with the weights of the site before, so how they read is left out",
        "transposed",
    ),
}

ROLES = {"mapping_proj.weight": "proj", "bias": "bias"} | {
    name: name for name in ("alpha_pre", "alpha_post", "alpha_res")
}
KEY = re.compile(
    r"(?P<run>(?:.*\.)?)(?:(?P<layer>\d{1,9})\.(?:[A-Za-z_]\w*\.)?|(?<=layers\.))"
    rf"(?:(?P<kind>self_attention|mlp)_)?hyper_connection\.(?P<part>{'|'.join(map(re.escape, ROLES))})"
)
KINDS = ("self_attention", "mlp", "")
MOST_LAYERS = 10_000
ITERATIONS = _configured.iterations("mhc_sinkhorn_iterations")
EPS = 1e-6
EPSILON = _configured.Wanted(("mhc_epsilon",), EPS, "a number from 0 to 1", 0, 1, told=False)


def find(shapes: Shapes) -> Found:
    """Sites by run, layer and then attention before MLP."""
    sites: list[FoundSite] = []
    skipped: list[Skipped] = []
    for group in _named.grouped(shapes, _parse, KINDS, "hyper_connection."):
        parts = {role: shapes[name] for role, name in group.names.items()}
        n, layers = _streams_and_layers(parts, stacked=group.layer is None)
        if _named.is_prediction(group, shapes):
            skipped.append(Skipped(group.path, _named.PREDICTION))
        elif not n:
            seen = ", ".join(f"{part} {shape}" for part, shape in sorted(parts.items()))
            expected = "bias (n^2 + 2n), three alphas (1) and mapping_proj (n^2 + 2n, n C)"
            skipped.append(Skipped(group.label, f"expected {expected}, found {seen}"))
        else:
            sites += _sites(group, n, layers)
    sites.sort(key=lambda site: (site.run, site.index or 0))  # stacks of one kind each, taken layer by layer
    return Found(tuple(sites), _named.once(skipped))


def variants(shapes: Shapes, config: Mapping[str, Any] | None) -> tuple[str, ...]:
    """By settings that only one branch has, and otherwise both, the likelier first.

    A learned head (`hc_head_fn`) is no proof of the transpose: dev had one for a month before it transposed.
    """
    head = any("hc_head_fn" in name and "mtp" not in name.split(".") for name in shapes)
    later = "dev" if head else "single-pass"
    if any(tell is True for tell in _configured.tell(config, "mhc_single_pass")):
        return ("single-pass",)
    if _told(config, "mhc_single_pass", "mhc_epsilon"):
        return (later,)
    unused_norm = any(name.endswith("hyper_connection.norm.weight") for name in shapes)
    if unused_norm or _told(config, "enable_mhc_connections", "mhc_num_residual_streams"):
        return ("main",)
    return ("dev", "main") if head else ("main", "single-pass")


def settings(config: Mapping[str, Any] | None, variant: str) -> Settings:
    """Iterations of the projection; its eps is written into the code, but for single-pass models.

    Raises:
        MhcDiagError: the configuration has them, but not as numbers that can be meant.
    """
    if variant == "single-pass":
        return _configured.configured(config, ITERATIONS, EPSILON)
    return _configured.configured(config, ITERATIONS)


def read(site: FoundSite, tensors: Tensors) -> Read:
    """All rows of `mapping_proj`, which reads the normalised streams together."""
    return Read(_of(site, tensors["proj"], 2), site.streams, blocks=1)


def build(
    sites: Sequence[FoundSite],
    tensors: Sequence[Tensors],
    values: np.ndarray[Any, Any] | None,
    variant: str,
    settings: Settings,
) -> Mixing:
    """M = H or H^T, pre = sigmoid (plus eps in dev) and post = 2 sigmoid of bias + alpha values."""
    n = sites[0].streams
    z = _fused.logits(*_bias_and_alpha(sites, tensors), values)
    return _fused.mixing(z, n, _formula(variant, settings))


def caps(
    sites: Sequence[FoundSite],
    tensors: Sequence[Tensors],
    reach: np.ndarray[Any, Any] | None,
    variant: str,
    settings: Settings,
) -> Caps:
    """Columns of H sum to at most 1, rows by how far `mapping_proj` can move the logits."""
    n = sites[0].streams
    return _fused.caps(*_bias_and_alpha(sites, tensors), reach, n, _formula(variant, settings))


def promise(variant: str, settings: Settings) -> Promise:
    """Of the projection."""
    return _fused.promise(_formula(variant, settings))


def initial(site: FoundSite) -> dict[str, np.ndarray[Any, Any]]:
    """Bias 0, and alphas 0.01 unless configured otherwise."""
    alphas = {name: np.full(1, 0.01) for name in ("alpha_pre", "alpha_post", "alpha_res")}
    return {"bias": np.zeros(site.streams * (site.streams + 2)), **alphas}


def _parse(name: str) -> _named.Place | None:
    if not (key := KEY.fullmatch(name)):
        return None
    layer = None if key["layer"] is None else int(key["layer"])
    return _named.Place(key["run"], layer, key["kind"] or "", ROLES[key["part"]])


def _streams_and_layers(parts: Mapping[str, tuple[int, ...]], *, stacked: bool) -> tuple[int, int]:
    """Numbers of streams and of layers that the shapes agree on, or (0, 0)."""
    shapes = {role: shape[1:] if stacked else shape for role, shape in parts.items()}
    layers = {shape[:1] for shape in parts.values()} if stacked else {(1,)}
    bias, proj = shapes.get("bias", ()), shapes.get("proj")
    rows = bias[0] if len(bias) == 1 else 0
    n = _fused.streams_of(rows)
    fits = n and all(shapes.get(f"alpha_{part}") in ((1,), ()) for part in ("pre", "post", "res"))
    if not fits or len(layers) != 1 or (proj is not None and not _fused.reads_streams(proj, rows, n)):
        return 0, 0
    count = sum(*layers)
    return (n, count) if 1 <= count <= MOST_LAYERS else (0, 0)


def _sites(group: _named.Group, n: int, layers: int) -> Iterator[FoundSite]:
    small = {role: name for role, name in group.names.items() if role != "proj"}
    wide = {role: name for role, name in group.names.items() if role == "proj"}
    if group.layer is not None:
        yield FoundSite(group.path, group.kind, n, group.run, small, wide)
        return
    for layer in range(layers):
        yield FoundSite(f"{group.run}{layer}", group.kind, n, group.run, small, wide, index=layer)


def _told(config: Mapping[str, Any] | None, *keys: str) -> bool:
    return any(True for key in keys for _ in _configured.tell(config, key))


def _of(site: FoundSite, numbers: np.ndarray[Any, Any], dimensions: int) -> np.ndarray[Any, Any]:
    """What a tensor holds for one site, of so many dimensions."""
    return numbers if site.index is None or numbers.ndim == dimensions else numbers[site.index]


def _alpha(site: FoundSite, numbers: np.ndarray[Any, Any]) -> float:
    """One number, out of as many as there are layers where they are stacked."""
    flat = numbers.reshape(-1)
    return float(flat[site.index or 0] if len(flat) > 1 else flat[0])


def _bias_and_alpha(
    sites: Sequence[FoundSite], tensors: Sequence[Tensors]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(L, n^2 + 2n) each."""
    held = list(zip(sites, tensors, strict=True))
    bias = np.stack([_of(site, t["bias"], 1) for site, t in held]).astype(np.float64)
    names = ("alpha_pre", "alpha_post", "alpha_res")
    alphas = np.array([[_alpha(site, t[name]) for name in names] for site, t in held])
    return bias, _fused.spread(alphas, sites[0].streams)


def _formula(variant: str, settings: Settings) -> _fused.Formula:
    iterations = int(settings.values["mhc_sinkhorn_iterations"])
    if variant == "main":
        projection = {"iterations": iterations, "last": "columns", "eps": EPS, "eps_as": "floor"}
        return _fused.Formula(projection, transposed=False)
    eps = float(settings.values.get("mhc_epsilon", EPS))
    projection = {**_fused.DEEPSEEK, "iterations": iterations, "eps": eps}
    return _fused.Formula(projection, transposed=True, pre_eps=eps if variant == "dev" else None)
