"""mhc-diag simulate: random stacks, projected in different ways, side by side."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mhc_diag import terminal
from mhc_diag.cli import options
from mhc_diag.cli.outputs import Outputs, outputs
from mhc_diag.errors import MhcDiagError


class Dtype(StrEnum):
    """What the mixing coefficients are rounded to."""

    fp64 = "fp64"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


def simulate(
    depth: Annotated[int, typer.Option("--depth", help="Number of sites L.")] = 64,
    streams: Annotated[int, typer.Option("--streams", help="Number of streams n.")] = 4,
    seeds: Annotated[int, typer.Option("--seeds", help="Number of random stacks.")] = 64,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the first of them.")] = 0,
    manifold: Annotated[
        str,
        typer.Option("--manifold", metavar="NAMES", help="How logits become matrices; a list compares."),
    ] = "identity,none,sinkhorn",
    sinkhorn_iters: Annotated[
        str,
        typer.Option(
            "--sinkhorn-iters", metavar="COUNTS", help="Sinkhorn iterations: 20, or 1,5,20 or 0..20 (a dial)."
        ),
    ] = "20",
    ensemble: Annotated[
        str, typer.Option("--ensemble", metavar="NAME", help="How logits are drawn, see the documentation.")
    ] = "near-identity",
    scale: Annotated[
        float | None,
        typer.Option(
            "--scale",
            help="Size of the logits. Default: for near-identity what grows to a typical gain of 3000 in 60 "
            "sites; else the ensemble's own.",
        ),
    ] = None,
    noise: Annotated[
        float | None, typer.Option("--noise", help="What differs from site to site, where sites are alike.")
    ] = None,
    measured: Annotated[
        Path | None,
        typer.Option("--measured", help="The saved JSON report that --ensemble from-report resamples."),
    ] = None,
    dtype: Annotated[
        Dtype, typer.Option("--dtype", help="Round the mixing coefficients to this format.")
    ] = Dtype.fp64,
    signal: Annotated[
        bool, typer.Option("--signal", help="Also push random signals and gradients through the stacks.")
    ] = False,
    branch_gain: Annotated[
        float, typer.Option("--branch-gain", help="Gain of the random branches of --signal.")
    ] = 1.0,
    metrics: options.MetricsOption = "all",
    format: options.FormatOption = options.Format.table,
    report: options.ReportOption = None,
    plot: options.PlotOption = None,
    triangle: options.TriangleOption = None,
    jobs: options.JobsOption = None,
    backend: options.BackendOption = None,
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="FOLDER", help="Keep finished parts here, and go on from there."),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="Measure one of N shares into --state, for merge."),
    ] = None,
) -> None:
    """Simulate deep stacks without mixing, with unconstrained and with Sinkhorn-projected mixing."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads get in the way of small matrices
    out = outputs(format, report, plot, triangle)
    from mhc_diag.progress import progress
    from mhc_diag.sources.simulate import Simulation
    from mhc_diag.sweeps import Plan, Shard, measure_shard, run
    from mhc_diag.sweeps.engine import chosen

    share = None if shard is None else Shard.parse(shard)
    simulation = Simulation(
        depth=depth,
        streams=streams,
        seeds=seeds,
        seed=seed,
        sinkhorn_iters=options.counts(sinkhorn_iters, "--sinkhorn-iters"),
        ensemble=ensemble,
        scale=scale,
        noise=noise,
        manifolds=options.names(manifold),
        dtype=dtype.value,
        report=measured,
    )
    plan = Plan(simulation, options.names(metrics), branch_gain if signal else None)
    tasks = plan.tasks if share is None else share.tasks(plan)
    with chosen(backend), progress("simulating", sum(map(plan.matrices, tasks))) as advance:
        if share is None:
            reports = run(plan, triangle=out.wants_triangle, jobs=jobs, state=state, progress=advance)
        else:
            folder = _folder(state, out)
            path = measure_shard(plan, share, folder, jobs=jobs, progress=advance)
    if share is None:
        out.emit(reports)
    else:
        terminal.say(f"wrote {path} (shard {share.name})\n", sys.stderr)


def _folder(state: Path | None, out: Outputs) -> Path:
    """Where a shard goes, which is no report."""
    if state is None:
        raise MhcDiagError("--shard needs a folder to write to", hint="add --state FOLDER")
    if out.reports or out.plots or out.format is not options.Format.table:
        raise MhcDiagError(
            "a shard is part of a sweep and writes no report",
            hint="leave out --format, --report, --plot and --triangle; mhc-diag merge has them",
        )
    return state
