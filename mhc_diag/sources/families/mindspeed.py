"""MindSpeed-LLM's DeepSeek-V4 on Megatron (`MHC`, August 2026): DeepSeek's formula in modules of its own.

    P.(attn_mhc|mlp_mhc).(hc_fn.weight|hc_base|hc_scale)
    hc_fn.weight (n^2 + 2n, n C), hc_base (n^2 + 2n), hc_scale (3)

For the normalised input x of a token, comb = sinkhorn(scale_comb fn_comb x + base_comb) and M = comb^T, as in
DeepSeek's code. Models of Hugging Face's naming that have these modules too apply comb itself, in the code
that is published of one; so under names that are not Megatron's (`decoder.layers`) it can be either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mhc_diag.records import Caps, Promise
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

TITLE = "MindSpeed-LLM (attn_mhc.hc_fn.weight, mlp_mhc.hc_fn.weight)"
GENERIC = False
COMB = "comb, projected by Sinkhorn's iteration from `hc_base` and what `hc_fn` reads, applied as"
VARIANTS = {
    "mindspeed": Variant(f"{COMB} its transpose", "transposed"),
    "direct": Variant(f"{COMB} it is", "direct"),
}

KEY = re.compile(
    r"(?P<run>(?:.*\.)?)(?P<layer>\d{1,9})\.(?:\w+\.)?(?P<kind>attn|mlp)_mhc\."
    r"hc_(?P<part>fn(?=\.weight)|base|scale)(?:\.weight)?"
)


def find(shapes: Shapes) -> Found:
    """Sites by run, layer and then attention before MLP."""
    return _fused.find(shapes, _parse, ("attn", "mlp"), "_mhc.hc_")


def variants(shapes: Shapes, config: Mapping[str, Any] | None) -> tuple[str, ...]:
    """MindSpeed's for Megatron's names, and else both."""
    megatron = all("decoder" in name.split(".") for name in shapes if "_mhc.hc_" in name and _parse(name))
    return ("mindspeed",) if megatron else ("mindspeed", "direct")


def settings(config: Mapping[str, Any] | None, variant: str) -> Settings:
    """Iterations and eps of the projection.

    Raises:
        MhcDiagError: the configuration has them, but not as numbers that can be meant.
    """
    return _configured.configured(
        config, _configured.iterations("hc_sinkhorn_iters"), _configured.eps("hc_eps")
    )


def read(site: FoundSite, tensors: Tensors) -> Read:
    """All rows of `fn`, which reads the normalised streams together."""
    return Read(tensors["fn"], site.streams, blocks=1)


def build(
    sites: Sequence[FoundSite],
    tensors: Sequence[Tensors],
    values: np.ndarray[Any, Any] | None,
    variant: str,
    settings: Settings,
) -> Mixing:
    """M = comb^T or comb, pre = sigmoid + eps and post = 2 sigmoid of base + scale values, at every site."""
    n = sites[0].streams
    z = _fused.logits(*_fused.base_and_scale(tensors, n), values)
    return _fused.mixing(z, n, _formula(variant, settings))


def caps(
    sites: Sequence[FoundSite],
    tensors: Sequence[Tensors],
    reach: np.ndarray[Any, Any] | None,
    variant: str,
    settings: Settings,
) -> Caps:
    """Columns of comb sum to at most 1, rows by how far `fn` can move the logits."""
    n = sites[0].streams
    return _fused.caps(*_fused.base_and_scale(tensors, n), reach, n, _formula(variant, settings))


def promise(variant: str, settings: Settings) -> Promise:
    """Of the projection."""
    return _fused.promise(_formula(variant, settings))


def initial(site: FoundSite) -> dict[str, np.ndarray[Any, Any]]:
    """Base 0, scale 0."""
    return {"base": np.zeros(site.streams * (site.streams + 2)), "scale": np.zeros(3)}


def _parse(name: str) -> _named.Place | None:
    key = KEY.fullmatch(name)
    return _named.Place(key["run"], int(key["layer"]), key["kind"], key["part"]) if key else None


def _formula(variant: str, settings: Settings) -> _fused.Formula:
    small = float(settings.values["hc_eps"])
    projection = {"iterations": int(settings.values["hc_sinkhorn_iters"]), "eps": small}
    return _fused.Formula({**_fused.DEEPSEEK, **projection}, variant == "mindspeed", small)
