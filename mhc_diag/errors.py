"""What can go wrong, in the user's terms.

MhcDiagError            anything the user should read; exit code 2
  NothingToCheck        the target was read, but it holds no mixing; exit code 3
  SeveralTables         a checkpoint holds several tables of tensors, and which one is meant is not clear
"""

from __future__ import annotations

from functools import partial
from typing import Any


class MhcDiagError(Exception):
    """A problem that the user can act on.

    Args:
        message: what is wrong, naming the file or module path, what was found and what was expected.
        hint: what to do about it, in one sentence.

    Example:
        >>> str(MhcDiagError("model.pt is empty", hint="check the download"))
        'model.pt is empty'
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:  # a worker's error reaches the process that is waiting for it
        told = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return partial(type(self), **told), ()


class NothingToCheck(MhcDiagError):
    """The target is readable, but no mixing was found in it.

    Args:
        message: what was scanned.
        hint: what to try.
        looked_at: one line for each thing that was considered, with the reason why it is no mixing.
    """

    exit_code = 3

    def __init__(self, message: str, *, hint: str, looked_at: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.looked_at = looked_at


class SeveralTables(MhcDiagError):
    """Several tables of tensors could be meant.

    Args:
        message: where they are.
        hint: how to choose one.
        tables: what each is called, and how many tensors it holds.
    """

    def __init__(self, message: str, *, hint: str, tables: tuple[tuple[str, int], ...]) -> None:
        super().__init__(message, hint=hint)
        self.tables = tables
