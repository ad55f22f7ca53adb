"""What --baseline, --update-baseline and --accept-worse do to a verdict and to a file."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mhc_diag import terminal
from mhc_diag.errors import MhcDiagError
from mhc_diag.verdict import EXIT_CODES, GRAVEST, TOLERANCE, Outcome

if TYPE_CHECKING:
    from mhc_diag.baseline import Baseline, Update
    from mhc_diag.policy import Policy
    from mhc_diag.records import Report
    from mhc_diag.verdict import Verdict

MAKE = "make it with --update-baseline"

BaselineOption = Annotated[
    Path | None,
    typer.Option("--baseline", metavar="FILE", help="Also fail on what is worse than this file accepts."),
]
UpdateOption = Annotated[
    bool,
    typer.Option(
        "--update-baseline", help="Write what is better into the baseline; make it if there is none."
    ),
]
AcceptOption = Annotated[
    bool, typer.Option("--accept-worse", help="Let --update-baseline write what is worse, too.")
]
ToleranceOption = Annotated[
    float | None,
    typer.Option(
        "--tolerance", metavar="X", help=f"How much worse a number may be, relative: {TOLERANCE:g}."
    ),
]


@dataclass(frozen=True, slots=True)
class Baselining:
    """What was asked for, checked before anything is measured."""

    path: Path
    old: Baseline | None
    """What the file holds; none where it is to be made."""
    update: bool
    accept: bool
    tolerance: float


def asked(path: Path | None, *, update: bool, accept: bool, tolerance: float | None) -> Baselining | None:
    """What the options ask for.

    Raises:
        MhcDiagError: options that need another; no readable baseline, or a file that cannot be written.
    """
    given = {"--update-baseline": update, "--accept-worse": accept}
    needs = {"--update-baseline": path is not None, "--accept-worse": update}
    for flag, other in (("--update-baseline", "--baseline FILE"), ("--accept-worse", "--update-baseline")):
        if given[flag] and not needs[flag]:
            raise MhcDiagError(f"{flag} is given without {other}", hint=f"add {other}, or leave out {flag}")
    allowed = checked(tolerance)
    if path is None:
        return None
    if update:
        from mhc_diag import atomic

        atomic.check_writable(path)
    if not update and not path.exists():
        raise MhcDiagError(f"there is no baseline {path}", hint=MAKE)
    from mhc_diag.baseline.files import read

    return Baselining(path, read(path) if path.exists() else None, update, accept, allowed)


def checked(tolerance: float | None) -> float:
    """A tolerance, or the default.

    Raises:
        MhcDiagError: it is negative or no number.
    """
    if tolerance is not None and not 0 <= tolerance < math.inf:
        raise MhcDiagError(f"--tolerance is {tolerance}", hint="give 0.01 for one per cent, or 0 for none")
    return TOLERANCE if tolerance is None else tolerance


@dataclass(frozen=True, slots=True)
class Settled:
    """A verdict with the baseline in it, and what becomes of the file."""

    verdict: Verdict
    asked: Baselining
    made: Update | None = None

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why the file is not written; nothing where it is."""
        if self.made is None:
            return ()
        accept = self.asked.accept
        return (*self.made.broken, *(() if accept else (*self.made.worse, *self.made.untold)))

    def write(self) -> int:
        """Write the file, or say why not; the exit code."""
        if self.made is None:
            return self.verdict.exit_code
        if not self.refusals:
            self._write(self.made.baseline)
            return self.verdict.exit_code
        worse = bool(self.made.worse) and not self.asked.accept
        count = len(self.refusals)
        what = "1 thing is" if count == 1 else f"{count} things are"
        terminal.refuse(
            f"baseline {self.asked.path} is left as it is: {what} worse, new or not to be compared",
            self._hint,
        )
        terminal.say("".join(f"refused: {text}\n" for text in self.refusals), sys.stderr)
        reached: list[Outcome] = [self.verdict.outcome, "failed" if worse else "could not tell"]
        return EXIT_CODES[min(reached, key=GRAVEST.index)]

    @property
    def _hint(self) -> str:
        assert self.made is not None
        if self.made.broken:
            return "no baseline can hold what is no number or was not measured to the end"
        return "where that is meant, add --accept-worse"

    def _write(self, baseline: Baseline) -> None:
        from mhc_diag import atomic
        from mhc_diag.baseline import to_document
        from mhc_diag.render import json

        path = self.asked.path
        if baseline == self.asked.old:
            terminal.say(f"nothing to change in {path} (baseline)\n", sys.stderr)
            return
        atomic.write(path, json.dumped(to_document(baseline)))
        terminal.say(f"wrote {path} (baseline)\n", sys.stderr)


def settled(what: Baselining, reports: Sequence[Report], verdict: Verdict, policy: Policy) -> Settled:
    """A verdict with what the baseline says of it.

    Where the baseline is updated, that is the new one, unless the update is refused.
    """
    from mhc_diag.baseline import Baseline, against, updated

    old = what.old or Baseline()
    made = updated(old, reports, verdict, tolerance=what.tolerance) if what.update else None
    first = Settled(verdict, what, made)
    if made is not None and first.refusals and what.old is None:
        return first
    counts = made.baseline if made is not None and not first.refusals else old
    told = against(
        counts,
        reports,
        verdict,
        tolerance=what.tolerance,
        level=policy.levels.get("MHC110", "error"),
        source=f"baseline {what.path}",
    )
    return Settled(told, what, made)
