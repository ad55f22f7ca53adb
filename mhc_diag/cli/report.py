"""mhc-diag report: show a saved report again, in any format; or a training run that was written down."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mhc_diag.cli import options
from mhc_diag.cli.outputs import outputs


def report(
    saved: Annotated[
        Path,
        typer.Argument(
            metavar="REPORT.json|RUN.jsonl",
            help="A report that was saved with --report json=FILE, or a run that mhc_diag.watch wrote down.",
        ),
    ],
    format: options.FormatOption = options.Format.table,
    report: options.ReportOption = None,
    plot: options.PlotOption = None,
    all_sites: options.AllSitesOption = False,
) -> None:
    """Show a saved report again, with the verdict that was saved with it; nothing is judged anew.

    Of a training run, show its gains over the steps, as table, csv, html or picture.
    """
    out = outputs(format, report, plot, None)
    from mhc_diag.sources import runs

    if runs.is_run(saved):
        from mhc_diag.cli.of_run import show

        show(runs.read(saved), out)
        return
    from mhc_diag.sources.saved import read

    found = read(saved)
    out.emit(found.reports, all_sites=all_sites, verdict=found.verdict)
