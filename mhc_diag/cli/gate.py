"""mhc-diag gate: hold models, checkpoints and saved reports against limits."""

from __future__ import annotations

from typing import Annotated

import typer

from mhc_diag.cli import baselines, options
from mhc_diag.cli.measuring import Measuring, measures
from mhc_diag.cli.outputs import outputs
from mhc_diag.errors import MhcDiagError

TARGETS = "What scan takes, and reports that were saved as JSON; several may be given."


@measures
def gate(
    targets: Annotated[list[str] | None, typer.Argument(metavar="TARGET...", help=TARGETS)] = None,
    profile: Annotated[
        str,
        typer.Option("--profile", metavar="NAME", help="What is expected: auto, mhc, hc, residual or none."),
    ] = "auto",
    max_gain: options.MaxGainOption = None,
    allow_empty: options.AllowEmptyOption = False,
    format: options.FormatOption = options.Format.table,
    report: options.ReportOption = None,
    plot: options.PlotOption = None,
    baseline: baselines.BaselineOption = None,
    update_baseline: baselines.UpdateOption = False,
    accept_worse: baselines.AcceptOption = False,
    tolerance: baselines.ToleranceOption = None,
    *,
    how: Measuring,
) -> None:
    """Hold the mixing of models, checkpoints or saved reports against limits."""
    from mhc_diag.cli.gathered import gathered
    from mhc_diag.gate import Policy, judge

    policy, out = Policy(max_gain, profile=profile), outputs(format, report, plot, None)
    if not targets:
        raise MhcDiagError("there is no target", hint="name one: mhc-diag gate TARGET")
    held = baselines.asked(baseline, update=update_baseline, accept=accept_worse, tolerance=tolerance)
    if not policy.judges and held is None:
        raise MhcDiagError(
            f"nothing is expected: the profile is {profile} and there is no limit",
            hint="give a limit, such as --max-gain 4, or another profile",
        )
    reports, unread = gathered(targets, how, allow_empty=allow_empty)
    verdict = judge(reports, policy, unread)
    if held is None:
        out.emit(reports, verdict=verdict)
        raise typer.Exit(verdict.exit_code)
    settled = baselines.settled(held, reports, verdict, policy)
    out.emit(reports, verdict=settled.verdict)
    raise typer.Exit(settled.write())
