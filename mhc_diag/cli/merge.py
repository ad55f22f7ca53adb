"""mhc-diag merge: the report of a simulation that was measured in shards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mhc_diag.cli import options
from mhc_diag.cli.outputs import outputs


def merge(
    shards: Annotated[
        list[Path], typer.Argument(metavar="SHARD...", help="Files that shards left, or folders of them.")
    ],
    format: options.FormatOption = options.Format.table,
    report: options.ReportOption = None,
    plot: options.PlotOption = None,
    triangle: options.TriangleOption = None,
) -> None:
    """Put the shards of a simulation together."""
    out = outputs(format, report, plot, triangle)
    from mhc_diag.sweeps import merged

    out.emit(merged(shards, triangle=out.wants_triangle))
