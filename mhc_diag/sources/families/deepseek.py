"""DeepSeek-V4 naming: `fn`, `base` and `scale` for the attention and the FFN site of each layer.

Read by DeepSeek's own inference code, vLLM, SGLang and transformers (`deepseek_v4` from 5.8.1 on, `glm5_next`
from 5.17 on):

    P.hc_(attn|ffn)_(fn|base|scale)     DeepSeek's files, and what transformers saves by default
    P.(attn_hc|ffn_hc).(fn|base|scale)  transformers' live modules

`fn` is (n^2 + 2n, n C), `base` (n^2 + 2n) and `scale` (3), in the order pre (n), post (n), comb (n x n, by
rows). For the normalised input x of a token,

    comb = sinkhorn(scale_comb fn_comb x + base_comb)      M = comb^T

where sinkhorn is a softmax over rows plus eps, a normalisation of columns, and then rows and columns for the
remaining iterations, each with eps in the denominator.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mhc_diag.errors import MhcDiagError
from mhc_diag.maths.caps import sinkhorn_caps
from mhc_diag.maths.projections import sinkhorn
from mhc_diag.records import Caps, Skipped
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
from mhc_diag.sources.readings import Read

TITLE = "DeepSeek-V4 naming (hc_attn, hc_ffn)"
GENERIC = False
VARIANTS = {
    "deepseek": Variant(
        "comb, projected by Sinkhorn's iteration from `base` and what `fn` reads, applied as its transpose",
        "transposed",
    ),
}

DEFAULTS: dict[str, int | float] = {"hc_sinkhorn_iters": 20, "hc_eps": 1e-6}
KEY = re.compile(
    r"(?P<run>(?:.*\.)?)(?P<layer>\d{1,9})\.(?:hc_(?P<a>attn|ffn)_|(?P<b>attn|ffn)_hc\.)(?P<part>fn|base|scale)"
)


def find(shapes: Mapping[str, tuple[int, ...]]) -> Found:
    """Sites by run, layer and then attention before FFN."""
    groups: dict[tuple[str, str, str], dict[str, str]] = {}
    for name in shapes:
        if key := KEY.fullmatch(name):
            groups.setdefault((key["run"], key["layer"], key["a"] or key["b"]), {})[key["part"]] = name
    sites: list[FoundSite] = []
    skipped: dict[Skipped, None] = {}
    for (run, layer, kind), parts in sorted(groups.items(), key=lambda group: _order(*group[0])):
        path = run + layer
        if reason := _other_code(run, shapes):
            skipped[Skipped(path, reason)] = None
            continue
        streams, reason = _streams({part: shapes[name] for part, name in parts.items()})
        if reason:
            skipped[Skipped(f"{path}.{kind}", reason)] = None
        else:
            small = {part: parts[part] for part in ("base", "scale")}
            wide = {"fn": parts["fn"]} if "fn" in parts else {}
            sites.append(FoundSite(path, kind, streams, run, small, wide))
    return Found(tuple(sites), tuple(skipped))


def variants(shapes: Shapes, config: Mapping[str, Any] | None) -> tuple[str, ...]:
    """One."""
    return ("deepseek",)


def settings(config: Mapping[str, Any] | None, variant: str) -> Settings:
    """Iterations and eps of the projection, which multimodal models keep under `text_config`.

    Raises:
        MhcDiagError: the configuration has them, but not as numbers that can be meant.
    """
    config = config or {}
    nested = config.get("text_config")
    known = {**(nested if isinstance(nested, Mapping) else {}), **config}
    values = {name: known.get(name, default) for name, default in DEFAULTS.items()}
    iterations, eps = values["hc_sinkhorn_iters"], values["hc_eps"]
    if type(iterations) is not int or not 1 <= iterations <= 10_000:
        raise _unusable("hc_sinkhorn_iters", iterations, "a whole number from 1 to 10000")
    if type(eps) not in (int, float) or not 0 <= eps < 1:
        raise _unusable("hc_eps", eps, "a number from 0 to 1")
    return Settings(
        values,
        tuple(
            f"no configuration tells {name}: the default {default} of this layout was taken"
            for name, default in DEFAULTS.items()
            if name not in known
        ),
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
    """M = comb^T, pre = sigmoid + eps and post = 2 sigmoid of base + scale values, at every site."""
    n = sites[0].streams
    base, scale = _base_and_scale(tensors, n)
    z = base[:, None] if values is None else base[:, None] + scale[:, None] * values[:, :, 0]
    logits = z[..., 2 * n :].reshape(*z.shape[:2], n, n)
    comb = sinkhorn.project(logits, **_arguments(settings))
    with np.errstate(over="ignore"):
        gates = 1 / (1 + np.exp(-z[..., : 2 * n]))
    pre = gates[..., :n] + float(settings.values["hc_eps"])
    return Mixing(np.swapaxes(comb, -1, -2), logits, pre, 2 * gates[..., n:])


def caps(
    sites: Sequence[FoundSite],
    tensors: Sequence[Tensors],
    reach: np.ndarray[Any, Any] | None,
    variant: str,
    settings: Settings,
) -> Caps:
    """Rows of M sum to at most 1, columns by how far `fn` can move the logits."""
    n = sites[0].streams
    base, scale = _base_and_scale(tensors, n)
    moved = np.zeros_like(base) if reach is None else np.abs(scale) * reach[:, 0]
    box = (x[:, 2 * n :].reshape(-1, n, n) for x in (base, moved))
    return sinkhorn_caps(*box, **_arguments(settings)).transposed()


def initial(site: FoundSite) -> dict[str, np.ndarray[Any, Any]]:
    """What transformers starts from: base 0, scale 1."""
    rows = site.streams * (site.streams + 2)
    return {"base": np.zeros(rows), "scale": np.ones(3)}


def _base_and_scale(tensors: Sequence[Tensors], n: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(L, n^2 + 2n) each: scale is spread over the rows that it multiplies."""
    base = np.stack([t["base"] for t in tensors]).astype(np.float64)
    scale = np.stack([t["scale"] for t in tensors]).astype(np.float64)
    return base, np.repeat(scale, [n, n, n * n], axis=1)


