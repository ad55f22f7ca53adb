"""AMD Primus' DeepSeek-V4 (`HyperMixer`, July 2026 on): DeepSeek's formula with a linear layer for `fn`.

    P.(attn_hc|ffn_hc).(fn.weight|base|scale)     fn.weight (n^2 + 2n, n C), base (n^2 + 2n), scale (3)

For the normalised input x of a token, comb = sinkhorn(scale_comb fn_comb x + base_comb), as in DeepSeek's
code. The first versions apply comb itself, sum_k comb[h, k] x[k]; later ones its transpose, as DeepSeek does.
Nothing in a checkpoint tells them apart.
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

TITLE = "AMD Primus (attn_hc.fn.weight, ffn_hc.fn.weight)"
GENERIC = False
COMB = "comb, projected by Sinkhorn's iteration from `base` and what `fn` reads, applied as"
VARIANTS = {
    "direct": Variant(f"{COMB} it is, like in the first versions of the code", "direct"),
    "transposed": Variant(f"{COMB} its transpose, like in later versions of the code", "transposed"),
}

KEY = re.compile(
    r"(?P<run>(?:.*\.)?)(?P<layer>\d{1,9})\.(?:\w+\.)?(?P<kind>attn|ffn)_hc\."
    r"(?P<part>fn(?=\.weight)|base|scale)(?:\.weight)?"
)


def find(shapes: Shapes) -> Found:
    """Sites by run, layer and then attention before FFN."""
    with_weight = {name.removesuffix("fn.weight") for name in shapes if name.endswith("_hc.fn.weight")}

    def parse(name: str) -> _named.Place | None:
        key = KEY.fullmatch(name)
        if not key or name[: key.start("part")] not in with_weight:
            return None  # `base` and `scale` beside a bare `fn` are other codes'
        return _named.Place(key["run"], int(key["layer"]), key["kind"], key["part"])

    return _fused.find(shapes, parse, ("attn", "ffn"), "_hc.")


def variants(shapes: Shapes, config: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Both."""
    return ("direct", "transposed")


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
    """M = comb or comb^T, pre = sigmoid + eps and post = 2 sigmoid of base + scale values, at every site."""
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
    """Base 0, scale 1."""
    return {"base": np.zeros(site.streams * (site.streams + 2)), "scale": np.ones(3)}


def _formula(variant: str, settings: Settings) -> _fused.Formula:
    small = float(settings.values["hc_eps"])
    projection = {"iterations": int(settings.values["hc_sinkhorn_iters"]), "eps": small}
    return _fused.Formula({**_fused.DEEPSEEK, **projection}, variant == "transposed", small)
