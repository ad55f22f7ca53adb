"""Reads and directions of the branches of a chain of sites, side by side, and a line on those not known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mhc_diag.sources.probe.branches import Branch
from mhc_diag.sources.probe.chain import Chain
from mhc_diag.sources.probe.codes import Code

NOT_SEEN = "what is added cannot be told from the streams"


def branch_rows(
    branches: Mapping[Code, Branch], chain: Chain
) -> tuple[Tensor | None, Tensor | None, tuple[str, ...]]:
    """`pre` and `post` (L, T, n) of a chain, NaN where not known, None where not known of any site.

    Returns:
        The two, and a line for each reason why they are not known.
    """
    sites = chain.codes[slice(*chain.run)]
    found = [branches.get(code) or Branch(None, None, NOT_SEEN, NOT_SEEN) for code in sites]
    like = chain.matrices[..., 0]
    notes = [
        *_reasons("how the branch reads the streams", [b.unread for b in found]),
        *_reasons("how the branch is injected", [b.unwritten for b in found]),
    ]
    return _stacked([b.pre for b in found], like), _stacked([b.post for b in found], like), tuple(notes)


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
    return [
        f"{what} is not known of {count} of {len(reasons)} sites: {reason}"
        for reason, count in counted.items()
    ]