def _arguments(settings: Settings) -> dict[str, Any]:
    return {
        "iterations": int(settings.values["hc_sinkhorn_iters"]),
        "start": "softmax",
        "last": "columns",
        "eps": float(settings.values["hc_eps"]),
    }


def _order(run: str, layer: str, kind: str) -> tuple[str, int, int]:
    return run, int(layer), ("attn", "ffn").index(kind)


def _other_code(run: str, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Why the tensors of a run must not be read by this formula, if they must not."""
    if re.fullmatch(r"(?:.*\.)?mtp\.", run):
        return "a multi-token-prediction block, no part of the model's own residual path"
    if run == "model.layers." and "model.hc_head_fn" in shapes:
        return (
            "model.hc_head_fn beside it: there is code with these names that applies the matrix itself, "
            "and code that applies its transpose"
        )
    return ""


def _streams(parts: Mapping[str, tuple[int, ...]]) -> tuple[int, str]:
    """Number of streams that the shapes agree on, or the reason why they are not of this layout."""
    base, scale, fn = parts.get("base", ()), parts.get("scale", ()), parts.get("fn")
    rows = base[0] if len(base) == 1 else 0
    n = math.isqrt(rows + 1) - 1
    fits = 1 <= n <= MOST_STREAMS and n * (n + 2) == rows and scale == (3,)
    if fits and (
        fn is None or (len(fn) == 2 and fn[0] == rows and fn[1] % n == 0 and fn[1] <= MOST_CHANNELS)
    ):
        return n, ""
    seen = ", ".join(f"{part} {shape}" for part, shape in sorted(parts.items()))
    return 0, f"expected base (n^2 + 2n), scale (3) and fn (n^2 + 2n, n C), found {seen}"


def _unusable(name: str, value: object, expected: str) -> MhcDiagError:
    return MhcDiagError(
        f"the configuration says {name} = {value!r}, expected {expected}",
        hint="repair config.json, or the config saved in the checkpoint",
    )
