"""The command line: parse, call, render, exit code. The only place that prints."""

from __future__ import annotations

import atexit
import gc
import importlib
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from mhc_diag import __version__, terminal
from mhc_diag.cli.refusals import told

COMMANDS = ("scan", "gate", "diff", "report", "tail", "simulate", "merge", "inspect", "rule")
"""In the order of --help; one file each, with a function of its name."""
INTERRUPTED = 130
KEPT = 10_000
"""Objects that are made between two looks for garbage: imports make many and leave none, and looks cost."""
HELP = "mhc-diag --help lists the commands, mhc-diag COMMAND --help their options"


def _version(wanted: bool) -> None:
    if wanted:
        print(f"mhc-diag {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _app(arguments: Sequence[str]) -> typer.Typer:
    """The program with the command that is called, and with all where none is, as in --help.

    Building the options of a command takes about 5 ms.
    """
    made = typer.Typer(
        name="mhc-diag",
        help="Stability diagnostics for Hyper-Connections: the gain of the mixing that a model applies.",
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    made.callback()(_root)
    called = [name for name in COMMANDS if name in arguments[:1]]
    for name in called or COMMANDS:
        made.command()(getattr(importlib.import_module(f"mhc_diag.cli.{name}"), name))
    return made


def main() -> NoReturn:
    """Run the command line and leave with the documented exit code, never with a traceback."""
    gc.set_threshold(KEPT, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)  # as it ends the interpreter looks at everything once more, which takes 40 ms
    try:
        code = _app(sys.argv[1:])(standalone_mode=False)
        if code == INTERRUPTED:  # typer takes the exception and is silent
            raise KeyboardInterrupt
    except (KeyboardInterrupt, typer.Abort):
        code = _fail("interrupted", "nothing was left half-written; run it again", INTERRUPTED)
    except SystemExit as e:
        left = isinstance(e.__context__, BrokenPipeError)  # typer's answer where nobody reads --help any more
        code = 0 if left else _fail(*told(e))
    except Exception as e:
        misused = getattr(e, "format_message", None)
        code = _fail(*told(e)) if misused is None else _fail(misused(), HELP, 2)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, hint: str, code: int) -> int:
    terminal.refuse(message, hint)
    return code
