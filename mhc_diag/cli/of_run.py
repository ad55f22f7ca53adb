"""A training run shown by `mhc-diag report`: as a table, CSV, a picture or a page."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

from mhc_diag import atomic, terminal
from mhc_diag.cli.options import Format
from mhc_diag.cli.outputs import Outputs
from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.runs import Run

FORMATS = ("table", "csv", "html")


def show(run: Run, out: Outputs) -> None:
    """Write what was asked for.

    Raises:
        MhcDiagError: a format or picture that a run does not have.
    """
    wanted = [out.format.value, *(name for name, _ in out.reports)]
    for name in wanted:
        if name not in FORMATS:
            raise MhcDiagError(
                f"{run.name} is a training run, which has no form {name}",
                hint=f"its forms are {', '.join(FORMATS)}, and pictures by --plot",
            )
    for plot in out.plots:
        if plot.picture != "curves":
            raise MhcDiagError(
                f"{run.name} is a training run, which has no picture {plot.picture}",
                hint="its only picture is that of its gains: --plot FILE",
            )
    files: list[tuple[Path, str | bytes, str]] = [(path, _in(name, run), name) for name, path in out.reports]
    for plot in out.plots:
        from mhc_diag.figures import training

        files.append((plot.path, training.picture(run, plot.kind), plot.kind))
    for path, content, _ in files:
        atomic.write(path, content)
    terminal.say(_in(out.format.value, run), sys.stdout)
    terminal.say("".join(f"wrote {path} ({name})\n" for path, _, name in files), sys.stderr)


def _in(name: str, run: Run) -> str:
    if name == Format.csv:
        return as_csv(run)
    if name == "html":
        from mhc_diag.training import page

        return page.render(run)
    from mhc_diag.training import table

    return table.render(run, **terminal.look())


def as_csv(run: Run) -> str:
    r"""One row for each record, one column for each number.

    Example:
        >>> from mhc_diag.sources.runs import RunRecord
        >>> as_csv(Run("run.jsonl", records=[RunRecord(1, 0.0, {"mhc/forward_max": 2.0})]))
        'step,time,mhc/forward_max\n1,0.0,2.0\n'
    """
    names = list(dict.fromkeys(name for record in run.records for name in record.metrics))
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["step", "time", *names])
    for record in run.records:
        writer.writerow([record.step, record.time, *(record.metrics.get(name, "") for name in names)])
    return file.getvalue()
