"""Where a command's results go: files that are seen to be writable first, and standard output."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mhc_diag import plugins, terminal
from mhc_diag.cli.options import Format
from mhc_diag.errors import MhcDiagError

if TYPE_CHECKING:
    from mhc_diag.figures import Kind
    from mhc_diag.records import MixingStack, Report
    from mhc_diag.verdict import Verdict

FORMATS = "mhc_diag.render"
PICTURES: dict[str, Kind] = {".png": "png", ".svg": "svg", ".pdf": "pdf"}


@dataclass(frozen=True, slots=True)
class Outputs:
    """What is written, as (format, path)."""

    format: Format
    reports: tuple[tuple[str, Path], ...]
    triangle: tuple[Kind, Path] | None = None

    def emit(
        self,
        reports: Sequence[Report],
        *,
        all_sites: bool = False,
        verdict: Verdict | None = None,
        explain: tuple[MixingStack, str] | None = None,
    ) -> None:
        """Render everything, then write the files, then standard output.

        Args:
            reports: what to show and save.
            all_sites: show every site in full.
            verdict: the gate's, if limits were given.
            explain: a stack and one of its sites, which is shown in full below the table.
        """
        from mhc_diag import atomic

        files = [(path, plugins.load(FORMATS, name).render(reports, verdict)) for name, path in self.reports]
        if self.triangle is not None:
            from mhc_diag.figures.heatmap import heat_map

            files.append((self.triangle[1], heat_map(reports, self.triangle[0])))
        table = self.format is Format.table
        options = {**terminal.look(), "all_sites": all_sites} if table else {}
        shown = plugins.load(FORMATS, self.format.value).render(reports, verdict, **options)
        if explain is not None:
            from mhc_diag.render.table.explained import explained

            shown += "\n" + explained(*explain, **terminal.look())
        for path, content in files:
            atomic.write(path, content)
        if verdict is not None and verdict.enforced and not table:
            terminal.say("".join(f"{line}\n" for line in verdict.lines), sys.stderr)
        terminal.say(shown, sys.stdout)
        written = [*self.reports, *([self.triangle] if self.triangle else [])]
        terminal.say("".join(f"wrote {path} ({name})\n" for name, path in written), sys.stderr)


def outputs(
    format: Format, report: Sequence[str] | None, plot: Path | None, triangle: Path | None
) -> Outputs:
    """What the options ask for.

    Raises:
        MhcDiagError: an unknown format, a picture of another kind, a file that cannot be written or is named
            twice.
    """
    known = plugins.names(FORMATS)
    made = []
    for item in report or ():
        name, _, where = item.partition("=")
        if not where or name not in known:
            raise MhcDiagError(
                f"--report {item} is not FORMAT=PATH", hint=f"the formats are {', '.join(known)}"
            )
        made.append((name, Path(where)))
    if plot is not None:
        made.append((kind("--plot", plot), plot))
    map_of_all = None if triangle is None else (kind("--triangle", triangle), triangle)
    check_all([path for _, path in made] + ([triangle] if triangle else []))
    return Outputs(format, tuple(made), map_of_all)


def kind(flag: str, path: Path) -> Kind:
    """Which kind of picture a file's name asks for.

    Raises:
        MhcDiagError: none that can be drawn.
    """
    drawn = PICTURES.get(path.suffix.lower())
    if drawn is None:
        raise MhcDiagError(f"{flag} {path} is no picture's name", hint="end it in .png, .svg or .pdf")
    return drawn


def check_all(paths: Sequence[Path]) -> None:
    """See that all these files can be written, before the work that they are to hold is done.

    Raises:
        MhcDiagError: one cannot be, or is named twice.
    """
    from mhc_diag import atomic

    for i, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:i]]:
            raise MhcDiagError(f"{path} is to be written twice", hint="give each output its own file")
        atomic.check_writable(path)
