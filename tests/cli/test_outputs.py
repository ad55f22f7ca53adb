"""Formats, files and the look of the table."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from mhc_diag.figures import PICTURES

SAMPLES = Path(__file__).parents[2] / "sample_models"
HC = SAMPLES / "hc.pt"
COMMANDS = {"scan": ("scan", HC), "simulate": ("simulate", "--depth", "8", "--seeds", "4")}
MAGIC = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml", "pdf": b"%PDF-"}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("format", ["json", "csv"])
def test_a_report_file_is_what_standard_output_shows(
    run: Callable[..., Any], folder: Path, command: tuple[Any, ...], format: str
) -> None:
    done = run(*command, "--format", format, "--report", f"{format}=out.file")
    assert done.code == 0 and done.changed == {"out.file"}
    assert (folder / "out.file").read_bytes().decode() == done.out
    assert done.err == f"wrote out.file ({format})\n"


def test_several_reports_and_a_plot_at_once(run: Callable[..., Any], folder: Path) -> None:
    (folder / "out").mkdir()
    paths = {"json": "out/a.json", "csv": "out/b", "table": "c.txt", "pdf": "d.pdf"}
    options = [part for format, path in paths.items() for part in ("--report", f"{format}={path}")]
    done = run(*COMMANDS["scan"], *options, "--plot", "e.SVG")
    assert done.code == 0 and done.changed == {*paths.values(), "e.SVG"}
    assert json.loads((folder / "out/a.json").read_text())["reports"][0]["name"] == "hc.pt"
    assert (folder / "out/b").read_text().startswith("name,site,")
    assert (folder / "c.txt").read_text().startswith("target ")
    assert (folder / "d.pdf").read_bytes().startswith(MAGIC["pdf"])
    assert (folder / "e.SVG").read_bytes().startswith(MAGIC["svg"])
    assert len(done.err.splitlines()) == 5
    assert done.out.startswith("target ")


def test_everything_that_a_ci_system_takes_in_one_run(run: Callable[..., Any], folder: Path) -> None:
    names = ("markdown", "github", "junit", "sarif", "benchmark", "parquet", "json", "csv")
    options = [part for name in names for part in ("--report", f"{name}=out.{name}")]
    done = run(*COMMANDS["scan"], *options, "--max-gain", "4", "--format", "github")
    assert done.code == 1 and done.changed == {f"out.{name}" for name in names}
    assert (folder / "out.github").read_text() == done.out and "::error file=" in done.out
    assert len(ET.parse(folder / "out.junit").findall(".//failure")) == 2
    (ran,) = json.loads((folder / "out.sarif").read_text())["runs"]
    assert [result["level"] for result in ran["results"]] == ["error", "error"]
    assert (folder / "out.markdown").read_text().startswith("## ❌ mhc-diag: failed")
    told = {entry["name"]: entry["value"] for entry in json.loads((folder / "out.benchmark").read_text())}
    assert f"{told['hc.pt: forward composite gain']:.0f}" == "4076"
    assert (folder / "out.parquet").read_bytes()[:4] == b"PAR1"


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("format", ["markdown", "github", "junit", "sarif", "benchmark"])
def test_standard_output_takes_every_text_format(
    run: Callable[..., Any], command: tuple[Any, ...], format: str
) -> None:
    done = run(*command, "--format", format)
    assert done.code == 0 and done.err == "" and done.out.endswith("\n")


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize("format", MAGIC)
def test_plots_are_what_their_name_says(
    run: Callable[..., Any], folder: Path, command: tuple[Any, ...], format: str
) -> None:
    done = run(*command, "--plot", f"gain.{format}")
    assert done.code == 0
    picture = (folder / f"gain.{format}").read_bytes()
    assert picture.startswith(MAGIC[format]) and len(picture) > 5000


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_every_picture_can_be_asked_for_by_name(
    run: Callable[..., Any], folder: Path, command: tuple[Any, ...]
) -> None:
    options = [part for name in PICTURES for part in ("--plot", f"{name}={name}.svg")]
    done = run(*command, *options, "--report", "json=out.json")
    assert done.code == 0 and done.changed == {*(f"{name}.svg" for name in PICTURES), "out.json"}
    pictures = {(folder / f"{name}.svg").read_bytes() for name in PICTURES}
    assert len(pictures) == len(PICTURES) and all(p.startswith(MAGIC["svg"]) for p in pictures)
    assert all(report["triangles"] for report in json.loads((folder / "out.json").read_text())["reports"])


def test_an_older_file_is_replaced_and_gets_the_rights_of_a_new_file(
    run: Callable[..., Any], folder: Path
) -> None:
    (folder / "old.json").write_text("old")
    before = os.umask(0o027)
    try:
        done = run(*COMMANDS["simulate"], "--report", "json=old.json", "--plot", "new.png")
    finally:
        os.umask(before)
    assert done.changed == {"old.json", "new.png"}
    for name in done.changed:
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o640


@pytest.mark.parametrize("format", ["table", "json", "csv"])
def test_an_interruption_leaves_no_file(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    def interrupt(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"mhc_diag.render.{format}.render", interrupt)
    done = run(*COMMANDS["scan"], "--plot", "out.svg", "--report", f"{format}=out", "--format", format)
    assert done.refused(130) == "error: interrupted"


@pytest.mark.parametrize("body", ["raise KeyboardInterrupt", "def build(): raise KeyboardInterrupt"])
def test_an_interruption_while_the_model_is_made(
    run: Callable[..., Any], code: Callable[[str], str], body: str
) -> None:
    done = run("scan", f"{code(body)}:build", "--report", "json=out.json")
    assert done.refused(130) == "error: interrupted"


def test_a_failing_renderer_leaves_no_file(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise RuntimeError("no font")

    monkeypatch.setattr("mhc_diag.figures.picture", fail)
    error = run(*COMMANDS["scan"], "--report", "json=out.json", "--plot", "out.png").refused()
    assert "RuntimeError: no font" in error


def test_csv_has_one_row_for_each_number(run: Callable[..., Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(run(*COMMANDS["scan"], "--format", "csv").out)))
    keys = [(row["site"], row["scope"], row["metric"], row["statistic"]) for row in rows]
    assert len(set(keys)) == len(keys)
    assert {site for site, *_ in keys} == set(map(str, range(60)))
    (last,) = (
        row for row, key in zip(rows, keys, strict=True) if key == ("57", "prefix", "amax_forward", "max")
    )
    assert f"{float(last['value']):.0f}" == "4076"


def sites_in(table: str) -> list[int]:
    return [int(found) for found in re.findall(r"^ *(\d+)   layers\.", table, re.M)]


def test_all_sites_lists_them_all(run: Callable[..., Any]) -> None:
    shown = sites_in(run(*COMMANDS["scan"]).out)
    assert len(shown) < 20
    assert {3, 57} <= set(shown)  # the worst two are there
    assert sites_in(run(*COMMANDS["scan"], "--all-sites").out) == list(range(60))


@pytest.mark.parametrize(
    ("set_to", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
        ({"FORCE_COLOR": ""}, False),
    ],
)
def test_colours(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, set_to: dict[str, str], coloured: bool
) -> None:
    for name, value in set_to.items():
        monkeypatch.setenv(name, value)
    done = run(*COMMANDS["scan"], "--report", "table=out.txt")
    assert ("\x1b[" in done.out) == coloured
    assert "\x1b" not in Path("out.txt").read_text()


@pytest.mark.parametrize("command", [*COMMANDS.values(), ("scan", HC, "--max-gain", "4", "--all-sites")])
@pytest.mark.parametrize("columns", [80, 100, 200])
def test_no_line_is_longer_than_the_terminal(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, command: tuple[Any, ...], columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    longest = max(map(len, run(*command).out.splitlines()))
    assert columns * 0.7 < longest <= columns


def test_a_long_verdict_is_wrapped_too(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, code: Callable[[str], str]
) -> None:
    name = code(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        x = x + x.sin()\n"
        "        raise RuntimeError('no more layers, ' * 20)\n"
        "def build(): return Net(), torch.ones(1, 2, 8)\n"
    )
    monkeypatch.setenv("COLUMNS", "80")
    done = run("scan", f"{name}:build", "--max-gain", "4")
    assert done.code == 2 and "could not tell: " in done.out
    assert max(map(len, done.out.splitlines())) <= 80


class Ascii(io.TextIOWrapper):
    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="ascii")

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode("ascii")


@pytest.mark.parametrize("format", ["table", "csv"])
def test_an_output_that_only_takes_ascii(
    run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    format: str,
) -> None:
    safetensors.numpy.save_file({f"schicht_ä.{i}.mixing": np.eye(4) for i in range(3)}, "ä.safetensors")
    stream = Ascii()
    monkeypatch.setattr("sys.stdout", stream)
    done = run("scan", "ä.safetensors", "--format", format, "--max-gain", "4")
    assert done.code == 0
    assert r"schicht_\xe4.2" in stream.text()
