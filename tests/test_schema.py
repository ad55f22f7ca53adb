"""Reports through strict JSON and back, and documents that are none."""

import copy
import json
import math
from dataclasses import fields

import numpy as np
import pytest

from mhc_diag.errors import MhcDiagError
from mhc_diag.records import (
    Curve,
    Histogram,
    MetricCard,
    Observation,
    Provenance,
    Report,
    Scalar,
    Site,
    Skipped,
)
from mhc_diag.schema import from_document, to_document

ODD = [math.inf, -math.inf, math.nan]


def report():
    value, log10 = np.array([1.25, math.inf, math.nan]), np.array([0.1, 400.5, math.nan])
    return Report(
        name="tiny",
        streams=4,
        tokens=6,
        sites=tuple(Site(f"layers.{i}", "mlp", i) for i in range(3)),
        curves=(
            Curve("amax_forward", "prefix", "max", value, log10, np.array([3, 5, 0])),
            Curve(
                "amax_forward", "prefix", "p50", np.array([0.1, 0.0, 5e-324]), np.array([-1, -math.inf, 0])
            ),
        ),
        cards=(MetricCard("amax_forward", "Amax", "max_i", 1.0, None, "arXiv"),),
        provenance=Provenance(
            target="model.pt",
            method="observed",
            how="by hand",
            orientation="transposed",
            token_axis="token",
            token_shape=(2, 3),
            certificates=(1e-9, math.inf, math.nan),
            settings={"seed": 2**62, "scale": 0.1, "input": "inf"},
            notes=("one", "two"),
            skipped=(Skipped("layers.3", "seen once"),),
            failure="RuntimeError: no",
            audit=(Observation("moved", "all 3 sites", "M is near"), Observation("dtypes", "", "float32")),
        ),
        scalars=(
            Scalar("growth", "Growth", "ln", 0.1, standard_error=None, expected=-math.inf),
            Scalar("other", "nan", "inf", math.nan, standard_error=math.inf),
        ),
        summary="so it is",
        nonfinite=(0, 0, 1),
        histograms=(Histogram("amax_forward", "prefix", -0.2, 0.1, (1, 0, 4), zero=0, nonfinite=1),),
    )


def through_json(*reports):
    text = json.dumps(to_document(reports), allow_nan=False)
    return from_document(json.loads(text), "report.json")


def assert_same(one, other):
    """Equal to the last bit, types too, where NaN equals NaN."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    elif hasattr(one, "__dataclass_fields__"):
        for field in fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    elif isinstance(one, float) and math.isnan(one):
        assert math.isnan(other)
    else:
        assert one == other


def test_nothing_is_lost():
    again, twice = through_json(report(), report())
    assert_same(again, report())
    assert_same(twice, again)


def test_absent_things_stay_absent():
    bare = Report("r", 1, 1, (), (), (), Provenance("t", "static", "h", "direct", "none"))
    (again,) = through_json(bare)
    assert_same(again, bare)
    assert again.provenance.certificates is None and through_json() == []


def test_a_report_saved_before_there_was_an_audit_is_read():
    document = to_document([report()])
    del document["reports"][0]["provenance"]["audit"]
    (again,) = from_document(document, "old.json")
    assert again.provenance.audit == () and again.provenance.notes == ("one", "two")


def test_the_saved_form_is_stable():
    document = to_document([report()])
    assert (document["schema"], document["version"]) == ("mhc-diag/report", 1)
    (saved,) = document["reports"]
    assert saved["curves"][0] == {
        "metric": "amax_forward",
        "scope": "prefix",
        "statistic": "max",
        "value": [1.25, "inf", "nan"],
        "log10": [0.1, 400.5, "nan"],
        "token": [3, 5, 0],
    }
    assert saved["curves"][1]["log10"] == [-1.0, "-inf", 0.0] and saved["curves"][1]["token"] is None
    assert saved["provenance"]["certificates"] == [1e-9, "inf", "nan"]
    assert saved["provenance"]["audit"][1] == {"check": "dtypes", "where": "", "text": "float32"}
    assert saved["sites"][1] == {"path": "layers.1", "kind": "mlp", "depth": 1}


@pytest.mark.parametrize("document", [None, [], "text", 3, {}, {"schema": "pytest"}])
def test_what_is_no_report_is_refused_by_name(document):
    with pytest.raises(MhcDiagError, match=r"other\.json is not a saved mhc-diag report"):
        from_document(document, "other.json")


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version_is_refused_by_number(version):
    with pytest.raises(
        MhcDiagError, match=rf"old\.json has schema version {version!r}, this program reads 1"
    ):
        from_document({**to_document([]), "version": version}, "old.json")


def damaged(path, value):
    document = copy.deepcopy(to_document([report()]))
    *way, last = path
    place = document
    for step in way:
        place = place[step]
    if value is KeyError:
        del place[last]
    else:
        place[last] = value
    return document


REPORT = ("reports", 0)
CURVE = (*REPORT, "curves", 0)
DAMAGE = [
    (("reports",), KeyError),
    (("reports",), None),
    (("reports",), [3]),
    (("reports",), ["text"]),
    ((*REPORT, "name"), KeyError),
    ((*REPORT, "provenance"), None),
    ((*REPORT, "provenance", "how"), KeyError),
    ((*REPORT, "provenance", "more"), 1),
    ((*REPORT, "provenance", "certificates"), ["bad"]),
    ((*REPORT, "provenance", "skipped"), [1]),
    ((*REPORT, "provenance", "audit"), [{"check": "moved"}]),
    ((*REPORT, "sites"), [{"path": "a"}]),
    ((*REPORT, "sites"), 3),
    ((*REPORT, "sites"), []),
    ((*REPORT, "metrics"), [[]]),
    ((*REPORT, "scalars"), [3]),
    ((*REPORT, "scalars"), [{"name": "x"}]),
    ((*REPORT, "curves"), None),
    ((*REPORT, "curves"), ["text"]),
    ((*CURVE, "metric"), KeyError),
    ((*CURVE, "value"), [1.0, 2.0]),
    ((*CURVE, "value"), [1.0, 2.0, None]),
    ((*CURVE, "value"), [1.0, 2.0, "many"]),
    ((*CURVE, "value"), [1.0, 2.0, [3.0]]),
    ((*CURVE, "log10"), [1.0, 2.0, 3.0, 4.0]),
    ((*CURVE, "log10"), 3),
    ((*CURVE, "token"), [1, 2]),
    ((*CURVE, "token"), [1, 2, "nan"]),
    ((*CURVE, "token"), [1, 2, 10**40]),
]


@pytest.mark.parametrize(("path", "value"), DAMAGE)
def test_damage_is_told_and_not_read_as_numbers(path, value):
    with pytest.raises(MhcDiagError, match=r"cut\.json is a damaged report"):
        from_document(damaged(path, value), "cut.json")
