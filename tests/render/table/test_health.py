"""Two-sided health in the table: one report by metric, several side by side."""

import re

import pytest

from mhc_diag.analyse import analyse
from mhc_diag.magnitude import magnitude
from mhc_diag.render import table
from mhc_diag.sources.simulate import Simulation, cases


@pytest.fixture(scope="module")
def reports():
    return [analyse(case.parts()) for case in cases(Simulation(depth=5, seeds=7))]


def row(text, name):
    """The first line of that name; its formula stands in another below the table."""
    return re.findall(rf"^{re.escape(name)}  +(.*)$", text, re.MULTILINE)[0].split()


def last(report, metric, statistic):
    curve = report.curve(metric, "prefix", statistic)
    return magnitude(curve.value[-1], curve.log10[-1])


def test_one_report_says_what_the_identity_has_and_what_all_sites_do(reports):
    text = table.render([reports[1]], width=100)
    cells = row(text, "effective_rank")
    assert cells[0] == "4.000" and cells[-2] == last(reports[1], "effective_rank", "p50")
    low, high = (last(reports[1], "effective_rank", s) for s in ("p05", "p95"))
    assert cells[-1] == f"{low}..{high}"
    assert row(text, "column_residual")[0] == "0"


def test_several_reports_stand_side_by_side(reports):
    text = table.render(reports, width=100)
    assert row(text, "uniformity") == [last(r, "uniformity", "p50") for r in reports]
    assert len(row(text, "sinkhorn_rate, a site")) == 1  # only where there are logits


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("count", [1, 3])
def test_every_metric_has_its_formula(reports, width, count):
    text = " ".join(table.render(reports[-count:], width=width).split())
    for card in reports[-1].cards:
        shown = card.formula if width < 110 else card.formula.split(",")[0]
        assert shown.split()[0] in text, card.name
    assert max(map(len, table.render(reports[-count:], width=width).splitlines())) <= width


@pytest.mark.parametrize("width", [72, 80])
def test_a_narrow_terminal_loses_no_digit(width):
    report = {c.name: analyse(c.parts()) for c in cases(Simulation(depth=64, seeds=5))}["mHC"]
    low, high = (last(report, "sigma_min_meanfree", s) for s in ("p05", "p95"))
    text = table.render([report], width=width)
    block = text[text.index("\nsigma_min_meanfree") :].partition("spectral_norm")[0]
    ends = re.findall(r"\S+$", block, re.MULTILINE)
    assert len(low) + len(high) > 12 and f"{low}..{high}" in "".join(ends), block


def test_streams_that_become_one_are_not_called_healthy():
    reports = {c.name: analyse(c.parts()) for c in cases(Simulation(depth=64, seeds=5))}
    assert "the streams are averaged" in reports["mHC"].summary
    assert "averaged" not in reports["identity"].summary + reports["HC"].summary
