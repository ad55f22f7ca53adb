"""From the branches of the measured sites to the rows and columns of a stack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mhc_diag.sources.probe.branches.reads import TOLERANCE, Read
from mhc_diag.sources.probe.branches.sites import Branch
from mhc_diag.sources.probe.codes import Code


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """How the branches of all sites read and write; None where this is known of no site."""

    pre: Tensor | None
    """(L, T, n), NaN where not known."""
    post: Tensor | None
    """(L, T, n), NaN where not known."""
    reads_from: tuple[int, ...]
    """(L): the site whose incoming streams each reads; empty where each reads those of its own."""
    notes: tuple[str, ...]


def rows(sites: Sequence[Code], branches: Mapping[Code, Branch], tokens: int) -> Rows:
    """The reads and writes of the branches of some sites that follow one another.

    Args:
        sites: their codes, in order.
        branches: what is known of each.
        tokens: T.
    """
    points = {code.basis: number for number, code in enumerate(sites)}
    unread, unwritten = Counter[str](), Counter[str]()
    pre, post, sources = [], [], []
    for number, code in enumerate(sites):
        branch = branches.get(code)
        row, source = _row(branch, points, number, unread)
        column = None if branch is None else branch.post
        if column is None:
            unwritten["what is added is no single output times a weight for each stream"] += 1
        elif bool(column.isnan().all()):
            unwritten["its output is 0"] += 1
        blank = torch.full_like(code.space.magnitudes[:1], torch.nan).expand(tokens, code.streams)
        pre.append(blank if row is None else row.to(blank))
        post.append(blank if column is None else column.to(blank))
        sources.append(source)
    count = len(sites)
    read, written = unread.total() < count, unwritten.total() < count
    return Rows(
        torch.stack(pre) if read else None,
        torch.stack(post) if written else None,
        () if sources == [*range(count)] else tuple(sources),
        (
            *(
                f"how the branch reads the streams is not known at {k} of {count} sites: {why}"
                for why, k in unread.items()
            ),
            *(
                f"how the branch is written to the streams is not known at {k} of {count} sites: {why}"
                for why, k in unwritten.items()
            ),
        ),
    )


def _row(
    branch: Branch | None, points: Mapping[Code | None, int], number: int, unread: Counter[str]
) -> tuple[Tensor | None, int]:
    """The row with which a branch reads, and the site whose incoming streams it reads."""
    if branch is None or not branch.reads:
        unread["no read of the streams leads to it"] += 1
        return None, number
    at = [_at(read, points) for read in branch.reads]
    found = [one for one in at if one is not None]
    if len(found) < len(at):
        unread["it reads them in a way that is no weight for each stream"] += 1
        return None, number
    row, source = found[0]
    if any(s != source or not _alike(row, other) for other, s in found[1:]):
        unread["it reads them in several ways"] += 1
        return None, number
    return row, source


def _at(read: Read, points: Mapping[Code | None, int]) -> tuple[Tensor, int] | None:
    """A read as a row over the streams that come into a site, and which site that is."""
    row, code = read.row, read.code
    while code not in points:
        if row is None or code.parent is None or code.matrix is None or code.site or code.broken or code.fit:
            return None
        row, code = (row[:, None] @ code.matrix)[:, 0], code.parent
    return None if row is None else (row, points[code])


def _alike(one: Tensor, other: Tensor) -> bool:
    largest = one.abs().nan_to_num().amax(dim=1, keepdim=True).clamp(min=1.0)
    return bool(((one - other).abs().nan_to_num() <= TOLERANCE * largest).all())
