"""DeepSeek-V4 naming: `fn`, `base` and `scale` for the attention and the FFN site of each layer.

    P.hc_(attn|ffn)_(fn|base|scale)     DeepSeek's own files, GLM-5's, and what transformers saves by default;
                                        vLLM, SGLang, lmdeploy, xorl, exllamav3
    P.(attn_hc|ffn_hc).(fn|base|scale)  transformers' live modules and NeMo Automodel

`fn` is (n^2 + 2n, n C), `base` (n^2 + 2n) and `scale` (3), in the order pre (n), post (n), comb (n x n, by
rows). For the normalised input x of a token,

    comb = sinkhorn(scale_comb fn_comb x + base_comb)      M = comb^T

where sinkhorn is a softmax over rows plus eps, a normalisation of columns, and then rows and columns for the
remaining iterations, each with eps in the denominator. DeepSeek's inference code (V4 and V4.1), transformers
(`deepseek_v4` from 5.8.1 on, `glm5_next` from 5.17 on) and the serving engines agree in that. Two codes do
not: nanowhale's applies comb itself, and transformers 5.8.0 begins with a sigmoid and applies the result
itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
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

TITLE = "DeepSeek-V4 naming (hc_attn, hc_ffn)"
GENERIC = False
COMB = "comb, projected by Sinkhorn's iteration from `base` and what `fn` reads, applied as"
VARIANTS = {
    "deepseek": Variant(f"{COMB} its transpose", "transposed"),
    "headless": Variant(
        f"{COMB} its transpose; no head collapses the streams, as in V4.1, whose branches read them with the "
        "weights of the site before, so how they read is left out",
        "transposed",
    ),
    "nanowhale": Variant(f"{COMB} it is", "direct"),
    "transformers-5.8.0": Variant(
        "comb, the sigmoid of `base` and what `fn` reads, normalised in turns and applied as it is", "direct"
    ),
}

KEY = re.compile(
    r"(?P<run>(?:.*\.)?)(?P<layer>\d{1,9})\.(?:mtp\w*\.)?"
    r"(?:hc_(?P<a>attn|ffn)_|(?P<b>attn|ffn)_hc\.)(?P<part>fn|base|scale)"
)
HEADS = tuple(f"hc_head{dot}{part}" for dot in ("_", ".hc_") for part in ("fn", "base", "scale"))
ITERATIONS = _configured.iterations("hc_sinkhorn_iters", "mhc_sinkhorn_iterations")
EPS = _configured.eps("hc_eps")
FACTOR = _configured.Wanted(("mhc_post_mult_value",), 2.0, "a number from 0 to 1000", 0, 1000, told=False)


def find(shapes: Shapes) -> Found:
    """Sites by run, layer and then attention before FFN."""
    linear = {name.removesuffix(".weight") for name in shapes if name.endswith("_hc.fn.weight")}

    def parse(name: str) -> _named.Place | None:
        key = KEY.fullmatch(name)
        if not key or name[: key.start("part")] + "fn" in linear:
            return None  # another layout's, where `fn` is a linear layer
        return _named.Place(key["run"], int(key["layer"]), key["a"] or key["b"], key["part"])

    return _fused.find(shapes, parse, ("attn", "ffn"), "hc")


def variants(shapes: Shapes, config: Mapping[str, Any] | None) -> tuple[str, ...]:
    """By the head and the shared experts, which nanowhale's code names in its own way, and the configuration.

    `model.hc_head_fn` is nanowhale's, but also what serving engines hold in memory; DeepSeek's files have no
    `model.` before it, and transformers has `hc_head.hc_fn`.
    """
    bare = "model.hc_head_fn" in shapes
    experts = [name for name in shapes if ".shared_expert" in name]
    one = any(".ffn.shared_expert." in name for name in experts)
    several = any(".shared_experts." in name for name in experts)
    usual = "deepseek" if _has_head(shapes) or _is_glm(shapes, config) else "headless"
    if bare and one and not several:
        return ("nanowhale",)
    if one or (bare and not several):
        return ("nanowhale", usual)
    official = "hc_head_fn" in shapes  # whoever saved its configuration, that file is DeepSeek's own
    if not official and "5.8.0" in map(str, _configured.tell(config, "transformers_version")):
        return ("transformers-5.8.0", usual)
    return (usual,)


def settings(config: Mapping[str, Any] | None, variant: str) -> Settings:
    """Iterations and eps of the projection, which multimodal models keep under `text_config`.

    Raises:
        MhcDiagError: the configuration has them, but not as numbers that can be meant.
    """
    return _configured.configured(config, ITERATIONS, EPS, FACTOR)


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
    n, formula = sites[0].streams, _formula(variant, settings)
    z = _fused.logits(*_fused.base_and_scale(tensors, n), values)
    if variant == "transformers-5.8.0":
        return _as_in_5_8_0(z, n, settings)
    return _fused.mixing(z, n, formula)


def caps(
    sites: Sequence[FoundSite],
    tensors: Sequence[Tensors],
    reach: np.ndarray[Any, Any] | None,
    variant: str,
    settings: Settings,
) -> Caps:
    """Columns of comb sum to at most 1, rows by how far `fn` can move the logits."""
    n = sites[0].streams
    if variant == "transformers-5.8.0":  # its rows are not worked out: n entries of at most 1
        return Caps(np.full(len(sites), float(n)), np.ones(len(sites)))
    return _fused.caps(*_fused.base_and_scale(tensors, n), reach, n, _formula(variant, settings))


def promise(variant: str, settings: Settings) -> Promise:
    """Of the projection."""
    return _fused.promise(_formula(variant, settings))


def initial(site: FoundSite) -> dict[str, np.ndarray[Any, Any]]:
    """What transformers and nanowhale start from: base 0, scale 1."""
    return {"base": np.zeros(site.streams * (site.streams + 2)), "scale": np.ones(3)}


def _has_head(shapes: Shapes) -> bool:
    heads = [name for name in shapes if "hc_head" in name]
    return any(name.endswith(HEADS) and not name.startswith("mtp") for name in heads)


def _is_glm(shapes: Shapes, config: Mapping[str, Any] | None) -> bool:
    """GLM-5 has a mean for a head, and reads as V4 does."""
    if any(str(model).startswith("glm") for model in _configured.tell(config, "model_type")):
        return True
    return any(name.startswith("model.language_model.layers.") for name in shapes)


def _formula(variant: str, settings: Settings) -> _fused.Formula:
    known = settings.values
    small = float(known["hc_eps"])
    projection = {**_fused.DEEPSEEK, "iterations": int(known["hc_sinkhorn_iters"]), "eps": small}
    usual = _fused.Formula(projection, True, small, float(known.get("mhc_post_mult_value", FACTOR.default)))
    if variant == "headless":
        return replace(usual, pre_eps=None)
    return replace(usual, transposed=variant not in ("nanowhale", "transformers-5.8.0"))


def _as_in_5_8_0(z: np.ndarray[Any, Any], n: int, settings: Settings) -> Mixing:
    """A sigmoid in place of the softmax, and post without its factor."""
    small = float(settings.values["hc_eps"])
    gates = _fused.sigmoid(z) + small
    comb = gates[..., 2 * n :].reshape(*z.shape[:2], n, n)
    for _ in range(int(settings.values["hc_sinkhorn_iters"])):
        comb = comb / (comb.sum(axis=-1, keepdims=True) + small)
        comb = comb / (comb.sum(axis=-2, keepdims=True) + small)
    square = z[..., 2 * n :].reshape(comb.shape)
    return Mixing(comb, square, gates[..., :n], gates[..., n : 2 * n])
