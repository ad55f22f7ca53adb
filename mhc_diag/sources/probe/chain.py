"""From what a probe recorded to a stack: the sites that follow one another on the longest residual path."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mhc_diag.records import Observation, Site, Skipped
from mhc_diag.sources.probe.codes import Code
from mhc_diag.sources.probe.fits import fitted_notes, undetermined
from mhc_diag.sources.probe.persistence import persistence
from mhc_diag.sources.probe.space import Space

ROUNDINGS = 100
"""Largest spread with which a site counts as measured, relative to the token's largest entry of M or 1.

In units of the rounding (eps) of the dtype in which tangents are carried: 1.2e-5 in float32, which the
streams of 16-bit models are followed in too, and 2.2e-14 in float64.
"""
FITTED_TOLERANCE = 1e-2
"""The same for a site whose M was fitted to values, relative to the token's largest row sum of |M|."""


@dataclass(frozen=True, slots=True)
class Chain:
    """The measured sites of one residual path, in order."""

    matrices: Tensor
    """(L, T, n, n)."""
    sites: tuple[Site, ...]
    certificates: tuple[float, ...]
    space: Space
    skipped: tuple[Skipped, ...]
    codes: tuple[Code, ...] = ()
    """All sites of the path, measured or not."""
    run: tuple[int, int] = (0, 0)
    """Which of them were measured: from the first number to the last, which is not included."""
    notes: tuple[str, ...] = ()
    fitted: tuple[int, ...] = ()
    """Which of the sites were fitted to values, from 0."""
    last: int = 0
    """The number of the path's last site among all codes."""
    remarks: tuple[Observation, ...] = ()
    """What the report tells apart from the gains."""


def longest(codes: Sequence[Code], wanted: int | None = None, inside: Collection[Code] = ()) -> Chain | None:
    """The chain of the path with the most sites, or None where there is no site at all.

    The number of streams is the one that is wanted, or the one that most sites of one path have, the latest
    path if two draw level. A site that is not square, that is not linear in the one before it, or whose
    certificate is too weak splits the path: the longest run of measured sites is kept and the others are
    listed as skipped, because a composite across a gap would be a guess.

    Args:
        codes: all codes of a run, in order.
        wanted: number of streams, if it is known.
        inside: codes of which branches were made. A path that ends there is a part of a branch, and counts
            only where there is no other.
    """
    sites = [code for code in codes if code.site and wanted in (None, code.streams)]
    ends = [code for code in sites if code not in inside] or sites
    if not ends:
        return None
    found = ((n, _last(codes, n, ends)) for n in {code.streams for code in ends})
    n, end = max(found, key=lambda last: (last[1][0], last[1][1].number))
    path = list(reversed(list(end[1].ancestry())))
    sites = [code for code in path if code.site]
    reasons = [_reason(code, n) for code in sites]
    notes = (*_factors(path), *_other_paths(codes, sites[0].space))
    made = _chain(path, sites, reasons, n)
    lasting = persistence(made.codes[slice(*made.run)], made.matrices)
    told = (remark.sentence for remark in lasting)
    remarks = (*made.remarks, *lasting)
    return replace(made, notes=(*notes, *made.notes, *told), remarks=remarks, last=end[1].number)


def _factors(path: Sequence[Code]) -> tuple[str, ...]:
    """A line for each constant factor between an entry and the first branch that reads it."""
    found = []
    for code in path:
        if code.matrix is not None and not code.site and code.streams == 1:
            factor = float(code.matrix.flatten()[0])
            found.append(
                f"the constant factor {factor:g} before the first branch counts as part of the entry"
            )
    return tuple(found)


def _other_paths(codes: Sequence[Code], space: Space) -> tuple[str, ...]:
    """A line for each residual path of other tokens or channels, such as that of an encoder."""
    found = []
    for other in dict.fromkeys(code.space for code in codes if code.site and code.space is not space):
        streams = {code.streams for code in codes if code.site and code.space is other}
        ends = [code for code in codes if code.site and code.space is other]
        count, end = max((_last(codes, n, ends) for n in streams), key=lambda last: last[0])
        if count > 1:
            where = Site(end.path, end.kind, 0).label
            found.append(f"another residual path, {count} sites up to {where}, is not part of this report")
    return tuple(found)


