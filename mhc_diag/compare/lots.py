"""All reports of two targets compared, and what that comes to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mhc_diag.compare.comparison import Change, Comparison, compared
from mhc_diag.compare.pairs import paired
from mhc_diag.compare.words import by
from mhc_diag.magnitude import magnitude
from mhc_diag.records import Report
from mhc_diag.verdict import EXIT_CODES, GRAVEST, Outcome, Place

TOLD = 5
"""Numbers that got worse, in sentences."""


@dataclass(frozen=True, slots=True, eq=False)
class Lots:
    """Two lots of reports."""

    comparisons: tuple[Comparison, ...]
    only_before: tuple[str, ...]
    """Names of reports."""
    only_after: tuple[str, ...]
    tolerance: float

    @property
    def outcome(self) -> Outcome:
        """The gravest of all; a report that has none to be held against cannot be told."""
        reached: list[Outcome] = [c.outcome(self.tolerance) for c in self.comparisons]
        if self.only_before or self.only_after or not self.comparisons:
            reached.append("could not tell")
        return min(reached, key=GRAVEST.index)

    @property
    def exit_code(self) -> int:
        """0 not worse, 1 worse, 2 could not tell."""
        return EXIT_CODES[self.outcome]

    @property
    def lines(self) -> tuple[str, ...]:
        """One line for what got worse most, for each doubt, and for each comparison in which nothing did."""
        return tuple(_lines(self))


def compared_lots(before: Sequence[Report], after: Sequence[Report], *, tolerance: float) -> Lots:
    """Compare the reports of two targets.

    Args:
        before: of the first target.
        after: of the second.
        tolerance: by how much a number may be worse, relative: 0.01 is one per cent.
    """
    found = paired(before, after)
    return Lots(
        tuple(compared(a, b) for a, b in found.pairs),
        tuple(r.name for r in found.only_before),
        tuple(r.name for r in found.only_after),
        tolerance,
    )


def _lines(lots: Lots) -> Iterator[str]:
    for found in lots.comparisons:
        name, outcome = found.after.name, found.outcome(lots.tolerance)
        for text in () if found.differences else _worse(found, lots.tolerance):
            yield f"worse: {name}: {text}"
        for doubt in found.doubts:
            yield f"could not tell: {name}: {doubt}"
        for note in found.notes:
            yield f"note: {name}: {note}"
        if outcome == "passed":
            yield f"passed: {name}: {_passed(found, lots.tolerance)}"
    for which, names in (("first", lots.only_before), ("second", lots.only_after)):
        for name in names:
            yield f"could not tell: {name}: only the {which} target has it"


def in_words(change: Change) -> str:
    """A change in one sentence without a full stop."""
    now, was = _number(change.after), _number(change.before)
    where = (
        f" at {change.after.label or f'site {change.after.site}'}" if change.after.site is not None else ""
    )
    return f"{change.measure.title}{where}: {now}, was {was}, {by(change.decades)}"


def _worse(found: Comparison, tolerance: float) -> Iterator[str]:
    """The worst numbers of all sites that got worse, then how many at single sites and the first of them."""
    worst = sorted((c for c in found.worst if c.is_worse(tolerance)), key=lambda c: -c.decades)
    yield from (in_words(change) for change in worst[:TOLD])
    if len(worst) > TOLD:
        yield f"{len(worst) - TOLD} more of the worst numbers"
    count = sum(c.is_worse(tolerance) for c in found.changes)
    if count:
        yield f"{count} of {len(found.changes)} numbers at sites, most {in_words(found.changes[0])}"


def _passed(found: Comparison, tolerance: float) -> str:
    numbers = [*found.worst, *found.changes]
    if all(change.same for change in numbers):
        return f"all numbers are equal, at {len(found.sites.pairs)} sites"
    return f"no number is worse by more than {100 * tolerance:g} %"


def _number(place: Place) -> str:
    assert place.value is not None and place.log10 is not None
    return magnitude(place.value, place.log10)
