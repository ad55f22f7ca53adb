"""What the user allowed and did not get."""

from __future__ import annotations

from collections.abc import Mapping

from mhc_diag.verdict import Level

ID = "MHC100"
TITLE = "a limit of yours is broken"
LEVELS: Mapping[str, Level] = {}
WHAT = """
A limit from the command line, from `pyproject.toml` or `mhc-diag.toml` does not hold at one site at
least. The message names the metric, the worst site and where the limit was set. NaN breaks every
limit.
"""
WHY = """
Somebody decided that beyond this number the model is not good enough; mhc-diag does not know why.
"""
FIX = """
Look at the site that is named, with `mhc-diag scan TARGET --explain SITE`, and at what changed
there.
"""
REFERENCES: tuple[str, ...] = ()
