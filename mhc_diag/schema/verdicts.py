"""The saved form of a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mhc_diag.schema.numbers import number_in, plain
from mhc_diag.verdict import EXIT_CODES, Check, Doubt, Finding, Limit, Place, Verdict


def verdict_out(verdict: Verdict) -> dict[str, Any]:
    """A verdict as one JSON-ready dictionary.

    Example:
        >>> verdict_out(Verdict("failed"))["exit_code"]
        1
    """
    return {**plain(asdict(verdict)), "exit_code": verdict.exit_code}


def verdict_in(data: Mapping[str, Any]) -> Verdict:
    """The verdict that was made such a dictionary.

    Raises:
        KeyError, TypeError, AttributeError: it is no such dictionary.

    Example:
        >>> verdict_in(verdict_out(Verdict("failed"))).outcome
        'failed'
    """
    for item in (data, *data["checks"], *data["doubts"]):
        EXIT_CODES[item["outcome"]]
    return Verdict(
        outcome=data["outcome"],
        checks=tuple(Check(**{**c, **_place_in(c)}) for c in data["checks"]),
        findings=tuple(Finding(**{**f, **_place_in(f)}) for f in data["findings"]),
        doubts=tuple(Doubt(**d) for d in data["doubts"]),
        profiles=dict(data["profiles"]),
        sources=tuple(data["sources"]),
        enforced=data["enforced"],
        notes=tuple(data.get("notes", ())),
    )


def _place_in(data: Mapping[str, Any]) -> dict[str, Any]:
    place = {k: number_in(v) if k in {"value", "log10"} else v for k, v in data["place"].items()}
    return {"place": Place(**place), "limit": data["limit"] and Limit(**data["limit"])}
