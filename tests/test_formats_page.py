"""docs/formats.md: every format has its section, and what can be typed works."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mhc_diag import plugins
from mhc_diag.cli.options import Format

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "formats.md").read_text()
PICTURES = {"png", "svg", "pdf"}
NAMES = plugins.names("mhc_diag.render")


@pytest.mark.parametrize("format", NAMES)
def test_every_format_has_a_section_and_a_row(format):
    heads = re.findall(r"^## (.*)$", PAGE, re.M)
    assert any(format in re.split(r"\W+", head) for head in heads)
    row = next(line for line in PAGE.splitlines() if line.startswith("| [") and format in line.split("]")[0])
    *_, on_screen, judged, _ = (cell.strip() for cell in row.split("|"))
    assert on_screen == ("yes" if format in list(Format) else "no")
    assert judged in ("yes", "no", "counts")


def test_what_standard_output_takes_are_formats_of_text():
    assert {format.value for format in Format} <= set(NAMES) - PICTURES - {"parquet"}


@pytest.mark.slow
def test_the_commands_of_the_page_run(tmp_path):
    (tmp_path / "sample_models").symlink_to(ROOT / "sample_models")
    commands = re.findall(r"^\$ mhc-diag (.*)$", PAGE, re.M)
    assert len(commands) == 4
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", "mhc_diag", *shlex.split(command)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and done.stdout, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        "sample_models", "summary.md", "junit.xml", "mhc.sarif", "mhc.json", "hc.html"
    }  # fmt: skip
