"""Qwen4-Exp (transformers' `qwen4_exp` from 5.23 on): streams that are never mixed, M = I.

    P.(attn|mlp)_hyper_connection.block_inject_weight.weight    (n, n C)

What a branch puts out is added to each stream with a weight that depends on the streams; what it reads is
gated channel by channel, so no n numbers say how it reads them.
"""

from __future__ import annotations

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
    _fused,
    _named,
    _promised,
)

TITLE = "Qwen4-Exp (block_inject_weight: streams that are not mixed)"
GENERIC = False
VARIANTS = {
    "identity": Variant("the identity, whatever the input: this code never mixes its streams", "direct")
}

KEY = re.compile(
    r"(?P<run>(?:.*\.)?)(?P<layer>\d{1,9})\.(?P<kind>attn|mlp)_hyper_connection\.block_inject_weight\.weight"
)


def find(shapes: Shapes) -> Found:
    """Sites by run, layer and then attention before MLP. None of their numbers are needed."""
    sites: list[FoundSite] = []
    skipped: list[Skipped] = []
    for group in _named.grouped(shapes, _parse, ("attn", "mlp"), "block_inject_weight"):
        shape = shapes[group.names["inject"]]
        n = shape[0] if shape else 0
        if not 1 <= n <= MOST_STREAMS or not _fused.reads_streams(shape, n, n):
            reason = f"expected block_inject_weight (n, n C), found {shape}"
            skipped.append(Skipped(group.label, reason))
        elif _named.is_prediction(group, shapes):
            skipped.append(Skipped(group.path, _named.PREDICTION))
        else:
            sites.append(FoundSite(group.path, group.kind, n, group.run, {}))
    return Found(tuple(sites), _named.once(skipped))


def variants(shapes: Shapes, config: Mapping[str, Any] | None) -> tuple[str, ...]:
    """One."""
    return ("identity",)


def settings(config: Mapping[str, Any] | None, variant: str) -> Settings:
    """None."""
    return Settings()


def build(
    sites: Sequence[FoundSite],
    tensors: Sequence[Tensors],
    values: np.ndarray[Any, Any] | None,
    variant: str,
    settings: Settings,
) -> Mixing:
    """M = I at every site."""
    n = sites[0].streams
    return Mixing(np.tile(np.eye(n), (len(sites), 1, 1, 1)))


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


def _parse(name: str) -> _named.Place | None:
    key = KEY.fullmatch(name)
    return _named.Place(key["run"], int(key["layer"]), key["kind"], "inject") if key else None
