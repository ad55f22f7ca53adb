"""Sites that compute all their coefficients at once: [pre (n) | post (n) | mixing (n x n, by rows)].

    z = base + scale F x,  pre = sigmoid(z_pre) + eps,  post = factor sigmoid(z_post),
    H = sinkhorn(z_mixing),  M = H or its transpose

x is the streams of a token, flattened and normalised together; F is (n^2 + 2n, n C); scale is one number for
each of the three parts. Most layouts hold F, base and scale as one tensor each, in the roles `fn`, `base` and
`scale`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mhc_diag.maths.caps import sinkhorn_caps
from mhc_diag.maths.projections import sinkhorn
from mhc_diag.records import Caps, Promise, Skipped
from mhc_diag.sources.families import (
    MOST_CHANNELS,
    MOST_STREAMS,
    Found,
    FoundSite,
    Mixing,
    Shapes,
    Tensors,
    _named,
    _promised,
)

DEEPSEEK: Mapping[str, Any] = {"start": "softmax", "last": "columns"}
"""How DeepSeek's code projects; its iterations and eps are configured."""


@dataclass(frozen=True, slots=True)
class Formula:
    """What the codes that read such tensors differ in."""

    projection: Mapping[str, Any]
    """Arguments of `sinkhorn.project`."""
    transposed: bool
    """Whether M is the transpose of what is projected."""
    pre_eps: float | None = 0.0
    """None where it is not known how a branch reads the streams."""
    post_factor: float = 2.0


def find(
    shapes: Shapes, parse: Callable[[str], _named.Place | None], kinds: Sequence[str], mark: str
) -> Found:
    """The sites among names with a mark in them, in the roles `base`, `scale` and, if it is there, `fn`."""
    sites: list[FoundSite] = []
    skipped: list[Skipped] = []
    for group in _named.grouped(shapes, parse, kinds, mark):
        parts = {role: shapes[name] for role, name in group.names.items()}
        n = _streams(parts)
        if not n and _without_mixing(parts):
            continue
        if _named.is_prediction(group, shapes):
            skipped.append(Skipped(group.path, _named.PREDICTION))
        elif not n:
            seen = ", ".join(f"{part} {shape}" for part, shape in sorted(parts.items()))
            expected = "base (n^2 + 2n), scale (3) and fn (n^2 + 2n, n C)"
            skipped.append(Skipped(group.label, f"expected {expected}, found {seen}"))
        else:
            small = {part: group.names[part] for part in ("base", "scale")}
            wide = {"fn": group.names["fn"]} if "fn" in parts else {}
            sites.append(FoundSite(group.path, group.kind, n, group.run, small, wide))
    return Found(tuple(sites), _named.once(skipped))


def streams_of(rows: int) -> int:
    """The n of n^2 + 2n rows; 0 if they are no such number, or absurdly many.

    Example:
        >>> streams_of(24), streams_of(25)
        (4, 0)
    """
    n = math.isqrt(rows + 1) - 1
    return n if 1 <= n <= MOST_STREAMS and n * (n + 2) == rows else 0


def reads_streams(fn: tuple[int, ...], rows: int, n: int) -> bool:
    """Whether a shape is that of F: (rows, n C).

    Example:
        >>> reads_streams((24, 128), 24, 4), reads_streams((24, 127), 24, 4)
        (True, False)
    """
    return len(fn) == 2 and fn[0] == rows and 0 < fn[1] <= MOST_CHANNELS and fn[1] % n == 0


def base_and_scale(tensors: Sequence[Tensors], n: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(L, n^2 + 2n) each: scale is spread over the rows that it multiplies."""
    base, scale = (np.stack([t[role] for t in tensors]).astype(np.float64) for role in ("base", "scale"))
    return base, spread(scale, n)


def spread(scale: np.ndarray[Any, Any], n: int) -> np.ndarray[Any, Any]:
    """(L, 3) numbers over the rows that they multiply: (L, n^2 + 2n)."""
    return np.repeat(scale, [n, n, n * n], axis=1)


def logits(
    base: np.ndarray[Any, Any], scale: np.ndarray[Any, Any], values: np.ndarray[Any, Any] | None
) -> np.ndarray[Any, Any]:
    """What is made of base and scale (L, R) and of the values (L, T, 1, R) that F reads off: z (L, T, R)."""
    return base[:, None] if values is None else base[:, None] + scale[:, None] * values[:, :, 0]


def mixing(z: np.ndarray[Any, Any], n: int, formula: Formula) -> Mixing:
    """What (L, T, n^2 + 2n) numbers make."""
    square = z[..., 2 * n :].reshape(*z.shape[:2], n, n)
    projected = sinkhorn.project(square, **formula.projection)
    gates = sigmoid(z[..., : 2 * n])
    return Mixing(
        np.swapaxes(projected, -1, -2) if formula.transposed else projected,
        square,
        None if formula.pre_eps is None else gates[..., :n] + formula.pre_eps,
        formula.post_factor * gates[..., n:],
    )


def caps(
    base: np.ndarray[Any, Any],
    scale: np.ndarray[Any, Any],
    reach: np.ndarray[Any, Any] | None,
    n: int,
    formula: Formula,
) -> Caps:
    """The bounds of base and scale (L, n^2 + 2n) where F x stays within reach (L, 1, n^2 + 2n)."""
    moved = np.zeros_like(base) if reach is None else np.abs(scale) * reach[:, 0]
    middle, far = (x[:, 2 * n :].reshape(-1, n, n) for x in (base, moved))
    found = sinkhorn_caps(middle, far, **formula.projection)
    return found.transposed() if formula.transposed else found


def promise(formula: Formula) -> Promise:
    """What the projection makes of any logits.

    Example:
        >>> promise(Formula({**DEEPSEEK, "iterations": 20, "eps": 1e-6}, transposed=True)).exact
        'rows'
    """
    how = formula.projection
    eps = 0.0 if how.get("eps_as") == "floor" else float(how["eps"])
    return _promised.sinkhorn(
        how["last"], transposed=formula.transposed, iterations=how["iterations"], eps=eps
    )


def sigmoid(z: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """1 / (1 + exp(-z)), without a warning where that is 0.

    Example:
        >>> sigmoid(np.array([0.0, -1000.0])).tolist()
        [0.5, 0.0]
    """
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-z))


def _streams(parts: Mapping[str, tuple[int, ...]]) -> int:
    """Number of streams that the shapes agree on, or 0."""
    base, fn = parts.get("base", ()), parts.get("fn")
    rows = base[0] if len(base) == 1 else 0
    n = streams_of(rows)
    fits = n and parts.get("scale") == (3,) and (fn is None or reads_streams(fn, rows, n))
    return n if fits else 0


def _without_mixing(parts: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether it is [pre (n) | post (n)] alone: a layout of its own, under names that others have too."""
    base, fn = parts.get("base", ()), parts.get("fn")
    n, odd = divmod(base[0], 2) if len(base) == 1 else (0, 1)
    return (
        parts.get("scale") == (2,)
        and not odd
        and 1 <= n <= MOST_STREAMS
        and (fn is None or reads_streams(fn, 2 * n, n))
    )
