"""How a target is measured: the options that every command has which measures, and the measuring."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from mhc_diag.cli import options

if TYPE_CHECKING:
    from mhc_diag.records import MixingStack, Report

Wanted = Callable[[int, int], bool]
"""Whether something is wanted of so many sites and tokens."""
TARGET = "package.module:factory, a checkpoint (file, folder, index or URL), or a model folder."


@dataclass(frozen=True, slots=True)
class Measuring:
    """What the options say; each field is one of them."""

    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODULE:FACTORY",
            help="The code for a file of tensors; measures the live model.",
        ),
    ] = None
    input: Annotated[
        Path | None,
        typer.Option("--input", help="What the model is called with (.pt, .npy, .safetensors)."),
    ] = None
    tokens: Annotated[int, typer.Option("--tokens", help="Length of the random token sequences.")] = 64
    batch: Annotated[int, typer.Option("--batch", help="Number of random token sequences.")] = 2
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random tokens or samples.")] = 0
    static: Annotated[
        bool, typer.Option("--static", help="Read parameters only, even where a model could be run.")
    ] = False
    samples: Annotated[
        int,
        typer.Option(
            "--samples", metavar="N", help="Evaluate dynamic sites of a checkpoint at N random inputs."
        ),
    ] = 0
    stream_correlation: Annotated[
        float,
        typer.Option(
            "--stream-correlation", metavar="RHO", help="Correlation between the streams of a sample."
        ),
    ] = 0.0
    activations: Annotated[
        Path | None,
        typer.Option("--activations", help="Evaluate dynamic sites of a checkpoint at these saved streams."),
    ] = None
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="NAME", help="The table of tensors to read in a training checkpoint."),
    ] = None
    variant: Annotated[
        str | None,
        typer.Option(
            "--variant", metavar="NAME", help="The code that wrote the checkpoint, where several may have."
        ),
    ] = None
    select: Annotated[
        str | None,
        typer.Option(
            "--select", metavar="REGEX", help="Names of the square parameters that hold the mixing."
        ),
    ] = None
    logits: Annotated[
        str | None,
        typer.Option(
            "--logits", metavar="MANIFOLD[:N]", help="Project the selected parameters: sinkhorn:20."
        ),
    ] = None
    streams: Annotated[
        int | None,
        typer.Option("--streams", metavar="N", help="Number of streams, should the probe not find it."),
    ] = None
    layout: Annotated[
        str | None,
        typer.Option(
            "--layout",
            metavar="AXES",
            help="Layout of what the path begins with, should the probe not find it: 'b s (n c)'.",
        ),
    ] = None
    jobs: options.JobsOption = None
    device: Annotated[
        str | None,
        typer.Option("--device", help="Where a live model runs: cpu, cuda, cuda:1, or auto."),
    ] = None
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", metavar="NAME", help="Convert a live model first: fp64, fp32, bf16 or fp16."),
    ] = None
    unsafe_pickle: Annotated[
        bool,
        typer.Option("--unsafe-pickle", help="Load pickled modules. Runs any code that the file holds."),
    ] = False
    allow_code: Annotated[
        bool,
        typer.Option("--allow-code", help="Run an exported program (.pt2), with any code that it brings."),
    ] = False

    def stacks(self, target: str, *, explain: bool = False) -> list[MixingStack]:
        """What a target holds, one stack or one for each code that may have written it.

        Raises:
            MhcDiagError: the target, the code or the input is at fault.
            NothingToCheck: the target holds no mixing.
        """
        from mhc_diag.progress import traffic
        from mhc_diag.sources import target as targets
        from mhc_diag.sources.checkpoint.options import Options

        request = targets.Request(
            target,
            self.model,
            self.input,
            self.tokens,
            self.batch,
            self.seed,
            self.allow_code,
            streams=self.streams,
            layout=self.layout,
            explain=explain,
            device=self.device,
            dtype=self.dtype,
            static=self.static,
            checkpoint=Options(
                self.key,
                self.variant,
                self.select,
                self.logits,
                self.samples,
                self.stream_correlation,
                self.activations,
                self.seed,
                self.unsafe_pickle,
            ),
        )
        # the user's code may print
        with traffic("fetching") as arrived, contextlib.redirect_stdout(sys.stderr):
            return targets.scan(request, arrived)


def never(depth: int, tokens: int) -> bool:
    """Of no number of sites and tokens."""
    return False


def analysed(
    stacks: Sequence[MixingStack],
    metrics: Sequence[str] = ("all",),
    *,
    triangle: Wanted = never,
    jobs: int | None = None,
) -> list[Report]:
    """The report of each stack, with a bar that shows how far it is.

    Args:
        stacks: what to measure.
        metrics: names of metrics.
        triangle: whether all composites are measured of so many sites and tokens.
        jobs: cores to use.
    """
    from mhc_diag.progress import progress
    from mhc_diag.sweeps import analyse_samples

    matrices = sum(3 * s.matrices.shape[0] * s.matrices.shape[1] for s in stacks)
    with progress("measuring", matrices) as advance:
        return [
            analyse_samples(
                s, metrics=metrics, triangle=triangle(*s.matrices.shape[:2]), jobs=jobs, progress=advance
            )
            for s in stacks
        ]


def measures(command: Callable[..., None]) -> Callable[..., None]:
    """A command with the options of `Measuring`, which it gets as its argument `how`.

    typer reads the options of a command from its signature, so each field becomes a parameter of it.
    """
    hints = get_type_hints(Measuring, include_extras=True)
    names = [field.name for field in fields(Measuring)]

    @functools.wraps(command)
    def called(**given: Any) -> None:
        how = Measuring(**{name: given.pop(name) for name in names})
        command(**given, how=how)

    signature = inspect.signature(command, eval_str=True)
    own = [p.replace(kind=p.KEYWORD_ONLY) for p in signature.parameters.values() if p.name != "how"]
    shared = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
        for f in fields(Measuring)
    ]
    called.__signature__ = signature.replace(parameters=[*own[:1], *shared, *own[1:]])  # type: ignore[attr-defined]
    return called
