"""Reports of several targets, where one that cannot be read does not stop the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mhc_diag import terminal
from mhc_diag.cli.measuring import Measuring, analysed
from mhc_diag.cli.refusals import nothing, told
from mhc_diag.errors import NothingToCheck
from mhc_diag.sources import saved
from mhc_diag.sources.files.addresses import named
from mhc_diag.verdict import EXIT_CODES, Doubt, Outcome

if TYPE_CHECKING:
    from mhc_diag.records import Report


def reports_of(target: str, how: Measuring) -> list[Report]:
    """What a saved report holds, or what is measured of anything else.

    Raises:
        MhcDiagError: the target cannot be read or measured.
        NothingToCheck: it holds no mixing.
    """
    if not saved.is_saved(target):
        return analysed(how.stacks(target))
    reports = list(saved.read(Path(target)).reports)
    if not reports:
        raise NothingToCheck(
            f"{named(target)} holds no report", hint="look at what was said when it was saved"
        )
    return reports


def gathered(
    targets: Sequence[str], how: Measuring, *, allow_empty: bool
) -> tuple[list[Report], list[Doubt]]:
    """The reports of all targets, under names that differ, and why there is none of some targets.

    What is wrong with a target is told on standard error at once.
    """
    found: list[tuple[str, Report]] = []
    unread: list[Doubt] = []
    for target in dict.fromkeys(targets):
        try:
            found += [(named(target), report) for report in reports_of(target, how)]
        except NothingToCheck as e:
            unread.append(_doubt(target, e, nothing(e, allow_empty)))
        except (Exception, SystemExit) as e:
            message, hint, _ = told(e)
            terminal.refuse(message, hint)
            unread.append(_doubt(target, e, EXIT_CODES["could not tell"]))
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
