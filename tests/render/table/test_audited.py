"""What stored parameters show, as lines of the head: few, each once, safe to print."""

import re
from dataclasses import replace

import pytest

from mhc_diag.records import Observation
from mhc_diag.render import table


def with_audit(report, *items):
    return replace(report, provenance=replace(report.provenance, audit=items))


def lines(text):
    """Texts of the audit, one for each, whatever the width."""
    block = re.search(r"^audit .*?(?=^\S|^$)", text, re.MULTILINE | re.DOTALL)
    return " ".join(block[0].split()) if block else ""


@pytest.mark.parametrize("width", [80, 200])
def test_where_and_what(handmade, width):
    (clean,) = handmade["REPORTS"]["clean"]
    items = (
        Observation("not-finite", "layers.0.base", "1 NaN number"),
        Observation("dtypes", "", "all float32"),
    )
    told = lines(table.render([with_audit(clean, *items)], width=width))
    assert told == "audit layers.0.base: 1 NaN number all float32"


def test_many_are_counted(handmade):
    (clean,) = handmade["REPORTS"]["clean"]
    items = [Observation("identical", f"site {i}", "the same") for i in range(9)]
    told = lines(table.render([with_audit(clean, *items)], width=80))
    assert [f"site {i}" in told for i in range(9)] == [True] * 6 + [False] * 3
    assert told.endswith("and 3 more")


def test_none_is_no_line(handmade):
    (clean,) = handmade["REPORTS"]["clean"]
    assert "audit" not in table.render([with_audit(clean)], width=80)


def test_what_two_readings_share_is_said_once(handmade):
    one, other, _ = handmade["REPORTS"]["side-by-side"]
    shared, own = Observation("dtypes", "", "all float32"), Observation("unmoved", "all 6 sites", "stuck")
    told = lines(table.render([with_audit(one, shared), with_audit(other, own, shared)], width=120))
    assert told == "audit all float32 all 6 sites: stuck"


def test_nothing_in_it_moves_the_cursor(handmade):
    (clean,) = handmade["REPORTS"]["clean"]
    item = Observation("unused", "a\x1b[2J[red]b", "stored")
    assert "a[2J[red]b: stored" in table.render([with_audit(clean, item)], width=120)
