"""The saved form of a baseline: plain dictionaries that strict JSON can hold, and back.

A number and a finding are records without anything nested, so that each takes a line of its own and a change
of one is a change of one line. Numbers have 12 digits, so that rounding changes hardly any of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from mhc_diag.baseline.records import Accepted, Baseline, Entry, Number
from mhc_diag.compare.definitions import Definitions
from mhc_diag.compare.measures import MEASURES
from mhc_diag.errors import MhcDiagError

SCHEMA = "mhc-diag/baseline"
VERSION = 1
MAKE = "make one with: mhc-diag gate TARGET --baseline FILE --update-baseline"
AGAIN = "take it from version control, or delete it and make it again with --update-baseline"
DEFINED = ("streams", "method", "token_axis", "tokens", "settings", "formulas")
Made = TypeVar("Made")


def to_document(baseline: Baseline) -> dict[str, Any]:
    """A baseline as one JSON-ready dictionary.

    Example:
        >>> to_document(Baseline())
        {'schema': 'mhc-diag/baseline', 'version': 1, 'reports': []}
    """
    return {"schema": SCHEMA, "version": VERSION, "reports": [_entry_out(e) for e in baseline.entries]}


def from_document(document: Any, source: str) -> Baseline:
    """A baseline from what `to_document` made.

    Args:
        document: parsed JSON.
        source: the file's name, for the error message.

    Raises:
        MhcDiagError: no baseline, one of another version, or a damaged one.
    """
    if not isinstance(document, Mapping) or document.get("schema") != SCHEMA:
        raise MhcDiagError(f"{source} is not a baseline of mhc-diag", hint=MAKE)
    if document.get("version") != VERSION:
        raise MhcDiagError(
            f"{source} has baseline version {document.get('version')!r}, this program reads {VERSION}",
            hint="delete it and make it again with --update-baseline",
        )
    try:
        entries = _list("reports", _only(document, ("schema", "version", "reports")), _entry_in)
        if len({e.name for e in entries}) < len(entries):
            raise ValueError("two reports have one name")
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        what = f"{e.args[0]} is missing" if isinstance(e, KeyError) else str(e)
        raise MhcDiagError(f"{source} is a damaged baseline: {what}", hint=AGAIN) from e
    return Baseline(tuple(sorted(entries, key=lambda e: e.name)))


def _entry_out(entry: Entry) -> dict[str, Any]:
    defined = asdict(entry.definitions)
    return {
        "name": entry.name,
        **{name: defined[name] for name in DEFINED},
        "numbers": [
            {**asdict(n.measure), "value": _out(n.value), "log10": _out(n.log10), "site": n.site}
            for n in entry.numbers
        ],
        "findings": [{k: _out(v) for k, v in asdict(f).items()} for f in entry.findings],
        "sites": list(entry.sites),
    }


def _entry_in(data: Any) -> Entry:
    _only(data, ("name", *DEFINED, "numbers", "findings", "sites"))
    definitions = Definitions(
        streams=_of("streams", data, int),
        method=_of("method", data, str),
        token_axis=_of("token_axis", data, str),
        tokens=_of("tokens", data, int),
        settings=_table("settings", data, (str, int, float)),
        formulas=_table("formulas", data, (str,)),
    )
    return Entry(
        name=_of("name", data, str),
        sites=tuple(_list("sites", data, lambda label: _of("site", {"site": label}, str))),
        definitions=definitions,
        numbers=tuple(_list("numbers", data, _number_in)),
        findings=tuple(_list("findings", data, _finding_in)),
    )


def _number_in(data: Any) -> Number:
    _only(data, ("metric", "scope", "statistic", "value", "log10", "site"))
    key = tuple(_of(name, data, str) for name in ("metric", "scope", "statistic"))
    measure = next((m for m in MEASURES if (m.metric, m.scope, m.statistic) == key), None)
    if measure is None:
        raise ValueError(f"{' '.join(key)} is nothing that a baseline holds")
    return Number(measure, _real("value", data), _real("log10", data), _of("site", data, str))


def _finding_in(data: Any) -> Accepted:
    _only(data, ("rule", "metric", "scope", "statistic", "sites", "site", "value", "log10"))
    return Accepted(
        rule=_of("rule", data, str),
        metric=_of("metric", data, str),
        scope=_of("scope", data, str),
        statistic=_of("statistic", data, str),
        sites=_of("sites", data, str),
        site=_of("site", data, str),
        value=None if data["value"] is None else _real("value", data),
        log10=None if data["log10"] is None else _real("log10", data),
    )


def _only(data: Any, known: tuple[str, ...]) -> Mapping[str, Any]:
    """An object with these names and no others."""
    if not isinstance(data, Mapping):
        raise ValueError(f"{data!r:.60} stands where names and values should")
    for name in data:
        if name not in known:
            raise ValueError(f"{name} is no name that a baseline has")
    return data


def _of(name: str, data: Mapping[str, Any], kind: type[Made]) -> Made:
    value = data[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r:.60}")
    return value


def _list(name: str, data: Mapping[str, Any], make: Callable[[Any], Made]) -> list[Made]:
    return [make(item) for item in _of(name, data, list)]


def _table(name: str, data: Mapping[str, Any], kinds: tuple[type, ...]) -> dict[str, Any]:
    table = _of(name, data, dict)
    for key, value in table.items():
        if not isinstance(value, kinds) or isinstance(value, bool):
            raise ValueError(f"{key} of {name} is {value!r:.60}")
    return table


def _real(name: str, data: Mapping[str, Any]) -> float:
    value = data[name]
    if value in ("inf", "-inf") and isinstance(value, str):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{name} is {value!r:.60}, which is no number")
    return float(value)


def _out(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
