"""mhc-diag gate: hold models, checkpoints and saved reports against limits."""

from __future__ import annotations

from typing import Annotated

import typer

from mhc_diag.cli import baselines, options
from mhc_diag.cli.expected import enforced
from mhc_diag.cli.measuring import Measuring, measures
from mhc_diag.cli.outputs import outputs
from mhc_diag.errors import MhcDiagError

TARGETS = "What scan takes, and reports that were saved as JSON; several may be given."


@measures
def gate(
    targets: Annotated[list[str] | None, typer.Argument(metavar="TARGET...", help=TARGETS)] = None,
    config: options.ConfigOption = None,
    profile: options.ProfileOption = None,
    max_gain: options.MaxGainOption = None,
    limit: options.LimitOption = None,
    level: options.LevelOption = None,
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
    from mhc_diag.gate import judge

    out = outputs(format, report, plot, None)
    wanted = enforced(
        config,
        profile=profile,
        max_gain=max_gain,
        limit=limit,
        level=level,
        baseline=baseline,
        tolerance=tolerance,
    )
    held = baselines.asked(
        wanted.baseline, update=update_baseline, accept=accept_worse, tolerance=wanted.tolerance
    )
    if not wanted.policy.judges and held is None:
        raise MhcDiagError(
            "nothing is expected: the profile is none, and there is no limit",
            hint="give a limit, such as --max-gain 4, or another profile",
        )
    named = tuple(targets or wanted.targets)
    if not named:
        raise MhcDiagError(
            "there is no target",
            hint="name one: mhc-diag gate TARGET, or list it in targets of mhc-diag.toml",
        )
    reports, unread = gathered(named, how, allow_empty=allow_empty, triangle=out.wants_triangle)
    verdict = judge(reports, wanted.policy, unread)
    if held is None:
        out.emit(reports, verdict=verdict, gate=True)
        raise typer.Exit(verdict.exit_code)
    settled = baselines.settled(held, reports, verdict, wanted.policy)
    out.emit(reports, verdict=settled.verdict, gate=True)
    raise typer.Exit(settled.write())
