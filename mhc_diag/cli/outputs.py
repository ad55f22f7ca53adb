"""Where a command's results go: files that are seen to be writable first, and standard output."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mhc_diag import plugins, terminal
from mhc_diag.cli.options import Format
from mhc_diag.errors import MhcDiagError

if TYPE_CHECKING:
    from mhc_diag.figures import Kind
    from mhc_diag.records import MixingStack, Report
    from mhc_diag.verdict import Verdict

FORMATS = "mhc_diag.render"
KINDS: dict[str, Kind] = {".png": "png", ".svg": "svg", ".pdf": "pdf"}
HTML_SITES, HTML_COMPOSITES = 256, 20_000_000
"""Sites, and composites of all tokens, up to which HTML shows every composite without being asked."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture that is asked for."""

    picture: str
    kind: Kind
    path: Path


@dataclass(frozen=True, slots=True)
class Outputs:
    """What is written."""

    format: Format
    reports: tuple[tuple[str, Path], ...]
    """As (format, path)."""
    plots: tuple[Plot, ...] = ()

    def wants_triangle(self, depth: int, tokens: int) -> bool:
        """Whether the gains of all composites are shown somewhere, of so many sites and tokens."""
        asked = any(plot.picture == "triangle" for plot in self.plots)
        moderate = depth <= HTML_SITES and depth * depth * tokens <= HTML_COMPOSITES
        return asked or (moderate and any(name == "html" for name, _ in self.reports))

    def emit(
        self,
        reports: Sequence[Report],
        *,
        all_sites: bool = False,
        verdict: Verdict | None = None,
        explain: tuple[MixingStack, str] | None = None,
        gate: bool = False,
    ) -> None:
        """Render everything, then write the files, then standard output.

        Args:
            reports: what to show and save.
            all_sites: show every site in full.
            verdict: the gate's, if limits were given.
            explain: a stack and one of its sites, which is shown in full below the table.
            gate: the verdict is what was asked for.
        """
        from mhc_diag import atomic

        kept = [(name, path) for name, path in self.reports if reports or name not in KINDS.values()]
        files = [(path, _rendered(name, reports, verdict, gate=gate)) for name, path in kept]
        plots = self.plots if reports else ()
        for plot in plots:
            from mhc_diag import figures

            files.append((plot.path, figures.picture(reports, plot.kind, plot.picture)))
        table = self.format is Format.table
        options = {**terminal.look(), "all_sites": all_sites, "gate": gate}
        shown = _rendered(self.format.value, reports, verdict, **options)
        if explain is not None:
            from mhc_diag.render.table.explained import explained

            shown += "\n" + explained(*explain, **terminal.look())
        for path, content in files:
            atomic.write(path, content)
        if verdict is not None and verdict.enforced and not table:
            terminal.say(_said(verdict) if gate else _lines(verdict.lines), sys.stderr)
        terminal.say(shown, sys.stdout)
        told = [f"wrote {path} ({name})" for name, path in kept]
        told += [f"wrote {plot.path} ({plot.kind})" for plot in plots]
        empty = [
            *(item[1] for item in self.reports if item not in kept),
            *(p.path for p in self.plots[len(plots) :]),
        ]
        told += [f"not written: {path}, as there is nothing to draw" for path in empty]
        terminal.say(_lines(told), sys.stderr)


def _rendered(name: str, reports: Sequence[Report], verdict: Verdict | None, **look: Any) -> Any:
    """Reports in a format, of which the table alone has more than one look."""
    return plugins.load(FORMATS, name).render(reports, verdict, **(look if name == "table" else {}))


def _said(verdict: Verdict) -> str:
    """What the table says of a gate beside the numbers."""
    from mhc_diag.render.table import expectation
    from mhc_diag.render.table.gated import ending, remedies

    return f"{expectation(verdict)}\n{_lines([*verdict.lines, *remedies(verdict), ending(verdict)])}"


def _lines(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def outputs(
    format: Format, report: Sequence[str] | None, plot: Sequence[str] | None, triangle: Path | None
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
    plots = [_plot(item) for item in plot or ()]
    if triangle is not None:
        plots.append(Plot("triangle", kind("--triangle", triangle), triangle))
    check_all([path for _, path in made] + [plot.path for plot in plots])
    return Outputs(format, tuple(made), tuple(plots))


def _plot(item: str) -> Plot:
    """What `[PICTURE=]PATH` asks for; a bare path is that of the gain curves."""
    from mhc_diag.figures import PICTURES

    name, equals, where = item.partition("=")
    if not equals or not name.isidentifier():
        return Plot("curves", kind("--plot", Path(item)), Path(item))
    if name not in PICTURES or not where:
        raise MhcDiagError(
            f"--plot {item} is not PICTURE=PATH",
            hint=f"the pictures are {', '.join(PICTURES)}; for a file of that name write ./{item}",
        )
    return Plot(name, kind("--plot", Path(where)), Path(where))


def kind(flag: str, path: Path) -> Kind:
    """Which kind of picture a file's name asks for.

    Raises:
        MhcDiagError: none that can be drawn.
    """
    drawn = KINDS.get(path.suffix.lower())
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
