"""The command line: parse, call, render, exit code. The only place that prints."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated, NoReturn

import typer

from mhc_diag import __version__, terminal
from mhc_diag.cli.inspect import inspect as _inspect
from mhc_diag.cli.merge import merge as _merge
from mhc_diag.cli.scan import scan as _scan
from mhc_diag.cli.simulate import simulate as _simulate
from mhc_diag.errors import MhcDiagError

INTERRUPTED = 130
app = typer.Typer(
    name="mhc-diag",
    help="Stability diagnostics for Hyper-Connections: the gain of the mixing that a model applies.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"mhc-diag {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command()(_scan)
app.command()(_simulate)
app.command()(_merge)
app.command()(_inspect)


def main() -> NoReturn:
    """Run the command line and leave with the documented exit code, never with a traceback."""
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:  # typer takes the exception and is silent
            raise KeyboardInterrupt
    except MhcDiagError as e:
        code = _fail(e.message, e.hint, e.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = _fail("interrupted", "nothing was left half-written; run it again", INTERRUPTED)
    except SystemExit as e:
        if isinstance(e.__context__, BrokenPipeError):  # typer's answer where the reader of --help is gone
            code = 0
        else:
            code = _fail(f"the model's code ended the program: exit {e.code}", "take that call out of it", 2)
    except Exception as e:
        code = _unexpected(e)
    sys.exit(code if isinstance(code, int) else 0)


def _unexpected(error: Exception) -> int:
    told = getattr(error, "format_message", None)
    if told is not None:  # the command line itself could not be understood
        return _fail(told(), "mhc-diag --help lists the commands, mhc-diag COMMAND --help their options", 2)
    if os.environ.get("MHC_DIAG_TRACEBACK"):
        traceback.print_exception(error)
    what = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, MemoryError):
        return _fail(f"not enough memory: {what}", "ask for less at a time: fewer tokens, seeds or sites", 2)
    return _fail(f"internal error: {what}", "MHC_DIAG_TRACEBACK=1 shows where; please report it", 2)


def _fail(message: str, hint: str, code: int) -> int:
    terminal.refuse(message, hint)
    return code
