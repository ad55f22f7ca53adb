"""The gains of some tokens at some sites as sums and maxima, which tables of other tokens and sites can join.

No average is ever averaged again: a table holds, per site, the log10 of the largest gain and of the sum of
the gains, and how many tokens it counts. So tables of any number of ranks give what one process with all
tokens and all sites would have found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from mhc_diag.watch.depth import Product, as_wide, prefixes, suffixes, times

if TYPE_CHECKING:
    from torch import Tensor

SUMS = [1, 3, 8]
"""Rows of `logs` that hold sums over tokens, from which means are made."""
NUMBERS = 10
LEAST = [6, 7]
"""Rows that hold minima over tokens; the others hold maxima."""
LOWEST = [6, 7, 8]
"""Rows of which the lowest over depth is the worst."""


class Table(NamedTuple):
    """What is known of some tokens at some sites."""

    logs: Tensor
    """(9, L), log10, in the order of `mhc_diag.watch.gains.NAMES`, with the sum over tokens for each mean."""
    tokens: Tensor
    """How many tokens count."""
    nonfinite: Tensor
    """How many of them have an entry that is not finite, at any site of the whole model."""


def table(
    matrices: Tensor,
    weights: Tensor | None = None,
    before: Product | None = None,
    after: Product | None = None,
    finite: Tensor | None = None,
) -> Table:
    """The table of some tokens at the sites of one stage.

    Args:
        matrices: (L, T, n, n), out x in, of the stage.
        weights: (T), 1 for a token that counts and 0 for one that does not; all count if None.
        before: product of all sites before the stage (T, n, n).
        after: product of all sites after it.
        finite: (T), whether a token is finite at the sites of the other stages; all are if None.

    Example:
        >>> import torch
        >>> made = table(torch.full((2, 3, 1, 1), 10.0))
        >>> made.logs[0].tolist(), made.tokens.item()
        ([1.0, 2.0], 3.0)
    """
    import torch

    with torch.no_grad():
        m = as_wide(matrices)
        everyone = weights is None or len(weights) != m.shape[1]
        count = m.new_ones(m.shape[1]) if everyone or weights is None else weights.to(m)
        whole = torch.isfinite(m).flatten(2).all(dim=2).all(dim=0)
        whole = whole if finite is None else whole & finite
        largest, least = [], []
        for axis, made, other in ((-1, prefixes(m), before), (-2, suffixes(m), after)):
            if other is not None:
                made = times(made, other) if axis == -1 else times(other, made)
            gains = _log10_gain(made.mantissa, axis) + made.scale
            largest += [_largest(gains, count), _total(gains, count)]
            least.append(-_largest(-gains, count))
            if axis == -1:
                apart = _total(_uniformity(made), count)
        largest += [_largest(_log10_gain(m, axis), count) for axis in (-1, -2)]
        rows = [*largest, *least, apart]
        return Table(torch.stack(rows), count.sum(), ((~whole) * count).sum())


def merged(tables: Sequence[Table]) -> Table:
    """One table of other tokens at the same sites: maxima of maxima, sums of sums.

    Args:
        tables: one or more.

    Example:
        >>> import torch
        >>> few, many = (table(torch.full((1, t, 1, 1), g)) for t, g in ((1, 8.0), (3, 4.0)))
        >>> round(10 ** log10_numbers(merged([few, many]))[1].item(), 12)  # and not the mean of 8 and 4
        5.0
    """
    import torch

    logs = torch.stack([t.logs for t in tables])
    made = logs.amax(dim=0)
    made[LEAST] = logs[:, LEAST].amin(dim=0)
    made[SUMS] = torch.logsumexp(logs[:, SUMS] * math.log(10), dim=0) / math.log(10)
    total = torch.stack([torch.stack([t.tokens, t.nonfinite]) for t in tables]).sum(dim=0)
    return Table(made, total[0], total[1])


def joined(tables: Sequence[Table]) -> Table:
    """One table of the same tokens at the sites of several stages, in the order of depth.

    Args:
        tables: one or more, each made with what comes before and after its stage.
    """
    import torch

    counts = tables[0]
    return Table(torch.cat([t.logs for t in tables], dim=1), counts.tokens, counts.nonfinite)


def log10_numbers(made: Table) -> Tensor:
    """Log10 of the worst over depth of each row, means for sums, and how many tokens are not finite.

    Args:
        made: of one site or more.

    Returns:
        (NUMBERS), as `mhc_diag.watch.gains.NAMES` lists them, and the tokens.
    """
    import torch

    worst = made.logs.amax(dim=1)
    worst[LOWEST] = made.logs[LOWEST].amin(dim=1)
    worst[SUMS] -= made.tokens.log10()
    return torch.cat([worst, made.nonfinite[None]])


def worst_of(numbers: Sequence[Tensor]) -> Tensor:
    """The worst of the numbers of several stages, each as of `log10_numbers`.

    Args:
        numbers: of the same shape, the last axis (NUMBERS).
    """
    import torch

    every = torch.stack(list(numbers))
    made = every.amax(dim=0)
    made[..., LOWEST] = every[..., LOWEST].amin(dim=0)
    return made


def no_numbers(records: int) -> Tensor:
    """What leaves the worst of others as it is, (records, NUMBERS).

    Example:
        >>> import torch
        >>> worst_of([no_numbers(1), torch.ones(1, NUMBERS)]).tolist() == [[1.0] * NUMBERS]
        True
    """
    import torch

    made = torch.full((records, NUMBERS), -math.inf, dtype=torch.float64)
    made[:, LOWEST] = math.inf
    return made


def _log10_gain(matrices: Tensor, axis: int) -> Tensor:
    return matrices.sum(dim=axis).abs().amax(dim=-1).log10()


def _uniformity(made: Product) -> Tensor:
    """Log10 of the distance from full averaging, (L, T). One stream has none: -inf."""
    import torch

    mantissa, scale = made
    n = mantissa.shape[-1]
    if n == 1:
        return torch.full_like(scale, -math.inf)
    unit = scale.clamp(min=0)  # so that neither A nor J overflows
    apart = mantissa * (10 ** (scale - unit))[..., None, None] - (10**-unit)[..., None, None] / n
    return apart.square().sum(dim=(-2, -1)).sqrt().log10() - math.log10(n - 1) / 2 + unit


def _largest(gains: Tensor, count: Tensor) -> Tensor:
    import torch

    if not gains.shape[1]:
        return gains.new_full(gains.shape[:1], -math.inf)
    return torch.where(count > 0, gains, -math.inf).amax(dim=1)


def _total(gains: Tensor, count: Tensor) -> Tensor:
    import torch

    counted = torch.where(count > 0, gains, -math.inf)
    return torch.logsumexp(counted * math.log(10) + count.log(), dim=1) / math.log(10)
