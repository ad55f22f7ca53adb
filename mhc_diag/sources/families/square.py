"""Square parameters that recur with a layer's number, read as the applied matrices themselves.

No particular code wrote them: any (n, n) tensor with 2 <= n <= 16 counts whose name carries one number and
exists for at least two of them (`layers.3.mixing`), and so does an (L, n, n) stack whose name carries none.
The tensor is taken as M, out x in, or, where that is asked for, as its transpose. A parameter that holds
logits would read differently.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mhc_diag.records import Skipped
from mhc_diag.sources.families import Found, FoundSite, Mixing, Settings, Shapes, Tensors, Variant

TITLE = "square parameters that recur with a layer index"
GENERIC = True
VARIANTS = {
    "direct": Variant(
        "square parameters read as the applied matrices, without the code that uses them", "direct"
    ),
    "transposed": Variant(
        "square parameters read as the transposes of the applied matrices, without the code that uses them",
        "transposed",
    ),
}

NOTES = {
    "direct": "read as applied directly; a stored transpose or logits would read differently: "
    "measure the live model with --model to be sure",
    "transposed": "read as the transpose of what is applied; what is applied as it is, or logits, would read "
    "differently: measure the live model with --model to be sure",
}
SIZES = range(2, 17)
MAX_LAYERS = 10_000
NUMBER = re.compile(r"(?<![0-9A-Za-z])\d{1,9}(?![0-9A-Za-z])")
ATTENTION = re.compile(r"attention|attn", re.IGNORECASE)
FEED_FORWARD = re.compile(r"mlp|ffn|feed_?forward", re.IGNORECASE)


def find(shapes: Mapping[str, tuple[int, ...]]) -> Found:
    """Sites by layer; within one attention before FFN where every name tells, else in the file's order."""
    patterns: dict[tuple[str, int], list[str]] = {}
    for name, shape in shapes.items():
        if len(shape) in (2, 3) and shape[-1] == shape[-2] and shape[-1] in SIZES:
            patterns.setdefault((NUMBER.sub("#", name), len(shape)), []).append(name)
    placed: list[tuple[int, int | None, int, FoundSite]] = []
    skipped: list[Skipped] = []
    for order, ((pattern, _), names) in enumerate(patterns.items()):
        if reason := _reason(names, shapes):
            skipped.append(Skipped(pattern, reason))
        else:
            placed += [(layer, _rank(pattern), order, site) for layer, site in _sites(names, shapes)]
    unclear = {(site.run, site.streams) for _, rank, _, site in placed if rank is None}

    def key(entry: tuple[int, int | None, int, FoundSite]) -> tuple[str, int, int, int]:
        layer, rank, order, site = entry
        return site.run, layer, 0 if (site.run, site.streams) in unclear else rank or 0, order

    return Found(tuple(site for *_, site in sorted(placed, key=key)), tuple(skipped))


def variants(shapes: Shapes, config: Mapping[str, Any] | None) -> tuple[str, ...]:
    """As they stand; that they are transposes must be said."""
    return ("direct",)


def settings(config: Mapping[str, Any] | None, variant: str) -> Settings:
    """Nothing is computed, so nothing is needed."""
    return Settings(notes=(NOTES[variant],))


def build(
    sites: Sequence[FoundSite],
    tensors: Sequence[Tensors],
    values: np.ndarray[Any, Any] | None,
    variant: str,
    settings: Settings,
) -> Mixing:
    """The tensors as they are, or their transposes."""
    stored = ((t["matrix"], site.index) for site, t in zip(sites, tensors, strict=True))
    matrices = np.stack([a if i is None else a[i] for a, i in stored]).astype(np.float64)[:, None]
    return Mixing(np.swapaxes(matrices, -1, -2) if variant == "transposed" else matrices)


def _reason(names: list[str], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Why the tensors of one pattern cannot be the mixing of consecutive layers, if they cannot."""
    numbers = len(NUMBER.findall(names[0]))
    stacked = len(shapes[names[0]]) == 3
    bias = names[0].removesuffix("weight") + "bias"
    if names[0].endswith("weight") and bias in shapes:
        return "it has a bias, so it is the weight of an ordinary layer"
    if stacked and numbers:
        return "a stack of matrices inside a numbered layer"
    if stacked:
        layers = shapes[names[0]][0]
        return "" if 2 <= layers <= MAX_LAYERS else f"a stack of {layers}, expected 2 to {MAX_LAYERS} layers"
    if numbers > 1:
        return "several numbers in its name: which is the layer?"
    if not numbers:
        return "no layer index in its name"
    return "" if len(names) > 1 else "it is there for one layer only"


def _sites(names: list[str], shapes: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[int, FoundSite]]:
    for name in names:
        *layers, streams, _ = shapes[name]
        tensors = {"matrix": name}
        if layers:
            for i in range(layers[0]):
                yield i, FoundSite(f"{name}[{i}]", "", streams, _run(name), tensors, index=i)
        elif number := NUMBER.search(name):
            path, kind = name[: number.end()], name[number.end() :].strip("._")
            yield int(number[0]), FoundSite(path, kind, streams, _run(name[: number.start()]), tensors)


def _run(before: str) -> str:
    """What names of one run share: `attn_mix.` and `mlp_mix.` alternate, `encoder.` and `decoder.` do not."""
    return FEED_FORWARD.sub("*", ATTENTION.sub("*", before))


def _rank(pattern: str) -> int | None:
    """Attention 0, feed-forward 1, judged by what follows the number and else by what precedes it."""
    for text in reversed(pattern.split("#")):
        if ATTENTION.search(text):
            return 0
        if FEED_FORWARD.search(text):
            return 1
    return None
