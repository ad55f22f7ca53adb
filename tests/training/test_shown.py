"""A run as a table, a picture and a page, each of which says where the gain was and what was told."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from made_runs import head, line, write

from mhc_diag.errors import MhcDiagError
from mhc_diag.figures import training
from mhc_diag.sources import runs
from mhc_diag.training import page, table
from mhc_diag.training.following import Following

LOGS = [0.0, 0.3, 0.7, 2.0, 1.0]
CASES = {
    "usual": LOGS,
    "one record": [0.5],
    "not finite": [0.1, math.nan, math.inf, 0.2],
    "zero": [0.1, -math.inf],
    "beyond float64": [0.0, 200.0, 400.0],
    "long": [i / 5000 for i in range(10_000)],
    "none yet": [],
}


def shown(run: runs.Run) -> str:
    return table.render(run, width=120, color=False, unicode=True)


def test_the_table(tmp_path: Path) -> None:
    text = shown(runs.read(write(tmp_path / "run.jsonl", LOGS, alert_at=3)))
    (row,) = [line for line in text.splitlines() if line.startswith("composite forward, largest")]
    assert row.split()[3:] == ["1.000", "100.0", "4", "10.00", "▁▂▃█▅"]
    assert "5 records, steps 1 to 5" in text and "- step 3: forward_max is 5.012" in text
    ascii_only = table.render(
        runs.read(write(tmp_path / "run.jsonl", LOGS, alert_at=3)), width=60, color=False, unicode=False
    )
    assert ascii_only.isascii() and "over the steps" not in ascii_only
    assert max(map(len, ascii_only.splitlines())) <= 60 and "100.0" in ascii_only


def test_gains_of_the_gradient_stand_at_their_own_step(tmp_path: Path) -> None:
    path = write(tmp_path / "run.jsonl", LOGS)
    first, *records = path.read_text().splitlines()
    told = [json.loads(record) for record in records]
    for later, gain in zip(told[1:], (2.0, 50.0, 3.0, 4.0), strict=True):  # each came with the next record
        own = {"gradient_gain": gain, "gradient_gain_predicted": gain / 2, "gradient_step": later["step"] - 1}
        later["metrics"] |= {f"mhc/{name}": value for name, value in own.items()}
    path.write_text("\n".join([first, *map(json.dumps, told)]) + "\n")
    run = runs.read(path)
    (row,) = [line for line in shown(run).splitlines() if line.startswith("gradient, observed")]
    assert row.split()[2:] == ["2.000", "50.00", "2", "4.000", "▁█▂▃"]
    (row,) = [line for line in shown(run).splitlines() if line.startswith("gradient, of mixing alone")]
    assert row.split()[4:] == ["1.000", "25.00", "2", "2.000", "▁█▂▃"]
    (axes,) = training.draw(run).axes
    lines = {str(one.get_label()): one for one in axes.get_lines()}
    assert list(lines["gradient, observed"].get_xdata()) == [1, 2, 3, 4]
    assert list(lines["gradient, observed"].get_ydata()) == pytest.approx(
        [math.log10(g) for g in (2, 50, 3, 4)]
    )
    assert "gradient, observed" in page.render(run)
    assert "gradient, " not in shown(runs.read(write(tmp_path / "none.jsonl", LOGS)))


def test_what_is_not_finite_is_told(tmp_path: Path) -> None:
    text = shown(runs.read(write(tmp_path / "run.jsonl", CASES["not finite"])))
    assert "not finite at 1 step, first at 2" in text and "NaN" in text and "xx" in text


def test_a_gain_beyond_float64(tmp_path: Path) -> None:
    assert "1.000e+400" in shown(runs.read(write(tmp_path / "run.jsonl", CASES["beyond float64"])))


@pytest.mark.parametrize("case", CASES)
def test_every_picture_and_page(case: str, tmp_path: Path) -> None:
    run = runs.read(write(tmp_path / "run.jsonl", CASES[case], alert_at=2))
    svg = training.picture(run, "svg", theme="page", stacked=True)
    assert ElementTree.fromstring(svg).tag.endswith("svg") and len(svg) < 500_000
    assert training.picture(run, "png") == training.picture(run, "png")
    html = page.render(run)
    HTMLParser().feed(html)
    assert "http://" not in html.replace("http://www.w3.org", "") and "<script" not in html
    words = training.in_words(run)
    assert words.endswith(".") and words.isprintable()


def test_the_picture_holds_the_numbers(tmp_path: Path) -> None:
    figure = training.draw(runs.read(write(tmp_path / "run.jsonl", LOGS, alert_at=3)))
    (axes,) = figure.axes
    lines = {str(one.get_label()): one for one in axes.get_lines()}
    assert list(lines["forward, largest over tokens"].get_ydata()) == LOGS
    assert list(lines["forward, mean over tokens"].get_ydata()) == [x / 2 for x in LOGS]
    assert list(lines["forward, largest over tokens"].get_xdata()) == [1, 2, 3, 4, 5]
    assert lines["limit 4"].get_ydata()[0] == pytest.approx(math.log10(4))
    assert list(lines["alert (1)"].get_xdata()) == [3]


def test_what_is_not_finite_is_marked(tmp_path: Path) -> None:
    figure = training.draw(runs.read(write(tmp_path / "run.jsonl", CASES["not finite"])))
    lines = {str(one.get_label()): one for one in figure.axes[0].get_lines()}
    assert list(lines["forward: not finite (2 steps)"].get_xdata()) == [2, 3]


def test_a_long_run_keeps_its_peak(tmp_path: Path) -> None:
    logs = [0.1] * 9000
    logs[4321] = 3.0
    figure = training.draw(runs.read(write(tmp_path / "run.jsonl", logs)))
    (curve,) = [x for x in figure.axes[0].get_lines() if x.get_label() == "forward, largest over tokens"]
    at = list(curve.get_ydata()).index(3.0)
    assert curve.get_xdata()[at] == 4322 and len(curve.get_xdata()) == 4000


def test_in_words(tmp_path: Path) -> None:
    words = training.in_words(runs.read(write(tmp_path / "run.jsonl", LOGS, alert_at=3)))
    assert "forward from 1.000 at step 1, largest at step 4 with 100.0, 10.00 in the end" in words
    assert "alerts: mhc/forward_max at step 3" in words


def test_the_page_shows_a_strangers_text_as_text(tmp_path: Path) -> None:
    run = runs.read(write(tmp_path / "run.jsonl", LOGS, model="<b>&\x1b[31m", alert_at=3))
    assert "<b>" not in page.render(run) and "&lt;b&gt;" in page.render(run)
    assert "\x1b" not in page.render(run) + shown(run)
    assert "layers.2.mlp" in page.render(run)


def test_follows_a_file_that_grows_and_one_that_was_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "run.jsonl", LOGS)
    followed = Following(path)
    assert followed.look() and len(followed.run.records) == 5 and not followed.look()
    with path.open("a") as file:
        whole = line(6, 0.4)
        file.write(whole[:20])
        file.flush()
        assert not followed.look()  # torn: it is being written
        file.write(whole[20:])
    assert followed.look() and followed.run.records[-1].step == 6
    path.write_text(head() + line(1, 0.0))  # resumed from step 1
    assert followed.look() and [r.step for r in followed.run.records] == [1]
    path.write_text(head() + "nonsense\n" + line(1, 0.0) * 9)
    with pytest.raises(MhcDiagError, match="a line that is no JSON object"):
        followed.look()
