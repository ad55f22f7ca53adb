"""Baselines in files."""

from __future__ import annotations

import json
from pathlib import Path

from mhc_diag.baseline.records import Baseline
from mhc_diag.baseline.saved import AGAIN, from_document
from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.printable import printable


def read(path: Path) -> Baseline:
    """The baseline of a file.

    Raises:
        MhcDiagError: it cannot be read, or is no baseline.
    """
    name = printable(path)
    try:
        document = json.loads(path.read_bytes())
    except OSError as e:
        raise MhcDiagError(
            f"{name} cannot be read: {e.strerror}", hint="check the path and its permissions"
        ) from e
    except (ValueError, RecursionError) as e:
        raise MhcDiagError(f"{name} is not JSON, expected a baseline", hint=AGAIN) from e
    return from_document(document, name)
