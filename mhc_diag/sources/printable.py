"""Text from a stranger's file, made safe to print."""

from __future__ import annotations

from pathlib import Path

LONGEST_TEXT = 200


def printable(text: object, longest: int = LONGEST_TEXT) -> str:
    r"""Text from a stranger's file, safe to print: control characters escaped, and cut unless it is a path.

    Example:
        >>> print(printable("layers.0\x1b[31m"))
        layers.0\x1b[31m
    """
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    return line if isinstance(text, Path) or len(line) <= longest else line[:longest] + "..."
