"""The whole table: what must hold at any width and for any report."""

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from mhc_diag.records import Curve, Site
from mhc_diag.render import table

WIDTHS = (72, 80, 109, 110, 200)
SETS = ("clean", "failing", "overflowing", "side-by-side")


@pytest.fixture
def deep(handmade):
    """122 sites with long labels that grow, shrink and stay."""
    matrices = np.eye(4) + 0.3 * handmade["noise"](122, 5, 4, 4)
    name = "transformer.wrapped.model.decoder.layers.{}.hyper_connection_block"
    sites = tuple(Site(name.format(i // 2), ("attention", "feed_forward")[i % 2], i) for i in range(122))
    where = handmade["REPORTS"]["failing"][0].provenance
    return handmade["build"]("deep", handmade["amax"](matrices), sites, replace(where, certificates=None))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SETS)
def test_no_line_is_wider_than_the_terminal(handmade, name, width):
    text = table.render(handmade["REPORTS"][name], width=width)
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_no_number_is_cut(handmade, deep, width):
    """Every largest gain of every site can be read in its row, in the order of the columns."""
    shown = (("forward", "site"), ("backward", "site"), ("forward", "prefix"), ("backward", "suffix"))
    for report in (*handmade["REPORTS"]["failing"], *handmade["REPORTS"]["overflowing"], deep):
        text = table.render([report], width=width, all_sites=True)
        rows = re.findall(r"^ {0,3}(\d+)   \S+ +(.*)$", text, re.MULTILINE)
        assert [int(site) for site, _ in rows] == list(range(len(report.sites)))
        curves = [report.curve(f"amax_{direction}", scope, "max") for direction, scope in shown]
        for site, row in rows:
            numbers = iter(row.split())
            for curve in curves:
                assert any(_same(number, curve.log10[int(site)]) for number in numbers), row


def _same(text, log10):
    if text in ("NaN", "infinite"):
        return np.isnan(log10) if text == "NaN" else np.isposinf(log10)
    if text == "0":
        return np.isneginf(log10)
    digits, _, power = text.partition("e")
    return np.log10(float(digits)) + float(power or 0) == pytest.approx(log10, abs=0.03)


def test_a_deep_model_shows_its_twelve_worst_sites_and_accounts_for_the_rest(deep):
    text = table.render([deep], width=80)
    rows = re.findall(r"^ *(\d+)(?:-(\d+))?   \S", text, re.MULTILINE)
    full = [int(a) for a, b in rows if not b]
    folded = [s for a, b in rows if b for s in range(int(a), int(b) + 1)]
    assert sorted(full + folded) == list(range(122))
    logs = np.array([c.log10 for c in deep.curves if c.statistic == "max"])
    worst = set(np.argsort(-np.abs(logs).max(axis=0))[:12].tolist())
    assert worst <= set(full) and len(full) < 20


def test_all_sites_shows_all_sites(deep):
    text = table.render([deep], width=80, all_sites=True)
    assert re.findall(r"^ *(\d+)   \S", text, re.MULTILINE) == [str(i) for i in range(122)]


def test_labels_lose_their_middle_and_stay_apart(deep):
    text = table.render([deep], width=80, all_sites=True)
    labels = re.findall(r"^ *\d+   (\S+)", text, re.MULTILINE)
    assert all(
        label.startswith("trans") and label.endswith(("attention", "forward"[-5:])) for label in labels
    )
    assert all("…" in label for label in labels)


@pytest.mark.parametrize("width", [80, 110, 120])
def test_labels_keep_their_room_whatever_else_is_shown(deep, width):
    where = replace(deep.provenance, certificates=(1.234e-7,) * 122)
    text = table.render([replace(deep, provenance=where)], width=width)
    assert min(map(len, re.findall(r"^ *\d+   (\S+)", text, re.MULTILINE))) >= 20
    assert "mean" not in text or width >= 110


def test_nothing_in_a_name_reaches_the_terminal_as_a_command(handmade):
    (report,) = handmade["REPORTS"]["failing"]
    evil = "a\x1b]0;x\x07[red]b[/red]\u202e\nc"
    where = replace(report.provenance, target=evil, how=evil, notes=(evil,), settings={evil: evil})
    sites = tuple(replace(s, path=evil) for s in report.sites)
    text = table.render([replace(report, name=evil, sites=sites, provenance=where, summary=evil)])
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert "[red]b[/red]" in text


def test_without_colour_there_is_no_escape_and_with_colour_nothing_else_changes(handmade):
    for reports in handmade["REPORTS"].values():
        plain = table.render(reports, width=100)
        assert "\x1b" not in plain
        colour = table.render(reports, width=100, color=True)
        stripped = re.sub(r"\x1b\[[0-9;]*m", "", colour)
        assert [x.rstrip() for x in stripped.splitlines()] == plain.splitlines()


def test_what_is_no_number_is_bold_red(handmade):
    text = table.render(handmade["REPORTS"]["overflowing"], color=True)
    assert "\x1b[1;31minfinite\x1b[0m" in text and "\x1b[1;31mNaN\x1b[0m" in text


def test_no_number_is_printed_for_what_is_none(handmade):
    for reports in handmade["REPORTS"].values():
        text = table.render(reports, width=200)
        assert not re.search(r"\b(inf|nan|-inf)\b", text)


def test_environment_does_not_matter(handmade, monkeypatch):
    reports = handmade["REPORTS"]["failing"]
    before = table.render(reports, width=90)
    for name, value in {"COLUMNS": "40", "FORCE_COLOR": "1", "TERM": "dumb", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    assert table.render(reports, width=90) == before


def test_ascii_only(handmade):
    (report,) = handmade["REPORTS"]["failing"]
    sites = (Site("modèle.月", "", 0), *report.sites[1:])
    for reports in (*handmade["REPORTS"].values(), (replace(report, sites=sites),)):
        assert table.render(reports, unicode=False).isascii()


def test_at_most_five_skipped_things_are_listed(handmade):
    text = table.render(handmade["REPORTS"]["failing"])
    assert text.count("no streams pass through it") == 5 and "and 2 more" in text


def test_a_measurement_that_stopped_half_way_says_so(handmade):
    (report,) = handmade["REPORTS"]["failing"]
    stopped = replace(
        report, provenance=replace(report.provenance, failure="RuntimeError: out of [red]memory")
    )
    for reports in ([stopped], [report, stopped]):
        text = table.render(reports, color=True)
        assert "\x1b[1;31mRuntimeError: out of [red]memory" in text


def test_the_verdict_comes_last(handmade):
    assert table.render(handmade["REPORTS"]["failing"]).endswith(
        "The composite forward gain reaches the thousands.\n"
    )
    assert table.render(handmade["REPORTS"]["side-by-side"]).endswith("It is HC.\nIt is mHC.\n")


@pytest.mark.parametrize("length", [1, 2, 3])
def test_few_sites(handmade, length):
    where = handmade["REPORTS"]["failing"][0].provenance
    gains = handmade["amax"](np.eye(4) + 0.3 * handmade["noise"](length, 8, 4, 4))
    sites = handmade["layers"](length)
    report = handmade["build"]("few", gains, sites, replace(where, certificates=(1e-7,) * length))
    assert table.render([report]).count("model.layers.0.self_attn") == 2  # certificate and row
    assert f"\n{length} " in table.render([report, report], width=80)


def test_ten_thousand_sites_stay_readable(handmade):
    logs = np.linspace(0, 8000, 10_000)
    value = np.where(logs < 308, 10.0 ** np.minimum(logs, 308), np.inf)
    (report,) = handmade["REPORTS"]["clean"]
    curves = tuple(Curve(c.metric, c.scope, c.statistic, value, logs) for c in report.curves)
    sites = tuple(Site("", f"site {i}", i) for i in range(10_000))
    text = table.render([replace(report, curves=curves, sites=sites)], width=80)
    assert "1.000e+8000" in text and text.count("\n") < 80
    text = table.render([replace(report, curves=curves, sites=sites)] * 2, width=80)
    assert "10000" in text and text.count("\n") < 100


def test_needs_no_heavy_library():
    code = "import sys; from mhc_diag.render import table, json, csv; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pandas", "matplotlib", "torch"} & set(out.stdout.split())
