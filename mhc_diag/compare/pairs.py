"""Which report of one lot is which of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mhc_diag.records import Report


@dataclass(frozen=True, slots=True)
class Paired:
    """Reports of two lots."""

    pairs: tuple[tuple[Report, Report], ...]
    only_before: tuple[Report, ...] = ()
    only_after: tuple[Report, ...] = ()


def paired(before: Sequence[Report], after: Sequence[Report]) -> Paired:
    """Reports of the same name; and where there is one of each, these, whatever their names.

    Where names are in none of the other lot, as of two files whose codes are not known, what follows the
    file's name counts: `a.pt, dev` is `b.pt, dev`.
    """
    if len(before) == len(after) == 1:
        return Paired(((before[0], after[0]),))
    names = {r.name for r in before} & {r.name for r in after}
    key = _whole if names else _variant
    later = {key(r): r for r in reversed(after)}
    pairs = [(r, later.pop(key(r))) for r in before if key(r) in later]
    known = {id(r) for pair in pairs for r in pair}
    return Paired(
        tuple(pairs),
        tuple(r for r in before if id(r) not in known),
        tuple(r for r in after if id(r) not in known),
    )


def _whole(report: Report) -> str:
    return report.name


def _variant(report: Report) -> str:
    return report.name.partition(", ")[2] or report.name
