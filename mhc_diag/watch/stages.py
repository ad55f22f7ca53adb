"""One record of one rank, and what the stages of a pipeline have to know of each other's.

Each stage multiplies its own sites for every token. It gives the others one n x n product a token, and with
it which token that is; nothing else of it is needed for prefixes and suffixes of the whole model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.watch.depth import Product, beside, prefixes
from mhc_diag.watch.tables import Table, table

if TYPE_CHECKING:
    from torch import Tensor

BESIDE = 4
"""Columns of what is sent beside the matrix: scale, whether finite, number and weight of the token."""

Told = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What one rank recorded of one forward pass."""

    forward: int
    """Its number: microbatches of several stages are matched by it."""
    matrices: Tensor
    """(L, T, n, n)."""
    weights: Tensor | None = None
    """(T): 0 for a token that does not count."""
    numbers: Tensor | None = None
    """(T): which tokens of the forward pass these are; 0, 1, 2 ... if None."""
    tapped: bool = True
    step: int = 0
    """Of the training run."""
    made: Table | None = None
    """Its gains, where they are known and the matrices are not kept."""

    def settled(self) -> Kept:
        """With its gains instead of its matrices, where this rank has all sites."""
        few = self.matrices[:, :0].clone()
        return replace(self, matrices=few, made=table(self.matrices, self.weights))

    def told(self) -> dict[str, Any]:
        """What the other ranks have to know before anything is exchanged."""
        sites, tokens, n, _ = self.matrices.shape
        shape = {"sites": int(sites), "tokens": int(tokens), "n": int(n)}
        return {"tapped": self.tapped, "step": self.step, **shape}

    def packed(self, tokens: int) -> Tensor:
        """(tokens, n*n + BESIDE): the product of all sites, and what is sent beside it."""
        import torch

        made = prefixes(self.matrices)
        last, scale = made.mantissa[-1], made.scale[-1]
        finite = torch.isfinite(self.matrices).flatten(2).all(dim=2).all(dim=0)
        count = len(last)
        numbers = torch.arange(count, device=last.device) if self.numbers is None else self.numbers
        weights = _weights(self.weights, count, last)
        columns = [column.to(last)[:, None] for column in (scale, finite, numbers, weights)]
        rows = torch.cat([last.flatten(1), *columns], dim=1)
        padded = rows.new_zeros((tokens, rows.shape[1]))
        padded[:count] = rows
        return padded


def _weights(weights: Tensor | None, count: int, like: Tensor) -> Tensor:
    return like.new_ones(count) if weights is None or len(weights) != count else weights


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """What a stage sent of one record."""

    product: Product
    finite: Tensor
    numbers: Tensor
    weights: Tensor

    @staticmethod
    def unpacked(rows: Tensor, tokens: int, n: int) -> Sent:
        """From the rows of `Kept.packed`, without the padding."""
        rows = rows[:tokens]
        scale, finite, numbers, weights = rows[:, n * n :].unbind(1)
        return Sent(Product(rows[:, : n * n].reshape(-1, n, n), scale), finite > 0, numbers, weights)


def of_stage(record: Kept, stages: Sequence[Sent | None], own: int) -> Table:
    """The table of one stage's sites, as parts of the whole model.

    Args:
        record: of this stage.
        stages: what every stage sent, in the order of depth; None for a stage without sites.
        own: which of them this is.

    Raises:
        MhcDiagError: the stages kept other tokens.
    """
    import torch

    sent = [stage for stage in stages if stage is not None]
    tokens = max(len(stage.finite) for stage in sent)
    several = [stage for stage in sent if len(stage.finite) == tokens]
    _check_tokens(sent, several, record.forward)
    n = record.matrices.shape[-1]
    products = [
        None
        if stage is None
        else Product(stage.product.mantissa.expand(tokens, n, n), stage.product.scale.expand(tokens))
        for stage in stages
    ]
    finite = torch.stack([stage.finite.expand(tokens) for stage in sent]).all(dim=0)
    weights = torch.stack([stage.weights for stage in several]).amin(dim=0)
    matrices = record.matrices.expand(-1, tokens, -1, -1)
    return table(matrices, weights, *beside(products, own), finite)


def _check_tokens(sent: Sequence[Sent], several: Sequence[Sent], forward: int) -> None:
    import torch

    odd = [s for s in sent if len(s.finite) not in (1, len(several[0].finite))]
    if odd or not all(torch.equal(s.numbers, several[0].numbers) for s in several):
        raise MhcDiagError(
            f"in forward pass {forward} the stages kept other tokens: "
            + ", ".join(str(len(s.finite)) for s in sent),
            hint="where there is a mask, give it to every stage, and watch all stages with the same `tokens`",
        )


def thinned(record: Kept, limit: int) -> Kept:
    """With at most so many tokens, evenly spread, as taps would have kept.

    Example:
        >>> import torch
        >>> few = thinned(Kept(1, torch.ones(2, 10, 4, 4)), 4)
        >>> few.numbers.tolist(), tuple(few.matrices.shape)
        ([0, 2, 5, 7], (2, 4, 4, 4))
    """
    import torch

    count = int(record.matrices.shape[1])
    if count <= limit:
        return record
    index = torch.arange(limit, device=record.matrices.device) * count // limit
    numbers = index if record.numbers is None else record.numbers[index]
    weights = None if record.weights is None else record.weights[index]
    return replace(record, matrices=record.matrices[:, index], weights=weights, numbers=numbers)
