"""JSON: the saved form of a report, which mhc-diag itself can read again.

Everything a report holds: the definition beside each number, where the operators came from, every curve with
its log10. It is strict JSON; numbers that JSON lacks are the strings "inf", "-inf" and "nan". A list of
numbers and a small record take one line each, so that two saved reports can be compared with a plain diff.

    {"schema": "mhc-diag/report", "version": 1, "reports": [{"name": ..., "curves": [
      {"metric": "amax_forward", "scope": "prefix", "statistic": "max",
       "value": [...], "log10": [...], "token": [...]}]}]}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mhc_diag import schema
from mhc_diag.records import Report
from mhc_diag.verdict import Verdict

SUFFIX = ".json"

_NUMBER_WORDS = {"inf", "-inf", "nan"}


def render(reports: Sequence[Report], verdict: Verdict | None = None) -> str:
    """Reports as one strict JSON document.

    Example:
        >>> print(render([]), end="")
        {
          "schema": "mhc-diag/report",
          "version": 1,
          "reports": []
        }
    """
    return dumped(schema.to_document(reports, verdict))


def dumped(document: dict[str, Any]) -> str:
    """A JSON-ready dictionary as text, small records and lists of numbers on a line of their own.

    Example:
        >>> print(dumped({"shape": [4, 4], "names": ["a", "b"]}), end="")
        {
          "shape": [4, 4],
          "names": [
            "a",
            "b"
          ]
        }
    """
    return _dump(document, "") + "\n"


def _dump(value: Any, indent: str) -> str:
    if not value or not isinstance(value, (dict, list)) or _fits_on_a_line(value):
        return json.dumps(value, allow_nan=False)
    deeper = indent + "  "
    if isinstance(value, dict):
        items = [f"{json.dumps(k)}: {_dump(v, deeper)}" for k, v in value.items()]
        brackets = "{}"
    else:
        items = [json.dumps(v) if _is_record(v) else _dump(v, deeper) for v in value]
        brackets = "[]"
    lines = ",\n".join(deeper + item for item in items)
    return f"{brackets[0]}\n{lines}\n{indent}{brackets[1]}"


def _fits_on_a_line(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, (int, float)) or _is_word(v) for v in value)


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value in _NUMBER_WORDS


def _is_record(value: Any) -> bool:
    return isinstance(value, dict) and not any(isinstance(v, (dict, list)) for v in value.values())
