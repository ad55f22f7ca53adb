"""Standard output and standard error as they are: how wide, in which colours, and who may stop reading."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any, TextIO

from mhc_diag.errors import MhcDiagError

PIPE_WIDTH = 120


def say(text: str, stream: TextIO | None) -> None:
    """Write now. A reader that has seen enough, such as `head`, changes nothing about the exit code."""
    if stream is None:  # closed by whoever started the program
        return
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except OSError as e:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # or Python stumbles over it at exit
        if stream is sys.stdout and not isinstance(e, BrokenPipeError):
            raise MhcDiagError(f"cannot write the report: {e.strerror}", hint="check the output") from e


def refuse(message: str, hint: str) -> None:
    """Say what is wrong in one line and what helps in another."""
    say(f"error: {' '.join(message.split())}\nhint: {' '.join(hint.split())}\n", sys.stderr)


def is_terminal() -> bool:
    """Whether somebody looks at standard output."""
    return sys.stdout.isatty()


def look() -> dict[str, Any]:
    """Width, colour and alphabet of a table, settled here so that one in a log is not cut at 80 columns."""
    terminal = is_terminal()
    width = shutil.get_terminal_size((PIPE_WIDTH, 40)).columns
    wanted = terminal or bool(os.environ.get("FORCE_COLOR"))
    return {
        "width": max(width, 60),
        "color": wanted and not os.environ.get("NO_COLOR"),
        "unicode": (sys.stdout.encoding or "").lower().startswith("utf"),
    }
