"""CSV: one row for each number, ready for a spreadsheet, pandas or R.

Columns: name, site, path, kind, scope (site, prefix, suffix), metric, statistic, value, log10, token. Numbers
have as many digits as it takes to read them back exactly; `inf`, `-inf` and `nan` are written as these words;
an empty token means that the number belongs to no single token. A value of inf with a finite log10 is a gain
beyond 1.8e308, not an infinite one.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO

from mhc_diag.records import Report
from mhc_diag.verdict import Verdict

SUFFIX = ".csv"

HEADER = ("name", "site", "path", "kind", "scope", "metric", "statistic", "value", "log10", "token")


def render(reports: Sequence[Report], verdict: Verdict | None = None) -> str:
    """Tidy rows of all reports under one header line; a verdict is none of them.

    Example:
        >>> print(render([]), end="")
        name,site,path,kind,scope,metric,statistic,value,log10,token
    """
    text = StringIO()
    writer = csv.DictWriter(text, HEADER, lineterminator="\n")
    writer.writeheader()
    for report in reports:
        writer.writerows(report.rows())
    return text.getvalue()
