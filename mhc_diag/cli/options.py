"""Options that several commands share, and texts that become lists."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mhc_diag.errors import MhcDiagError


class Format(StrEnum):
    """What is written to the terminal."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"
    github = "github"
    junit = "junit"
    sarif = "sarif"
    benchmark = "benchmark"


FormatOption = Annotated[Format, typer.Option("--format", help="What is written to standard output.")]
ReportOption = Annotated[
    list[str] | None,
    typer.Option("--report", metavar="FORMAT=PATH", help="Also write this format to a file. Repeatable."),
]
PlotOption = Annotated[
    list[str] | None,
    typer.Option(
        "--plot",
        metavar="[PICTURE=]PATH",
        help="Draw the gains over depth, or curves, triangle, matrices, sinkhorn, growth or tokens "
        "(.png, .svg or .pdf). Repeatable.",
    ),
]
TriangleOption = Annotated[
    Path | None,
    typer.Option("--triangle", help="Draw the gain of every composite (l, m) as a heat map."),
]
MetricsOption = Annotated[
    str,
    typer.Option(
        "--metrics",
        metavar="NAMES",
        help="all; paper (the paper's curves alone, the fastest); or names between commas.",
    ),
]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", metavar="N", help="Cores to use. Default: all. Changes no number.")
]
BackendOption = Annotated[
    str | None,
    typer.Option("--backend", metavar="NAME", help="Who works: a backend of joblib (loky, dask, ray)."),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The limits: a mhc-diag.toml or pyproject.toml."),
]
ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", metavar="NAME", help="What is expected: auto, mhc, hc, residual or none."),
]
LimitOption = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="LIMIT",
        help="METRIC[:SCOPE[:STATISTIC[:SITES]]]<=X, or >=X: fail (exit 1) where that is not so. Repeatable.",
    ),
]
LevelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--level", metavar="ID=LEVEL", help="How bad a finding is: MHC101=warn, =error or =off. Repeatable."
    ),
]
MaxGainOption = Annotated[
    float | None,
    typer.Option("--max-gain", help="Fail (exit 1) if a composite gain of any token is above this."),
]
AllSitesOption = Annotated[bool, typer.Option("--all-sites", help="List every site in the table.")]
AllowEmptyOption = Annotated[
    bool, typer.Option("--allow-empty", help="Exit 0 instead of 3 where there is no mixing to check.")
]
LONGEST_LIST = 1000


def names(text: str) -> tuple[str, ...]:
    """Names between commas.

    Example:
        >>> names("identity, none,sinkhorn")
        ('identity', 'none', 'sinkhorn')
    """
    return tuple(part.strip() for part in text.split(",") if part.strip())


def counts(text: str, flag: str) -> tuple[int, ...]:
    """Whole numbers between commas, each alone or as a range with both ends.

    Raises:
        MhcDiagError: anything else, or more than a thousand numbers.

    Example:
        >>> counts("0..3,20", "--sinkhorn-iters")
        (0, 1, 2, 3, 20)
    """
    found: list[int] = []
    for part in names(text) or ("",):
        low, dots, high = part.partition("..")
        if not low.isdecimal() or not (high if dots else low).isdecimal():
            raise MhcDiagError(f"{flag} is {text!r}", hint="give whole numbers, as in 20 or 1,5,20 or 0..20")
        last = int(high if dots else low)
        if last - int(low) >= LONGEST_LIST or len(found) >= LONGEST_LIST:
            raise MhcDiagError(f"{flag} lists too many numbers", hint=f"give at most {LONGEST_LIST}")
        found += range(int(low), last + 1)
    if not found:
        raise MhcDiagError(f"{flag} is {text!r}, which is empty", hint="write a range as low..high")
    return tuple(dict.fromkeys(found))
