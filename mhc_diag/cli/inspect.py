"""mhc-diag inspect: what is in a file, before anything is measured."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from typing import Annotated

import typer

from mhc_diag import terminal
from mhc_diag.errors import MhcDiagError


class Shown(StrEnum):
    """What is written to the terminal."""

    table = "table"
    json = "json"


def inspect(
    target: Annotated[str, typer.Argument(help="A checkpoint: a file, folder, index or URL.")],
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="NAME", help="The table of tensors to show of a training checkpoint."),
    ] = None,
    format: Annotated[
        Shown, typer.Option("--format", help="What is written to standard output.")
    ] = Shown.table,
) -> None:
    """Show what is in a file: tensors, layouts of mixing parameters, sites, and what to type next."""
    from mhc_diag.progress import traffic
    from mhc_diag.sources import factory, inventory

    if not os.path.exists(target) and factory.is_spec(target):
        raise MhcDiagError(
            f"{target} is the code of a live model, and inspect looks into files",
            hint=f"measure it with: mhc-diag scan {target}",
        )
    with traffic("fetching") as arrived:
        found = inventory.take(target, key=key, arrived=arrived)
    if format is Shown.json:
        from mhc_diag.render import json

        shown = json.dumped(found.document())
    else:
        from mhc_diag.render.table.inventory import inventory as table

        shown = table(found, **terminal.look())
    terminal.say(shown, sys.stdout)
