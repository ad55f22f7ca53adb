"""What went wrong, as the two lines and the exit code that the user gets."""

from __future__ import annotations

import os
import sys
import traceback

from mhc_diag import terminal
from mhc_diag.errors import MhcDiagError, NothingToCheck


def told(error: BaseException) -> tuple[str, str, int]:
    """Message, hint and exit code of whatever was raised while a target was measured."""
    if isinstance(error, MhcDiagError):
        return error.message, error.hint, error.exit_code
    if isinstance(error, SystemExit):
        return f"the model's code ended the program: exit {error.code}", "take that call out of it", 2
    if os.environ.get("MHC_DIAG_TRACEBACK"):
        traceback.print_exception(error)
    what = " ".join(f"{type(error).__name__}: {error}".split())
    if isinstance(error, MemoryError):
        return f"not enough memory: {what}", "ask for less at a time: fewer tokens, seeds or sites", 2
    return f"internal error: {what}", "MHC_DIAG_TRACEBACK=1 shows where; please report it", 2


def nothing(error: NothingToCheck, allowed: bool) -> int:
    """Say that a target holds no mixing, and what was looked at; the exit code."""
    if allowed:
        terminal.say(f"nothing to check: {error.message}\n", sys.stderr)
    else:
        terminal.refuse(error.message, error.hint)
    terminal.say("".join(f"looked at: {line}\n" for line in error.looked_at), sys.stderr)
    return 0 if allowed else error.exit_code
