"""mhc-diag diff: what got worse from one target to another."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from mhc_diag import terminal
from mhc_diag.cli import options
from mhc_diag.cli.baselines import ToleranceOption, checked
from mhc_diag.cli.measuring import Measuring, measures
from mhc_diag.cli.outputs import KINDS, check_all, kind
from mhc_diag.errors import MhcDiagError

if TYPE_CHECKING:
    from mhc_diag.compare import Lots
    from mhc_diag.figures import Kind

TARGET = "What scan takes, or a report that was saved as JSON."


class Shown(StrEnum):
    """What is written to the terminal."""

    table = "table"
    json = "json"


@measures
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help=f"{TARGET} What was before.")],
    after: Annotated[str, typer.Argument(metavar="B", help="The same, for what is now.")],
    tolerance: ToleranceOption = None,
    all_sites: Annotated[
        bool,
        typer.Option("--all-sites", help="List every number that changed, not only the largest changes."),
    ] = False,
    format: Annotated[
        Shown, typer.Option("--format", help="What is written to standard output.")
    ] = Shown.table,
    report: options.ReportOption = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot", help="Draw both over each other and the change at each site (.png, .svg, .pdf)."
        ),
    ] = None,
    *,
    how: Measuring,
) -> None:
    """Compare two targets or saved reports, site by site; exit code 1 where a number got worse."""
    allowed, files = checked(tolerance), _files(report, plot)
    from mhc_diag import atomic
    from mhc_diag.cli.gathered import reports_of
    from mhc_diag.compare import compared_lots

    lots = compared_lots(reports_of(before, how), reports_of(after, how), tolerance=allowed)
    made = [(path, _rendered(name, lots)) for name, path in files]
    table = format is Shown.table
    options = {**terminal.look(), "all_sites": all_sites} if table else {}
    shown = _rendered(format.value, lots, **options)
    for path, content in made:
        atomic.write(path, content)
    if not table:
        terminal.say("".join(f"{line}\n" for line in lots.lines), sys.stderr)
    terminal.say(cast("str", shown), sys.stdout)
    terminal.say("".join(f"wrote {path} ({name})\n" for name, path in files), sys.stderr)
    raise typer.Exit(lots.exit_code)


def _files(report: Sequence[str] | None, plot: Path | None) -> list[tuple[str, Path]]:
    """What is to be written, as (format, path), each seen to be writable."""
    known = [*Shown, *KINDS.values()]
    files = []
    for item in report or ():
        name, _, where = item.partition("=")
        if not where or name not in known:
            raise MhcDiagError(
                f"--report {item} is not FORMAT=PATH", hint=f"the formats are {', '.join(known)}"
            )
        files.append((name, Path(where)))
    if plot is not None:
        files.append((kind("--plot", plot), plot))
    check_all([path for _, path in files])
    return files


def _rendered(name: str, lots: Lots, **options: Any) -> str | bytes:
    if name == Shown.table:
        from mhc_diag.render.table.differences import differences

        return differences(lots, **options)
    if name == Shown.json:
        from mhc_diag.compare.document import to_document
        from mhc_diag.render import json

        return json.dumped(to_document(lots))
    from mhc_diag.figures.comparison import drawn

    return drawn(lots.comparisons, cast("Kind", name))
