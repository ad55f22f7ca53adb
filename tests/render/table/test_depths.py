"""The table by depth against numbers read straight from the curves."""

import re
from dataclasses import replace

import numpy as np
import pytest

from mhc_diag.magnitude import magnitude
from mhc_diag.render import table
from mhc_diag.render.table.depths import depths


@pytest.mark.parametrize("length", [1, 2, 3, 8, 60, 64, 65, 122, 1000, 10_000])
def test_depths_are_few_and_end_with_the_last(length):
    ks = depths(length)
    assert ks == sorted(set(ks)) and ks[0] == 1 and ks[-1] == length
    assert len(ks) <= 10


def test_rows_hold_first_k_and_last_k_sites(handmade):
    reports = handmade["REPORTS"]["side-by-side"]
    text = table.render(reports, width=80)
    forward, backward = (
        re.findall(r"^ *(\d+)   +(\d.*\..*)$", part, re.MULTILINE) for part in text.split("backward: the")[:2]
    )
    for rows, metric, scope, site in (
        (forward, "amax_forward", "prefix", lambda k: k - 1),
        (backward, "amax_backward", "suffix", lambda k: 60 - k),
    ):
        assert [int(k) for k, _ in rows] == [1, 2, 4, 8, 16, 32, 60]
        for k, row in rows:
            medians = [float(x) for x in row.split() if ".." not in x]
            low, high = re.findall(r"(\S+)\.\.(\S+)", row)[0]
            curves = {
                s: reports[1].curve(metric, scope, s).value[site(int(k))] for s in ("p05", "p50", "p95")
            }
            assert float(low) == pytest.approx(curves["p05"], rel=0.05)
            assert float(high) == pytest.approx(curves["p95"], rel=0.05)
            assert any(m == pytest.approx(curves["p50"], rel=0.05) for m in medians)


def test_reports_of_different_depth_leave_the_deeper_rows_empty(handmade):
    (clean,) = handmade["REPORTS"]["clean"]
    (failing,) = handmade["REPORTS"]["failing"]
    rows = re.findall(r"^40 +.*$", table.render([clean, failing], width=72), re.MULTILINE)
    assert [len(row.split()) for row in rows] == [3, 3]  # k, median and band of the deeper report alone


def test_many_reports_spread_over_several_tables(handmade):
    reports = [
        replace(r, name=f"{r.name} {i}") for i in range(2) for r in handmade["REPORTS"]["side-by-side"]
    ][:4]
    text = table.render(reports, width=80)
    assert max(map(len, text.splitlines())) <= 80
    heads = " ".join(line for line in text.splitlines() if line.startswith("   ")) + " "
    assert all(heads.count(f" {r.name} ") >= 2 for r in reports)  # forward and backward


def test_more_than_four_reports_get_a_line_each(handmade):
    reports = [
        replace(r, name=f"{r.name} {i}") for i in range(2) for r in handmade["REPORTS"]["side-by-side"]
    ]
    lines = table.render(reports, width=80).splitlines()
    for report in reports:
        (row,) = [line for line in lines if line.startswith(f"{report.name} ") and line.count(".") >= 4]
        peaks = [report.worst(d, s) for d in ("forward", "backward") for s in ("p50", "p99", "max")]
        assert row.split()[-6:] == [magnitude(p.value, p.log10) for p in peaks]


def test_what_is_no_number_is_a_word(handmade):
    (report,) = handmade["REPORTS"]["overflowing"]
    assert np.isnan(report.composite("forward", "p50").log10[28])
    text = table.render([report, report], width=100)
    assert "worst forward gain NaN in the median, infinite at most" in text
