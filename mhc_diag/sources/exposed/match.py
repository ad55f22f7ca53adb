"""Whether matrices that came by are the measured operators, their transposes, or neither."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mhc_diag.sources.exposed.capture import Event
from mhc_diag.sources.exposed.squares import Order, orders, rows_of_tokens

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mhc_diag.records import MixingStack

Relation = Literal["equal", "transposed", "either", "neither"]

TOLERANCE = 1e-5
"""Largest deviation of equal matrices in float32, relative to the largest entry or 1."""
CLEAR = 0.1
"""One of two orientations is meant where its deviation is less than this part of the other's."""


@dataclass(frozen=True, slots=True)
class Match:
    """How what came by compares with one site's operator."""

    relation: Relation
    deviation: float
    """Largest difference of an entry over all tokens compared."""
    order: Order
    cast: torch.dtype | None = None
    """The type that the matrix is rounded to before it is applied, where that can be told."""


def compare(event: Event, stack: MixingStack, dtypes: Iterable[torch.dtype]) -> list[Match] | None:
    """How a tensor compares with the operator of each site; None where it cannot belong to the tokens.

    Args:
        event: a tensor that came by while the stack was measured.
        stack: what was measured, in torch.
        dtypes: floating types that the model computes in: with a coarse one, what is shown in float32 may be
            rounded before it is applied.

    Returns:
        One match for each site: the best there is over all orders, types and both orientations.
    """
    shape = stack.provenance.token_shape
    held = len(stack.provenance.token_numbers) or math.prod(shape)
    if event.form.n != stack.streams or stack.matrices.shape[1] != held:
        return None
    found: list[list[Match]] = [
        _sites(order, cast, values, operators, tolerances)
        for order in orders(event.form, shape)
        for cast, values, operators, tolerances in _variants(event, order, stack, dtypes)
    ]
    if not found:
        return None
    return [min(matches, key=_rank) for matches in zip(*found, strict=True)]


def unit_roundoff(dtypes: Iterable[torch.dtype]) -> float:
    """Half the distance of 1 to the next number, in the coarsest of the types."""
    import torch

    return max((torch.finfo(dtype).eps / 2 for dtype in dtypes), default=0.0)


def _rank(match: Match) -> tuple[bool, float]:
    return match.relation == "neither", math.inf if math.isnan(match.deviation) else match.deviation


def _variants(
    event: Event, order: Order, stack: MixingStack, dtypes: Iterable[torch.dtype]
) -> Iterator[tuple[torch.dtype | None, Tensor, Tensor, list[float]]]:
    """What came by, as it was and rounded, beside the operators of the same tokens."""
    import torch

    total, numbers = math.prod(stack.provenance.token_shape), stack.provenance.token_numbers
    every = torch.tensor(numbers or range(total), device=event.rows.device)
    kept = torch.full((event.form.count,), -1, device=event.rows.device)
    kept[event.index] = torch.arange(len(event.index), device=event.rows.device)
    row = kept[rows_of_tokens(event.form, order, every, total)]
    tokens = (row >= 0).nonzero().flatten()
    operators = stack.matrices[:, tokens.to(stack.matrices.device)]
    shown = event.rows[row[tokens]].to(operators.device)
    own = shown.dtype
    coarse = dict.fromkeys([*dtypes, torch.bfloat16, torch.float16])
    coarser = [d for d in coarse if torch.finfo(d).eps > torch.finfo(own).eps]
    sizes = operators.abs().nan_to_num(0.0, 0.0).flatten(1).amax(dim=1).clamp(min=1.0).tolist()
    for cast in (None, *coarser):
        bound = max(TOLERANCE, 1.01 * unit_roundoff([*dtypes, own]) if cast is None else 0.0)
        values = shown if cast is None else shown.to(cast)
        yield cast, values.to(operators.dtype), operators, [bound * size for size in sizes]


def _sites(
    order: Order, cast: torch.dtype | None, shown: Tensor, operators: Tensor, tolerances: list[float]
) -> list[Match]:
    straight, turned = _deviations(shown, operators), _deviations(shown.mT, operators)
    return [
        Match(*_relation(one, other, tolerance), order, cast)
        for one, other, tolerance in zip(straight, turned, tolerances, strict=True)
    ]


def _relation(straight: float, turned: float, tolerance: float) -> tuple[Relation, float]:
    smaller, larger = sorted((straight, turned))
    if not smaller <= tolerance:
        return "neither", smaller
    if larger <= tolerance and not smaller < CLEAR * larger - TOLERANCE:
        return "either", smaller
    return ("equal" if straight <= turned else "transposed"), smaller


def _deviations(shown: Tensor, operators: Tensor) -> list[float]:
    """Largest difference for each site; what is not finite on both sides is no difference."""
    import torch

    good, also = torch.isfinite(shown), torch.isfinite(operators)
    apart = torch.where(good & also, (operators - shown).abs(), math.inf)
    apart = torch.where(good | also, apart, 0.0)
    apart[~also.flatten(1).any(dim=1)] = math.inf  # nothing to compare
    return [float(x) for x in apart.flatten(1).amax(dim=1)]
