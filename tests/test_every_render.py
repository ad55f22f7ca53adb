"""The contract of an output format, on every file of mhc_diag/render."""

import copy
import io
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from functools import cache

import pytest

from mhc_diag import plugins

FORMATS = plugins.names("mhc_diag.render")
BYTES = {"parquet", "pdf", "png", "svg"}
PICTURES = {"png", "svg", "pdf"}
SHORT = {"benchmark", "github", "junit", "markdown"}
"""What holds a few numbers, not all."""
CASES = [(f, j) for f in FORMATS for j in (False, True) if not (j and f in PICTURES)]
"""Formats with and without a verdict, which pictures leave out."""
judged_or_not = pytest.mark.parametrize(
    ("format", "judged"), CASES, ids=[f"{f}-{'judged' if j else 'measured'}" for f, j in CASES]
)


def strict(text):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def parquet(content):
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(content)).num_rows


def whole_page(page):
    assert page.startswith("<!DOCTYPE html>") and page.endswith("</html>\n")
    assert page.count("<main>") == page.count("</main>") == 1


PARSERS = {
    "json": strict,
    "sarif": strict,
    "benchmark": strict,
    "junit": ET.fromstring,
    "html": whole_page,
    "svg": ET.fromstring,
    "parquet": parquet,
}
"""What reads a format again, where it has a grammar."""


def test_the_folder_was_found():
    assert {"table", "json", "csv", "png", "svg", "pdf", "markdown", "github", "junit", "sarif"} <= set(
        FORMATS
    )
    assert {"benchmark", "parquet"} <= set(FORMATS)


@pytest.mark.parametrize("format", FORMATS)
def test_describes_itself(format):
    module = plugins.load("mhc_diag.render", format)
    assert module.SUFFIX.startswith(".") and module.SUFFIX.islower()
    first, _, rest = module.__doc__.partition("\n")
    assert first.lower().startswith(f"{format}: ") and len(rest.strip()) > 100, "the docstring is the manual"


def test_no_two_formats_share_a_suffix():
    suffixes = [plugins.load("mhc_diag.render", f).SUFFIX for f in FORMATS]
    assert len(set(suffixes)) == len(suffixes)


@pytest.fixture(scope="module")
def rendered(handmade):
    @cache
    def make(format, name, judged=False):
        verdict = handmade["VERDICTS"][name] if judged else None
        return plugins.load("mhc_diag.render", format).render(handmade["REPORTS"][name], verdict)

    return make


def checked(format, output):
    """A whole text or bytes, which whoever reads the format can read; returns what was read."""
    assert type(output) is (bytes if format in BYTES else str)
    if isinstance(output, str):
        assert output.endswith("\n") and not output.endswith("\n\n")
        output.encode()
    return PARSERS[format](output) if format in PARSERS else None


@pytest.mark.parametrize("name", ["clean", "failing", "overflowing"])
@judged_or_not
def test_gives_a_whole_text_or_bytes(rendered, format, name, judged):
    output = rendered(format, name, judged)
    checked(format, output)
    assert len(output) > (100 if format in SHORT else 1000)


@pytest.mark.parametrize("format", FORMATS)
def test_gives_several_reports_at_once(rendered, format):
    output = rendered(format, "side-by-side")
    checked(format, output)
    if format not in BYTES:
        assert all(name in output for name in ("identity", "HC", "mHC"))


@pytest.mark.parametrize("format", sorted(set(FORMATS) - PICTURES))
def test_gives_a_verdict_without_a_report(handmade, format):
    """A target that could not be read is no report, and says so wherever there is room for a verdict."""
    output = plugins.load("mhc_diag.render", format).render([], handmade["VERDICTS"]["unreadable"])
    checked(format, output)
    if format not in ("csv", "parquet"):
        assert "there is no such file" in output


@judged_or_not
def test_same_reports_same_output(handmade, rendered, format, judged):
    report, verdict = copy.deepcopy((handmade["REPORTS"]["overflowing"], handmade["VERDICTS"]["overflowing"]))
    again = plugins.load("mhc_diag.render", format).render(report, verdict if judged else None)
    assert again == rendered(format, "overflowing", judged)


@judged_or_not
def test_hostile_names_stay_text(handmade, format, judged):
    """No control character, but those that separate lines and columns, comes out of any text format."""
    report, verdict = handmade["hostile"]()
    output = plugins.load("mhc_diag.render", format).render([report], verdict if judged else None)
    checked(format, output)
    if format == "svg":
        output = output.decode()
    if isinstance(output, str) and format != "csv":  # which keeps a name as it is, in quotes
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202e\ufffe]", output)


@pytest.mark.parametrize("format", sorted(set(FORMATS) - PICTURES))
def test_a_verdict_does_not_change_the_reports(handmade, format):
    (report,) = handmade["REPORTS"]["failing"]
    before = repr(replace(report))
    plugins.load("mhc_diag.render", format).render([report], handmade["VERDICTS"]["failing"])
    assert repr(report) == before
