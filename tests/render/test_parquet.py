"""Parquet, read back by pandas."""

import builtins
import io

import numpy as np
import pandas as pd
import pytest

from mhc_diag.errors import MhcDiagError
from mhc_diag.render.csv import HEADER
from mhc_diag.render.parquet import render


@pytest.mark.parametrize("name", ["clean", "failing", "overflowing", "side-by-side"])
def test_is_the_frame(handmade, name):
    reports = handmade["REPORTS"][name]
    read = pd.read_parquet(io.BytesIO(render(reports)))
    expected = pd.concat([report.frame() for report in reports], ignore_index=True)
    assert tuple(read.columns) == HEADER
    for column in HEADER:
        numbers = column in {"value", "log10", "token"}
        a, b = (frame[column].to_numpy(float if numbers else object) for frame in (read, expected))
        np.testing.assert_array_equal(a, b)


def test_numbers_are_numbers_and_no_token_is_null(handmade):
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(render(handmade["REPORTS"]["overflowing"])))
    types = {field.name: str(field.type) for field in table.schema}
    assert types == dict.fromkeys(HEADER, "string") | {
        "site": "int64", "value": "double", "log10": "double", "token": "int64"
    }  # fmt: skip
    values = table["value"].to_numpy()
    assert np.isnan(values).any() and np.isposinf(values).any() and table["value"].null_count == 0
    assert 0 < table["token"].null_count < len(values)


def test_the_same_reports_give_the_same_bytes(handmade):
    reports = handmade["REPORTS"]["side-by-side"]
    assert render(reports) == render(tuple(reports)) != render(reports[:2])


def test_no_report_is_an_empty_table():
    read = pd.read_parquet(io.BytesIO(render([])))
    assert len(read) == 0 and tuple(read.columns) == HEADER


def test_without_pyarrow_the_extra_is_named(monkeypatch, handmade):
    real = builtins.__import__

    def refuse(name, *rest):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MhcDiagError) as error:
        render(handmade["REPORTS"]["clean"])
    assert error.value.hint == "pip install 'mhc-diag[parquet]'"
