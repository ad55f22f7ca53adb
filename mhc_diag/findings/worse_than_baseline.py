"""What was better when it was accepted."""

from __future__ import annotations

from collections.abc import Mapping

from mhc_diag.verdict import Level

ID = "MHC110"
TITLE = "worse than the baseline"
LEVELS: Mapping[str, Level] = {}
WHAT = """
A number is further from ideal than the baseline says, by more than the tolerance: a larger gain, a
smaller rest of a signal or of the differences between streams, a larger residual, a shorter
half-life. The message names the number, the site where it is worst now, and the number and the site
of the baseline. A number that is NaN or infinite is worse than any.
"""
WHY = """
Limits say what is bad for any model; a baseline says what this one had reached. A composite gain
that goes from 1.5 to 3 breaks no limit of doubly stochastic mixing with 4 streams, and is twice the
amplification of a change that nobody meant to make.
"""
FIX = """
Find the change with `mhc-diag diff OLD NEW`, which shows site by site what got worse. Where it is
intended, `--update-baseline --accept-worse` writes the numbers of now.
"""
REFERENCES: tuple[str, ...] = ()
