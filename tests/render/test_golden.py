"""Every format, character by character, on reports that are clean, failing, overflowing and several."""

import io

import pytest

from mhc_diag import plugins
from mhc_diag.render.html.document import STYLE

SETS = ("clean", "failing", "overflowing", "side-by-side")
DATA = ("json", "csv")
JUDGED = ("markdown", "github", "junit", "sarif", "benchmark")


@pytest.fixture
def fixed(handmade, monkeypatch):
    """What no new version and no new finding changes."""
    monkeypatch.setattr("mhc_diag.__version__", "9.9.9")
    monkeypatch.setattr("mhc_diag.findings.rules", lambda: handmade["RULES"])
    return handmade


@pytest.mark.parametrize("format", DATA)
@pytest.mark.parametrize("name", SETS[:3])
def test_data_is_as_recorded(handmade, golden, format, name):
    module = plugins.load("mhc_diag.render", format)
    golden(name + module.SUFFIX, module.render(handmade["REPORTS"][name]))


@pytest.mark.parametrize("format", JUDGED)
@pytest.mark.parametrize("name", SETS[:3])
def test_a_verdict_is_as_recorded(fixed, golden, format, name):
    module = plugins.load("mhc_diag.render", format)
    golden(name + module.SUFFIX, module.render(fixed["REPORTS"][name], fixed["VERDICTS"][name]))


@pytest.mark.parametrize("format", JUDGED)
def test_without_a_verdict_and_without_a_report_is_as_recorded(fixed, golden, format):
    module = plugins.load("mhc_diag.render", format)
    golden(f"side-by-side{module.SUFFIX}", module.render(fixed["REPORTS"]["side-by-side"]))
    golden(f"unreadable{module.SUFFIX}", module.render([], fixed["VERDICTS"]["unreadable"]))


@pytest.mark.parametrize("name", [*SETS, "unreadable"])
def test_a_page_is_as_recorded_but_for_what_is_drawn(fixed, golden, monkeypatch, name):
    """The style sheet and the paths of the pictures are looked at in a browser instead."""
    monkeypatch.setattr("mhc_diag.figures.picture", lambda *_, **__: b"<svg/>")
    page = plugins.load("mhc_diag.render", "html")
    made = page.render(fixed["REPORTS"].get(name, ()), fixed["VERDICTS"].get(name))
    golden(f"{name}.html", made.replace(STYLE.read_text(), ""))


@pytest.mark.parametrize("name", SETS[:3])
def test_parquet_holds_what_the_recorded_csv_holds(handmade, golden, name):
    import pyarrow.parquet as pq

    table = pq.read_table(
        io.BytesIO(plugins.load("mhc_diag.render", "parquet").render(handmade["REPORTS"][name]))
    )
    lines = [",".join(table.column_names)]
    for row in table.to_pylist():
        lines.append(",".join("" if value is None else str(value) for value in row.values()))
    golden(f"{name}.csv", "".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("name", SETS)
def test_table_is_as_recorded(handmade, golden, name, width):
    table = plugins.load("mhc_diag.render", "table")
    golden(f"{name}-{width}.txt", table.render(handmade["REPORTS"][name], width=width))


def test_table_in_ascii_and_in_colour_is_as_recorded(handmade, golden):
    table = plugins.load("mhc_diag.render", "table")
    report = handmade["REPORTS"]["overflowing"]
    golden("overflowing-ascii.txt", table.render(report, width=80, unicode=False))
    golden("overflowing-colour.txt", table.render(report, width=80, color=True))
