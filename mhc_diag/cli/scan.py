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
            help="package.module:factory, a checkpoint (file, folder, index or URL), or a model folder."
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
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random tokens or samples.")] = 0,
    static: Annotated[
        bool, typer.Option("--static", help="Read parameters only, even where a model could be run.")
    ] = False,
    samples: Annotated[
        int,
        typer.Option(
            "--samples", metavar="N", help="Evaluate dynamic sites of a checkpoint at N random inputs."
        ),
    ] = 0,
    stream_correlation: Annotated[
        float,
        typer.Option(
            "--stream-correlation", metavar="RHO", help="Correlation between the streams of a sample."
        ),
    ] = 0.0,
    activations: Annotated[
        Path | None,
        typer.Option("--activations", help="Evaluate dynamic sites of a checkpoint at these saved streams."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="NAME", help="The table of tensors to read in a training checkpoint."),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            "--variant", metavar="NAME", help="The code that wrote the checkpoint, where several may have."
        ),
    ] = None,
    select: Annotated[
        str | None,
        typer.Option(
            "--select", metavar="REGEX", help="Names of the square parameters that hold the mixing."
        ),
    ] = None,
    logits: Annotated[
        str | None,
        typer.Option(
            "--logits", metavar="MANIFOLD[:N]", help="Project the selected parameters: sinkhorn:20."
        ),
    ] = None,
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
    policy, out = Policy(max_gain, profile="auto", advice=True), outputs(format, report, plot, triangle)
    from mhc_diag.analyse import analyse
    from mhc_diag.progress import progress, traffic
    from mhc_diag.selection import chosen
    from mhc_diag.sources import counterfactual
    from mhc_diag.sources import target as targets
    from mhc_diag.sources.checkpoint.options import Options

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
        allow_code,
        streams=streams,
        layout=layout,
        explain=explain is not None,
        static=static,
        checkpoint=Options(
            key, variant, select, logits, samples, stream_correlation, activations, seed, unsafe_pickle
        ),
    )
    try:
        with (
            traffic("fetching") as arrived,
            contextlib.redirect_stdout(sys.stderr),
        ):  # the user's code may print
            stacks = targets.scan(request, arrived)
    except NothingToCheck as e:
        raise typer.Exit(_nothing(e, allow_empty)) from e
    found = len(stacks)
    if projection is not None:
        stacks += [counterfactual.projected(stack, projection) for stack in stacks]
    with progress("measuring", sum(3 * s.matrices.shape[0] * s.matrices.shape[1] for s in stacks)) as advance:
        reports = [
            analyse(s, metrics=wanted, triangle=triangle is not None, progress=advance) for s in stacks
        ]
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


def _nothing(error: NothingToCheck, allowed: bool) -> int:
    if allowed:
        terminal.say(f"nothing to check: {error.message}\n", sys.stderr)
    else:
        terminal.refuse(error.message, error.hint)
    terminal.say("".join(f"looked at: {line}\n" for line in error.looked_at), sys.stderr)
    return 0 if allowed else error.exit_code
