"""Reads and directions of the branches of a chain of sites, side by side, and a line on those not known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mhc_diag.sources.probe.branches import Branch
from mhc_diag.sources.probe.chain import Chain
from mhc_diag.sources.probe.codes import Code

EARLIER = "it reads the streams of a site that was not measured with it"
NOT_SEEN = "what is added cannot be told from the streams"


@dataclass(frozen=True, slots=True, eq=False)
class BranchRows:
    """How the branches of a chain of sites read and write the streams."""

    pre: Tensor | None
    """(L, T, n), NaN where not known; None where not known of any site."""
    post: Tensor | None
    """Likewise."""
    reads_from: tuple[int, ...]
    """(L): the site whose incoming streams a branch reads; empty where each reads those of its own."""
    notes: tuple[str, ...]
    """A line for each reason why something is not known."""


def branch_rows(branches: Mapping[Code, Branch], chain: Chain) -> BranchRows:
    """The branches of a chain side by side."""
    sites = chain.codes[slice(*chain.run)]
    found = [branches.get(code) or Branch(unread=NOT_SEEN, unwritten=NOT_SEEN) for code in sites]
    numbers = {code.basis: number for number, code in enumerate(sites)}
    found = [
        b if b.pre is None or b.basis in numbers else replace(b, pre=None, unread=EARLIER) for b in found
    ]
    reads_from = tuple(k if b.pre is None else numbers[b.basis] for k, b in enumerate(found))
    like = chain.matrices[..., 0]
    return BranchRows(
        pre=_stacked([b.pre for b in found], like),
        post=_stacked([b.post for b in found], like),
        reads_from=() if reads_from == tuple(range(len(sites))) else reads_from,
        notes=(
            *_reasons("how its branch reads the streams", [b.unread for b in found]),
            *_reasons("how its branch is injected", [b.unwritten for b in found]),
        ),
    )


def _stacked(rows: Sequence[Tensor | None], like: Tensor) -> Tensor | None:
    if all(row is None for row in rows):
        return None
    made = torch.full_like(like, math.nan)
    for number, row in enumerate(rows):
        if row is not None and row.shape == made[number].shape:
            made[number] = row
    return made


def _reasons(what: str, reasons: Sequence[str]) -> list[str]:
    counted = Counter(reason for reason in reasons if reason)
    return [f"{count} of {len(reasons)} sites: {what} is not known: {why}" for why, count in counted.items()]
