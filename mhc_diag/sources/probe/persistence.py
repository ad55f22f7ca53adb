"""Whether the streams stay apart from site to site, or are one stream again before each of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mhc_diag.records import Observation
from mhc_diag.sources.probe.codes import Code

NOT_PERSISTENT = "not-persistent"
RANK_ONE = 1e-6
"""Largest entry, relative to that of the matrix, that may be left when a matrix of rank one is taken out."""


def persistence(sites: Sequence[Code], matrices: Tensor) -> tuple[Observation, ...]:
    """What to say where streams do not persist: there is then nothing for a composite over depth to amplify.

    Either they are collapsed before the branch is added, which leaves sites of one stream, or after it, which
    leaves matrices of rank one: every stream is expanded from the same mixture.

    Args:
        sites: the measured sites in order.
        matrices: their operators (L, T, n, n).
    """
    found = []
    inner = [code.widest for code in sites if code.streams == 1 < code.widest]
    if inner:
        text = (
            f"expand one stream to {max(inner)} and collapse them again before the branch is added: "
            "no streams persist from site to site"
        )
        found.append(Observation(NOT_PERSISTENT, f"{len(inner)} of {len(sites)} sites", text))
    if matrices.shape[-1] > 1 and len(sites) > 1:
        single = sum(map(has_rank_one, matrices[1:]))
        if single:
            text = (
                "have an M of rank one: the streams are one mixture before them, collapsed and expanded "
                "again, and do not persist"
            )
            where = f"{single} of the {len(sites) - 1} sites after the first"
            found.append(Observation(NOT_PERSISTENT, where, text))
    return tuple(found)


def has_rank_one(matrices: Tensor) -> bool:
    """Whether all matrices (T, n, n) are finite and have rank one.

    Example:
        >>> has_rank_one(torch.ones(2, 4, 4)), has_rank_one(torch.eye(4)[None])
        (True, False)
    """
    largest = matrices.abs().flatten(1).amax(dim=1)
    if not bool((torch.isfinite(largest) & (largest > 0)).all()):
        return False
    rows = matrices.abs().amax(dim=2)
    pivot = rows.argmax(dim=1)
    row = matrices[torch.arange(len(matrices)), pivot]  # (T, n), the row with the largest entry
    column = row.abs().argmax(dim=1)
    at = row.gather(1, column[:, None])
    weights = matrices.gather(2, column[:, None, None].expand(-1, matrices.shape[1], 1)) / at[:, None]
    rest = (matrices - weights * row[:, None]).abs().flatten(1).amax(dim=1)
    return bool((rest <= RANK_ONE * largest).all())
