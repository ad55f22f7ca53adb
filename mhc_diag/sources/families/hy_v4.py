"""HY-V4 (Tencent; transformers' `hy_v4` from 5.23 on): streams that are never mixed, M = I.

    P.(attn_hc|ffn_hc).(fn|base|scale)                        transformers' live modules
    P.hc_pre.hc_(attn|mlp)_layer.hc_(fn|base|scale)           what it saves by default
    P.hc_(attn|mlp)_layer[.hc_pre].hc_(fn|base|scale)         what it reads besides

`fn` is (2n, n C), `base` (2n) and `scale` (2), in the order pre (n), post (n): DeepSeek's names without the
mixing. For the normalised input x of a token,

    pre = sigmoid(scale_pre fn_pre x + base_pre) + eps    post = magnitude sigmoid(...) + eps
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mhc_diag.maths.caps import identity_caps
from mhc_diag.records import Caps, Promise, Skipped
from mhc_diag.sources.families import (
    MOST_STREAMS,
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
    _promised,
)
from mhc_diag.sources.readings import Read

TITLE = "HY-V4 (scale of 2: streams that are not mixed)"
GENERIC = False
VARIANTS = {
    "identity": Variant(
        "the identity, for this code never mixes its streams; how branches read and write them",
        "direct",
    )
}

KEY = re.compile(
    r"(?P<run>(?:.*\.)?)(?P<layer>\d{1,9})\.(?:(?P<a>attn|ffn)_hc\."
    r"|(?:hc_pre\.)?hc_(?P<b>attn|mlp)_layer\.(?:hc_pre\.)?hc_)(?P<part>fn|base|scale)"
)
MAGNITUDE = _configured.Wanted(("hc_magnitude",), 2.0, "a number from 0 to 1000", 0, 1000)


def find(shapes: Shapes) -> Found:
    """Sites by run, layer and then attention before FFN; other shapes under these names are others'."""
    sites: list[FoundSite] = []
    skipped: list[Skipped] = []
    for group in _named.grouped(shapes, _parse, ("attn", "ffn"), "hc"):
        n = _streams({part: shapes[name] for part, name in group.names.items()})
        if n and _named.is_prediction(group, shapes):
            skipped.append(Skipped(group.path, _named.PREDICTION))
        elif n:
            small = {part: group.names[part] for part in ("base", "scale")}
            wide = {"fn": group.names["fn"]} if "fn" in group.names else {}
            sites.append(FoundSite(group.path, group.kind, n, group.run, small, wide))
    return Found(tuple(sites), _named.once(skipped))


def variants(shapes: Shapes, config: Mapping[str, Any] | None) -> tuple[str, ...]:
    """One."""
    return ("identity",)


def settings(config: Mapping[str, Any] | None, variant: str) -> Settings:
    """What `pre` and `post` need; M needs nothing.

    Raises:
        MhcDiagError: the configuration has it, but not as a number that can be meant.
    """
    return _configured.configured(config, _configured.eps("hc_eps"), MAGNITUDE)


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
    """M = I at every site; pre and post depend on the input."""
    n = sites[0].streams
    base, scale = (np.stack([t[role] for t in tensors]).astype(np.float64) for role in ("base", "scale"))
    gates = _fused.sigmoid(_fused.logits(base, np.repeat(scale, n, axis=1), values))
    small, magnitude = float(settings.values["hc_eps"]), float(settings.values["hc_magnitude"])
    matrices = np.tile(np.eye(n), (*gates.shape[:2], 1, 1))
    return Mixing(matrices, None, gates[..., :n] + small, magnitude * gates[..., n:] + small)


def caps(
    sites: Sequence[FoundSite],
    tensors: Sequence[Tensors],
    reach: np.ndarray[Any, Any] | None,
    variant: str,
    settings: Settings,
) -> Caps:
    """Exactly 1."""
    return identity_caps(len(sites))


def promise(variant: str, settings: Settings) -> Promise:
    """Streams are not mixed."""
    return _promised.IDENTITY


def initial(site: FoundSite) -> dict[str, np.ndarray[Any, Any]]:
    """Base so that `pre` is 1/n, and `post` 1, at zero input; scale 0.01."""
    n = site.streams
    base = np.concatenate([np.full(n, -math.log(max(n - 1, 1))), np.zeros(n)])
    return {"base": base, "scale": np.full(2, 0.01)}


def _parse(name: str) -> _named.Place | None:
    if not (key := KEY.fullmatch(name)):
        return None
    kind = "attn" if "attn" in (key["a"], key["b"]) else "ffn"
    return _named.Place(key["run"], int(key["layer"]), kind, key["part"])


def _streams(parts: Mapping[str, tuple[int, ...]]) -> int:
    """Number of streams that the shapes agree on, or 0."""
    base, fn = parts.get("base", ()), parts.get("fn")
    n, odd = divmod(base[0], 2) if len(base) == 1 else (0, 1)
    fits = not odd and 1 <= n <= MOST_STREAMS and parts.get("scale") == (2,)
    return n if fits and (fn is None or _fused.reads_streams(fn, 2 * n, n)) else 0
