"""Reports that were saved as JSON, told from other files by their content."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from mhc_diag import schema
from mhc_diag.errors import MhcDiagError
from mhc_diag.records import Report
from mhc_diag.sources.printable import printable
from mhc_diag.verdict import Verdict

SAVE_AGAIN = "save one with: mhc-diag scan TARGET --report json=FILE"
START = 16
"""Bytes that tell JSON from a file of tensors, which begins with a length or with a magic word."""


@dataclass(frozen=True, slots=True, eq=False)
class Saved:
    """What a file holds."""

    reports: tuple[Report, ...]
    verdict: Verdict | None
    """What was said of them when they were saved."""


def is_saved(target: str) -> bool:
    """Whether a target is a file that holds, or held before it was damaged, a saved report.

    Example:
        >>> is_saved("package.module:factory")
        False
    """
    path = Path(target)
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            start = file.read(START)
            if not start.lstrip().startswith(b"{") or b"\0" in start:
                return False
            return f'"{schema.SCHEMA}"'.encode() in start + file.read()
    except OSError:  # whoever reads it says so
        return False


def read(path: Path) -> Saved:
    """The reports of a file, and the verdict that was saved with them.

    Raises:
        MhcDiagError: no readable report.
    """
    document, name = _parsed(path), printable(path)
    return Saved(tuple(schema.from_document(document, name)), schema.verdict_of(document, name))


def _parsed(path: Path) -> object:
    name = printable(path)
    try:
        return json.loads(path.read_bytes())
    except OSError as e:
        raise MhcDiagError(
            f"{name} cannot be read: {e.strerror}", hint="check the path and its permissions"
        ) from e
    except (ValueError, RecursionError) as e:
        raise MhcDiagError(f"{name} is not JSON, expected a saved report", hint=SAVE_AGAIN) from e
