"""Reports of several targets, where one that cannot be read does not stop the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mhc_diag import terminal
from mhc_diag.cli.measuring import Measuring, Wanted, analysed, never
from mhc_diag.cli.refusals import nothing, told
from mhc_diag.errors import NothingToCheck
from mhc_diag.sources import saved
from mhc_diag.sources.files.addresses import named
from mhc_diag.verdict import EXIT_CODES, Doubt, Outcome

if TYPE_CHECKING:
    from mhc_diag.records import Report


def measured(target: str, how: Measuring, triangle: Wanted = never) -> tuple[list[Report], list[Doubt]]:
    """The reports of one target, measured or saved, and what a saved verdict could not tell of others.

    Raises:
        MhcDiagError: the target cannot be read or measured.
        NothingToCheck: it holds no mixing.
    """
    if not saved.is_saved(target):
        return analysed(how.stacks(target), triangle=triangle, jobs=how.jobs), []
    found = saved.read(Path(target))
    names = {report.name for report in found.reports}
    doubts = () if found.verdict is None else found.verdict.doubts
    unread = [doubt for doubt in doubts if doubt.target not in names and doubt.outcome != "passed"]
    if not found.reports and not unread:
        raise NothingToCheck(f"{named(target)} holds no report", hint="see what was said when it was saved")
    return list(found.reports), unread


def reports_of(target: str, how: Measuring) -> list[Report]:
    """The reports of one target, saved or measured without what only pictures need.

    Raises:
        MhcDiagError: the target cannot be read or measured.
        NothingToCheck: it holds no mixing.
    """
    return measured(target, how)[0]


def gathered(
    targets: Sequence[str], how: Measuring, *, allow_empty: bool, triangle: Wanted
) -> tuple[list[Report], list[Doubt]]:
    """The reports of all targets, under names that differ, and why there is none of some targets.

    What is wrong with a target is told on standard error at once.

    Args:
        targets: what the user named.
        how: how they are measured.
        allow_empty: a target without mixing passes.
        triangle: whether all composites are measured of so many sites and tokens.
    """
    found: list[tuple[str, Report]] = []
    unread: list[Doubt] = []
    for target in dict.fromkeys(targets):
        try:
            reports, doubts = measured(target, how, triangle)
        except NothingToCheck as e:
            unread.append(_doubt(target, e, nothing(e, allow_empty)))
        except (Exception, SystemExit) as e:
            message, hint, _ = told(e)
            terminal.refuse(message, hint)
            unread.append(_doubt(target, e, EXIT_CODES["could not tell"]))
        else:
            found += [(named(target), report) for report in reports]
            unread += doubts
    return _told_apart(found), unread


def _doubt(target: str, error: BaseException, code: int) -> Doubt:
    outcomes: dict[int, Outcome] = {code: outcome for outcome, code in EXIT_CODES.items()}
    message, hint, _ = told(error)
    return Doubt(named(target), " ".join(message.split()), outcomes[code], " ".join(hint.split()))


def _told_apart(found: Sequence[tuple[str, Report]]) -> list[Report]:
    """Reports with the name of their target before their own where theirs is not the only one."""
    times = Counter(report.name for _, report in found)

    def longer(target: str, name: str) -> str:
        return target if target.endswith(name) else f"{target}: {name}"

    return [r if times[r.name] == 1 else replace(r, name=longer(target, r.name)) for target, r in found]