def _last(codes: Sequence[Code], streams: int, ends: Sequence[Code]) -> tuple[int, Code]:
    """Of the sites where a path may end, that of the most sites of so many streams, and how many."""
    count: dict[int, int] = {}
    for code in codes:
        above = count[code.parent.number] if code.parent is not None else 0
        count[code.number] = above + (code.site and code.streams == streams)
    last = (c for c in ends if c.streams == streams)
    end = max(last, key=lambda c: (count[c.number], c.number))
    return count[end.number], end


def _chain(path: Sequence[Code], sites: Sequence[Code], reasons: list[str | None], streams: int) -> Chain:
    breaks = _breaks(path)
    first, last = _longest_run([reason is None for reason in reasons], breaks)
    kept = sites[first:last]
    if not kept:
        return Chain(
            torch.empty(0, 0, streams, streams),
            (),
            (),
            sites[0].space,
            _skipped(sites, reasons, breaks, (0, 0)),
            tuple(sites),
            remarks=_weak(sites, reasons, streams),
        )
    return Chain(
        matrices=torch.stack([_matrix(code) for code in kept]),
        sites=tuple(Site(code.path, code.kind, number) for number, code in enumerate(kept)),
        certificates=tuple(certificate(code) for code in kept),
        space=sites[0].space,
        skipped=_skipped(sites, reasons, breaks, (first, last)),
        codes=tuple(sites),
        run=(first, last),
        notes=fitted_notes([code.fits for code in kept]),
        fitted=tuple(number for number, code in enumerate(kept) if code.fits),
        remarks=_weak(sites, reasons, streams),
    )


def _weak(sites: Sequence[Code], reasons: Sequence[str | None], streams: int) -> tuple[Observation, ...]:
    """The sites that are square and were not measured all the same: what was read there is too uncertain."""
    return tuple(
        Observation("weak-certificate", Site(code.path, code.kind, i).label or f"site {i}", reason)
        for i, (code, reason) in enumerate(zip(sites, reasons, strict=True))
        if reason and tuple(_matrix(code).shape[1:]) == (streams, streams)
    )


def certificate(code: Code) -> float:
    """Largest spread over the tokens whose matrix is finite; NaN where there is none."""
    spread = code.applied()[1][_finite(code)]
    return float(spread.amax()) if spread.numel() else math.nan


def _finite(code: Code) -> Tensor:
    return torch.isfinite(_matrix(code)).all(dim=-1).all(dim=-1)


def _matrix(code: Code) -> Tensor:
    return code.applied()[0]


def _reason(code: Code, streams: int) -> str | None:
    matrix = _matrix(code)
    if tuple(matrix.shape[1:]) != (streams, streams):
        return f"takes {matrix.shape[2]} streams to {matrix.shape[1]}, where most sites have {streams}"
    finite, spread = _finite(code), code.applied()[1]
    size = matrix[finite].abs()
    if code.fits and not bool((spread[finite] <= FITTED_TOLERANCE * size.sum(dim=2).amax(dim=1)).all()):
        return undetermined(code.fits, certificate(code))
    largest = size.flatten(1).amax(dim=1).clamp(min=1.0)
    tolerance = ROUNDINGS * torch.finfo(spread.dtype).eps
    if not code.fits and not bool((spread[finite] <= tolerance * largest).all()):
        return f"acts differently on different channels (certificate {certificate(code):.1e})"
    return None


def _breaks(path: Sequence[Code]) -> dict[int, str]:
    """What, other than sites, stands between a site and the one before it, by the site's number."""
    found, number, first = {}, 0, True
    for code in path:
        if code.broken and not first:
            found[number] = code.broken
        if code.site:
            number, first = number + 1, False
    return found


def _longest_run(measured: Sequence[bool], breaks: Mapping[int, str]) -> tuple[int, int]:
    best, start = (0, 0), 0
    for i, good in enumerate((*measured, False)):
        if not good or i in breaks:
            best = max(best, (start, i), key=lambda run: run[1] - run[0])
            start = i if good else i + 1
    return best


def _skipped(
    sites: Sequence[Code], reasons: Sequence[str | None], breaks: Mapping[int, str], run: tuple[int, int]
) -> tuple[Skipped, ...]:
    found = []
    for i, (code, reason) in enumerate(zip(sites, reasons, strict=True)):
        if not run[0] <= i < run[1]:
            between = breaks.get(i) or breaks.get(i + 1)
            gap = f"{between} on the residual path, which is not linear," if between else "a gap"
            label = Site(code.path, code.kind, i).label or f"site {i}"
            found.append(Skipped(label, reason or f"{gap} separates it from the sites that were composed"))
    return tuple(found)
