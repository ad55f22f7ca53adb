"""Parquet: the tidy rows of `Report.frame()`, typed, for pandas, polars, DuckDB or Spark.

The columns are those of CSV: name, site, path, kind, scope (site, prefix, suffix), metric, statistic, value,
log10, token. Here numbers are numbers, among them inf, -inf and nan, and where a number belongs to no single
token the token is null. The same reports give the same bytes, with the same version of pyarrow. Needs the
extra `parquet`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.records import Report
from mhc_diag.verdict import Verdict

SUFFIX = ".parquet"


def render(reports: Sequence[Report], verdict: Verdict | None = None) -> bytes:
    """Tidy rows of all reports in one table; a verdict is none of them.

    Raises:
        MhcDiagError: pyarrow is not installed.

    Example:
        >>> render([])[:4]
        b'PAR1'
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as e:
        raise MhcDiagError("Parquet needs pyarrow", hint="pip install 'mhc-diag[parquet]'") from e
    fields = ("name", "site", "path", "kind", "scope", "metric", "statistic", "value", "log10", "token")
    types = {"site": pa.int64(), "value": pa.float64(), "log10": pa.float64(), "token": pa.int64()}
    form = pa.schema([(name, types.get(name, pa.string())) for name in fields])
    tables = [pa.table(columns, schema=form) for report in reports for columns in _columns(report)]
    file = pa.BufferOutputStream()
    pq.write_table(pa.concat_tables(tables) if tables else form.empty_table(), file)
    return bytes(file.getvalue().to_pybytes())


def _columns(report: Report) -> Iterator[dict[str, Any]]:
    """The rows of each curve, by column."""
    depth = len(report.sites)
    paths, kinds = [_text(s.path) for s in report.sites], [_text(s.kind) for s in report.sites]
    for curve in report.curves:
        same = {
            "name": report.name,
            "scope": curve.scope,
            "metric": curve.metric,
            "statistic": curve.statistic,
        }
        yield {
            **{name: [_text(value)] * depth for name, value in same.items()},
            "site": range(depth),
            "path": paths,
            "kind": kinds,
            "value": curve.value,
            "log10": curve.log10,
            "token": [None] * depth if curve.token is None else curve.token,
        }


def _text(text: str) -> str:
    """Text that UTF-8 can hold; a lone surrogate is escaped."""
    return text.encode("utf-8", "backslashreplace").decode()
