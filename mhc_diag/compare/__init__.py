"""Two reports beside each other: what got worse, where, and whether that can be told.

worse         how far a number is from ideal, on the side that matters
measures      which numbers are compared
definitions   what two reports must share for that
sites         which site of one is which of the other
pairs         which report is which
comparison    two reports
lots          all reports of two targets
document      the same as JSON
words         a change in words
"""

from __future__ import annotations

from mhc_diag.compare.comparison import Change, Comparison, compared
from mhc_diag.compare.lots import Lots, compared_lots
from mhc_diag.compare.pairs import Paired, paired

__all__ = ["Change", "Comparison", "Lots", "Paired", "compared", "compared_lots", "paired"]
