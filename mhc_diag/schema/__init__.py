"""The saved form of reports: plain dictionaries that strict JSON can hold, and back.

Curves are stored by column, one list over the sites for each number, so that a report of 10,000 sites stays
small; the half of a triangle that has numbers is stored by row. Sampled matrices are base64 of their bytes,
little-endian, with dtype and shape beside. Numbers that JSON lacks are the strings "inf", "-inf" and "nan".
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mhc_diag.errors import MhcDiagError
from mhc_diag.records import (
    Curve,
    Exposed,
    Histogram,
    MetricCard,
    Observation,
    Promise,
    Provenance,
    Report,
    Scalar,
    Site,
    Skipped,
    Triangle,
)
from mhc_diag.schema.numbers import number_in, number_out
from mhc_diag.schema.verdicts import verdict_in, verdict_out
from mhc_diag.verdict import Verdict

if TYPE_CHECKING:
    import numpy as np

SCHEMA = "mhc-diag/report"
VERSION = 1


def to_document(reports: Sequence[Report], verdict: Verdict | None = None) -> dict[str, Any]:
    """Reports, and how they fared, as one JSON-ready dictionary.

    Example:
        >>> to_document([])
        {'schema': 'mhc-diag/report', 'version': 1, 'reports': []}
    """
    judged = {} if verdict is None else {"verdict": verdict_out(verdict)}
    return {"schema": SCHEMA, "version": VERSION, **judged, "reports": [_report_out(r) for r in reports]}


def from_document(document: Any, source: str) -> list[Report]:
    """Reports from what `to_document` made.

    Args:
        document: parsed JSON.
        source: the file's name, for the error message.

    Raises:
        MhcDiagError: not a saved report, or one of another version.
    """
    if not isinstance(document, Mapping) or document.get("schema") != SCHEMA:
        raise MhcDiagError(
            f"{source} is not a saved mhc-diag report", hint="make one with --report json=FILE"
        )
    if document.get("version") != VERSION:
        raise MhcDiagError(
            f"{source} has schema version {document.get('version')!r}, this program reads {VERSION}",
            hint="save the report again with this version of mhc-diag",
        )
    with _complaints(source):
        return [_report_in(r) for r in document["reports"]]


def verdict_of(document: Any, source: str) -> Verdict | None:
    """The verdict in what `to_document` made, if there is one.

    Args:
        document: parsed JSON that `from_document` accepts.
        source: the file's name, for the error message.

    Raises:
        MhcDiagError: the verdict is damaged.

    Example:
        >>> verdict_of(to_document([], Verdict("passed")), "saved.json").outcome
        'passed'
    """
    with _complaints(source):
        return None if document.get("verdict") is None else verdict_in(document["verdict"])


@contextlib.contextmanager
def _complaints(source: str) -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as e:
        raise MhcDiagError(
            f"{source} is a damaged report: {type(e).__name__} {e}", hint="save the report again"
        ) from e


def _report_out(report: Report) -> dict[str, Any]:
    return {
        "name": report.name,
        "streams": report.streams,
        "tokens": report.tokens,
        "summary": report.summary,
        "sites": [asdict(s) for s in report.sites],
        "nonfinite": list(report.nonfinite),
        "provenance": _provenance_out(report.provenance),
        "metrics": [asdict(c) for c in report.cards],
        "scalars": [{k: number_out(v) for k, v in asdict(s).items()} for s in report.scalars],
        "curves": [_curve_out(c) for c in report.curves],
        "triangles": [_triangle_out(t) for t in report.triangles],
        "histograms": [{**asdict(h), "counts": list(h.counts)} for h in report.histograms],
        "sample": _array_out(report.sample),
        "sample_logits": _array_out(report.sample_logits),
    }


def _report_in(data: Mapping[str, Any]) -> Report:
    provenance = dict(data["provenance"])
    certificates = provenance["certificates"]
    sites = tuple(Site(**s) for s in data["sites"])
    return Report(
        name=data["name"],
        streams=data["streams"],
        tokens=data["tokens"],
        summary=data["summary"],
        sites=sites,
        nonfinite=tuple(data["nonfinite"]),
        provenance=Provenance(
            **{
                **provenance,
                "token_shape": tuple(provenance["token_shape"]),
                "token_numbers": tuple(provenance.get("token_numbers", ())),
                "certificates": None if certificates is None else tuple(map(number_in, certificates)),
                "fitted": tuple(int(site) for site in provenance.get("fitted", ())),
                "notes": tuple(provenance["notes"]),
                "skipped": tuple(Skipped(**s) for s in provenance["skipped"]),
                "exposed": tuple(
                    Exposed(**{**e, "deviation": number_in(e["deviation"])})
                    for e in provenance.get("exposed", ())
                ),
                "promise": Promise(**promise) if (promise := provenance.get("promise")) else None,
                "audit": tuple(Observation(**o) for o in provenance.get("audit", ())),
                "remarks": tuple(Observation(**o) for o in provenance.get("remarks", ())),
            }
        ),
        cards=tuple(MetricCard(**c) for c in data["metrics"]),
        scalars=tuple(
            Scalar(**{k: v if k in {"name", "title", "formula"} else number_in(v) for k, v in scalar.items()})
            for scalar in data["scalars"]
        ),
        curves=tuple(_curve_in(c, len(sites)) for c in data["curves"]),
        triangles=tuple(_triangle_in(t, len(sites)) for t in data.get("triangles", ())),
        histograms=tuple(_histogram_in(h) for h in data.get("histograms", ())),
        sample=_array_in(data.get("sample")),
        sample_logits=_array_in(data.get("sample_logits")),
    )


def _provenance_out(provenance: Provenance) -> dict[str, Any]:
    fields = {**asdict(provenance), "settings": dict(provenance.settings)}
    if provenance.certificates is not None:
        fields["certificates"] = [number_out(c) for c in provenance.certificates]
    fields["exposed"] = [{k: number_out(v) for k, v in asdict(e).items()} for e in provenance.exposed]
    return {k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()}


def _curve_out(curve: Curve) -> dict[str, Any]:
    return {
        "metric": curve.metric,
        "scope": curve.scope,
        "statistic": curve.statistic,
        "value": [number_out(v) for v in curve.value.tolist()],
        "log10": [number_out(v) for v in curve.log10.tolist()],
        "token": None if curve.token is None else curve.token.tolist(),
    }


def _curve_in(data: Mapping[str, Any], depth: int) -> Curve:
    import numpy as np

    def column(name: str) -> np.ndarray[Any, Any]:
        if len(data[name]) != depth:
            raise ValueError(f"{name} of a curve has {len(data[name])} numbers for {depth} sites")
        return np.array([float(v) for v in data[name]], dtype=np.float64)

    token = None if data["token"] is None else np.array([int(t) for t in column("token")], dtype=np.int64)
    return Curve(data["metric"], data["scope"], data["statistic"], column("value"), column("log10"), token)


def _triangle_out(triangle: Triangle) -> dict[str, Any]:
    rows = [[number_out(x) for x in row[i:]] for i, row in enumerate(triangle.log10.tolist())]
    return {"metric": triangle.metric, "statistic": triangle.statistic, "log10": rows}


def _triangle_in(data: Mapping[str, Any], depth: int) -> Triangle:
    import numpy as np

    log10 = np.full((depth, depth), np.nan)
    for i, row in enumerate(data["log10"]):
        log10[i, i:] = [float(x) for x in row]
    return Triangle(data["metric"], data["statistic"], log10)


def _histogram_in(data: Mapping[str, Any]) -> Histogram:
    return Histogram(**{**data, "counts": tuple(int(c) for c in data["counts"])})


def _array_out(array: np.ndarray[Any, Any] | None) -> dict[str, Any] | None:
    if array is None:
        return None
    little = array.astype(array.dtype.newbyteorder("<"))
    coded = base64.b64encode(little.tobytes()).decode("ascii")
    return {"dtype": array.dtype.name, "shape": list(array.shape), "base64": coded}


def _array_in(data: Mapping[str, Any] | None) -> np.ndarray[Any, Any] | None:
    import numpy as np

    if data is None:
        return None
    if data["dtype"] not in {"float32", "float64"}:
        raise ValueError(f"a sample of dtype {data['dtype']}")
    stored = np.frombuffer(base64.b64decode(data["base64"]), np.dtype(data["dtype"]).newbyteorder("<"))
    return stored.reshape(data["shape"]).astype(data["dtype"])
