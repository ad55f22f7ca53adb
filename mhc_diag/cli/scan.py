"""mhc-diag scan: measure a model or a checkpoint."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from mhc_diag import terminal
from mhc_diag.cli import options
from mhc_diag.cli.outputs import outputs
from mhc_diag.errors import MhcDiagError, NothingToCheck


def scan(
    target: Annotated[
        str,
        typer.Argument(
            help="package.module:factory, a Hugging Face model folder, or a .pt/.safetensors/.pt2 file."
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODULE:FACTORY",
            help="The code for a file of tensors; measures the live model.",
        ),
    ] = None,
    input: Annotated[
        Path | None,
        typer.Option("--input", help="What the model is called with (.pt, .npy, .safetensors)."),
    ] = None,
    tokens: Annotated[int, typer.Option("--tokens", help="Length of the random token sequences.")] = 64,
    batch: Annotated[int, typer.Option("--batch", help="Number of random token sequences.")] = 2,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random tokens.")] = 0,
    streams: Annotated[
        int | None,
        typer.Option("--streams", metavar="N", help="Number of streams, should the probe not find it."),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            "--layout",
            metavar="AXES",
            help="Layout of what the path begins with, should the probe not find it: 'b s (n c)'.",
        ),
    ] = None,
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
    all_sites: Annotated[bool, typer.Option("--all-sites", help="List every site in the table.")] = False,
    explain: Annotated[
        str | None,
        typer.Option(
            "--explain",
            metavar="SITE",
            help="Show how a site came to be measured: its number, its label or a pattern.",
        ),
    ] = None,
    max_gain: Annotated[
        float | None,
        typer.Option("--max-gain", help="Fail (exit 1) if a composite gain of any token is above this."),
    ] = None,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Exit 0 instead of 3 where there is no mixing to check.")
    ] = False,
    unsafe_pickle: Annotated[
        bool,
        typer.Option("--unsafe-pickle", help="Load pickled modules. Runs any code that the file holds."),
    ] = False,
    allow_code: Annotated[
        bool,
        typer.Option("--allow-code", help="Run an exported program (.pt2), with any code that it brings."),
    ] = False,
) -> None:
    """Measure the mixing of a model and its composite gains over depth."""
    from mhc_diag.gate import Policy, judge

    if explain is not None and format is not options.Format.table:
        raise MhcDiagError(
            f"--explain is shown below the table, but --format is {format}", hint="leave out --format"
        )
    policy, out = Policy(max_gain=max_gain), outputs(format, report, plot, triangle)
    from mhc_diag.analyse import analyse
    from mhc_diag.progress import progress
    from mhc_diag.selection import chosen
    from mhc_diag.sources import counterfactual
    from mhc_diag.sources import target as targets

    wanted = options.names(metrics)
    chosen(wanted)
    projection = None if project is None else counterfactual.parse(project)
    request = targets.Request(
        target,
        model,
        input,
        tokens,
        batch,
        seed,
        unsafe_pickle,
        allow_code,
        streams=streams,
        layout=layout,
        explain=explain is not None,
    )
    try:
        with contextlib.redirect_stdout(sys.stderr):  # the user's code may print
            stack = targets.scan(request)
    except NothingToCheck as e:
        raise typer.Exit(_nothing(e, allow_empty)) from e
    stacks = [stack] if projection is None else [stack, counterfactual.projected(stack, projection)]
    matrices = 3 * len(stacks) * len(stack.sites) * int(stack.matrices.shape[1])
    with progress("measuring", matrices) as advance:
        reports = [
            analyse(s, metrics=wanted, triangle=triangle is not None, progress=advance) for s in stacks
        ]
    verdict = judge(reports[:1], policy)
    asked = None if explain is None else (stack, explain)
    out.emit(reports, all_sites=all_sites, verdict=verdict, explain=asked)
    if stack.provenance.failure and verdict.outcome != "failed":
        raise MhcDiagError(
            f"{stack.name} raised {stack.provenance.failure}",
            hint="what was measured before is reported above; check the input's shape and dtype",
        )
    raise typer.Exit(verdict.exit_code)


def _nothing(error: NothingToCheck, allowed: bool) -> int:
    if allowed:
        terminal.say(f"nothing to check: {error.message}\n", sys.stderr)
    else:
        terminal.refuse(error.message, error.hint)
    terminal.say("".join(f"looked at: {line}\n" for line in error.looked_at), sys.stderr)
    return 0 if allowed else error.exit_code
