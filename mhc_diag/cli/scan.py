"""mhc-diag scan: measure a model or a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from mhc_diag.cli import options
from mhc_diag.cli.expected import advised
from mhc_diag.cli.measuring import TARGET, Measuring, analysed, measures
from mhc_diag.cli.outputs import outputs
from mhc_diag.cli.refusals import nothing
from mhc_diag.errors import MhcDiagError, NothingToCheck

if TYPE_CHECKING:
    from mhc_diag.records import MixingStack


@measures
def scan(
    target: Annotated[str, typer.Argument(help=TARGET)],
    project: Annotated[
        str | None,
        typer.Option(
            "--project",
            metavar="MANIFOLD[:N]",
            help="Show beside it what the model's own matrices would give when projected: sinkhorn:20.",
        ),
    ] = None,
    metrics: options.MetricsOption = "all",
    format: options.FormatOption = options.Format.table,
    report: options.ReportOption = None,
    plot: options.PlotOption = None,
    triangle: options.TriangleOption = None,
    all_sites: options.AllSitesOption = False,
    explain: Annotated[
        str | None,
        typer.Option(
            "--explain",
            metavar="SITE",
            help="Show how a site came to be measured: its number, its label or a pattern.",
        ),
    ] = None,
    max_gain: options.MaxGainOption = None,
    limit: options.LimitOption = None,
    profile: options.ProfileOption = None,
    config: options.ConfigOption = None,
    allow_empty: options.AllowEmptyOption = False,
    *,
    how: Measuring,
) -> None:
    """Measure the mixing of a model and its composite gains over depth."""
    from mhc_diag.gate import judge

    if explain is not None and format is not options.Format.table:
        raise MhcDiagError(
            f"--explain is shown below the table, but --format is {format}", hint="leave out --format"
        )
    policy = advised(config, profile=profile, max_gain=max_gain, limit=limit)
    out = outputs(format, report, plot, triangle)
    from mhc_diag.selection import chosen

    wanted = options.names(metrics)
    chosen(wanted)
    also = None if project is None else _projected(project)
    try:
        stacks = how.stacks(target, explain=explain is not None)
    except NothingToCheck as e:
        raise typer.Exit(nothing(e, allow_empty)) from e
    found = len(stacks)
    if also is not None:
        stacks += [also(stack) for stack in stacks]
    reports = analysed(stacks, wanted, triangle=out.wants_triangle, jobs=how.jobs)
    verdict = judge(reports[:found], policy)
    asked = None if explain is None else (stacks[0], explain)
    out.emit(reports, all_sites=all_sites, verdict=verdict, explain=asked)
    failure = stacks[0].provenance.failure
    if failure and verdict.outcome != "failed":
        raise MhcDiagError(
            f"{stacks[0].name} raised {failure}",
            hint="what was measured before is reported above; check the input's shape and dtype",
        )
    raise typer.Exit(verdict.exit_code)


def _projected(text: str) -> Callable[[MixingStack], MixingStack]:
    """What --project asks for, seen to be right before anything is measured."""
    from mhc_diag.sources import counterfactual

    return partial(counterfactual.projected, projection=counterfactual.parse(text))
