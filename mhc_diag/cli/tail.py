"""mhc-diag tail: follow a training run in a terminal."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mhc_diag import terminal
from mhc_diag.errors import MhcDiagError
from mhc_diag.sources import runs

if TYPE_CHECKING:
    from rich.console import Group

    from mhc_diag.training.following import Following

pause = time.sleep


def tail(
    run: Annotated[
        Path, typer.Argument(metavar="RUN.jsonl", help="A file that mhc_diag.watch(jsonl=...) writes.")
    ],
    once: Annotated[bool, typer.Option("--once", help="Show the run as it is now, and end.")] = False,
    interval: Annotated[float, typer.Option("--interval", help="Seconds between two looks.")] = 1.0,
) -> None:
    """Show the latest gains of a run, their course and its alerts, until Ctrl-C; in a pipe, once."""
    if not interval > 0:
        raise MhcDiagError(f"--interval is {interval}", hint="give seconds above 0, such as 1")
    if run.exists() and not runs.is_run(run):
        raise MhcDiagError(f"{run} holds no run", hint="name a file that mhc_diag.watch(jsonl=...) writes")
    from mhc_diag.training import table
    from mhc_diag.training.following import Following

    followed = Following(run)
    followed.look()
    if once or not terminal.is_terminal():
        terminal.say(table.render(followed.run, **terminal.look()), sys.stdout)
        return
    _follow(followed, interval)


def _follow(followed: Following, interval: float) -> None:
    from rich.console import Console
    from rich.live import Live

    from mhc_diag.render.table.look import Look
    from mhc_diag.training.table import shown

    look = terminal.look()
    console = Console(no_color=not look["color"], highlight=False)

    def now() -> Group:
        return shown(followed.run, Look(console.width, look["unicode"]))

    try:
        with Live(now(), console=console, auto_refresh=False) as live:
            while True:
                pause(interval)
                if followed.look():
                    live.update(now(), refresh=True)
    except KeyboardInterrupt:  # how one leaves
        return
