"""mhc-diag rule: what a finding means, why it matters and what to do."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mhc_diag import terminal


def rule(
    name: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="A finding, such as MHC101; all of them without.")
    ] = None,
) -> None:
    """Print the page of a finding, or the list of all."""
    from mhc_diag import findings, rulebook

    shown = rulebook.listed(findings.rules().values()) if name is None else rulebook.page(findings.rule(name))
    terminal.say(shown, sys.stdout)
