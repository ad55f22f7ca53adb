"""What README.md and the pages of docs say can be typed, and does what they say."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mhc_diag import plugins
from mhc_diag.sources.checkpoint.recognised import FAMILIES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SIMULATIONS = (ROOT / "docs/simulate.md").read_text()
CHECKPOINTS = (ROOT / "docs/checkpoints.md").read_text()
SWEEPS = (ROOT / "docs/sweeps.md").read_text()
CLI_PAGE = (ROOT / "docs/cli.md").read_text()
GATE_PAGE = (ROOT / "docs/gate.md").read_text()
MHC_DIAG = str(Path(sys.executable).with_name("mhc-diag"))
OUTSIDE_THE_TREE = shutil.ignore_patterns(".*cache*", ".git", ".venv", "__pycache__", "out", "*.egg-info")


def typed_commands(page: str = README) -> list[str]:
    """The lines after a `$ ` in the console blocks of a page."""
    blocks = re.findall(r"^```console\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    return [
        line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")
    ]


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory like the repository's root, that may be written to."""
    copy = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "sample_models", copy / "sample_models")
    return copy


@pytest.mark.parametrize("command", [c for c in typed_commands() if c.startswith("mhc-diag ")])
def test_every_command_of_the_readme_runs(command: str, folder: Path) -> None:
    arguments = shlex.split(command, comments=True)
    done = run([MHC_DIAG, *arguments[1:]], folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    written = [
        a.rpartition("=")[2]
        for o, a in zip(arguments, arguments[1:], strict=False)
        if o in ("--plot", "--report")
    ]
    assert all((folder / path).stat().st_size > 0 for path in written)


@pytest.mark.slow
def test_every_example_of_the_page_on_checkpoints_runs(folder: Path) -> None:
    """Its Python writes the files that its commands read."""
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", CHECKPOINTS, flags=re.DOTALL | re.MULTILINE))
    written = run([sys.executable, "-W", "ignore", "-c", code], folder)
    assert written.returncode == 0, written.stderr
    commands = typed_commands(CHECKPOINTS)
    assert commands
    for command in commands:
        done = run([MHC_DIAG, *shlex.split(command)[1:]], folder)
        assert done.returncode == 0 and done.stdout.strip(), f"{command}: {done.stderr}"


def test_every_small_example_of_the_page_on_sweeps_runs(folder: Path) -> None:
    """Those with more than forty stacks are for machines with more time."""
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", SWEEPS, flags=re.DOTALL | re.MULTILINE))
    done = run([sys.executable, "-c", code], folder)
    assert done.returncode == 0 and done.stdout.strip(), done.stderr
    commands = [c for c in typed_commands(SWEEPS) if "--seeds 100000" not in c]
    assert [shlex.split(c)[1] for c in commands] == ["simulate", "simulate", "merge"]
    for command in commands:
        done = run([MHC_DIAG, *shlex.split(command)[1:]], folder)
        assert done.returncode == 0, f"{command}: {done.stderr}"
    assert (folder / "merged.json").stat().st_size > 1000


@pytest.mark.parametrize("command", typed_commands(GATE_PAGE))
def test_every_command_of_the_page_on_the_gate_runs(command: str, folder: Path) -> None:
    done = run([MHC_DIAG, *shlex.split(command)[1:]], folder)
    assert done.returncode in (0, 1) and "\ngate " in done.stdout, done.stderr


def rows(section: str) -> dict[str, str]:
    """The last cell of each row of a table on the page on checkpoints, by the first."""
    text = CHECKPOINTS.partition(f"\n## {section}")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)`.*\| (.*) \|$", text, flags=re.MULTILINE))


def test_the_page_on_checkpoints_has_every_layout_and_variant() -> None:
    layouts, variants = rows("Layouts"), rows("Variants")
    assert layouts.keys() - {"layout"} == set(plugins.names(FAMILIES))
    for name in layouts.keys() - {"layout"}:
        known = set(plugins.load(FAMILIES, name).VARIANTS)
        named = set(re.findall(r"`([\w.-]+)`", variants.get(name, "")))
        assert known <= named if len(known) > 1 else not named, name


def test_certified_is_said_as_the_pages_quote_it(folder: Path) -> None:
    said = "no composite's forward gain can exceed 1, and no backward gain can exceed 4"
    assert f"certified for every input: {said}`" in README
    assert f"certified for every input: {said}." in CHECKPOINTS
    done = run([MHC_DIAG, "scan", "sample_models/mhc.safetensors", "--metrics", "paper"], folder)
    assert f"certified for every input: {said}." in " ".join(done.stdout.split())


@pytest.mark.slow
def test_worked_examples_find_what_they_look_for(folder: Path) -> None:
    commands = typed_commands(SIMULATIONS)
    assert sum(c.startswith("grep ") for c in commands) >= 4
    path = f"{Path(MHC_DIAG).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": path}
    for command in commands:
        done = subprocess.run(
            command, shell=True, cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        numbers = [float(line.split(",")[7]) for line in done.stdout.splitlines() if command[:4] == "grep"]
        rounded = {f"{x:.3f}" for x in numbers} | {f"{x:.0f}" for x in numbers}
        if "amin_backward,p01" in command:
            assert all(f"{x:.3f}" in SIMULATIONS for x in numbers), command
        if "fig3" in command and numbers:
            assert rounded >= {"260", "1608", "2210", "2835", "489"}


def test_the_readme_shows_each_use() -> None:
    commands = [c for c in typed_commands() if c.startswith("mhc-diag ")]
    assert {shlex.split(c)[1] for c in commands} == {"scan", "gate", "simulate", "inspect"}
    assert any("--model" in c for c in commands)


def options(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))


@pytest.mark.parametrize("command", ["scan", "gate", "diff", "report", "simulate", "merge", "inspect"])
def test_documented_options_are_those_of_the_help(command: str, tmp_path: Path) -> None:
    section = CLI_PAGE.partition(f"## mhc-diag {command}")[2].partition("\n## ")[0]
    done = run([MHC_DIAG, command, "--help"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert options(section) == options(done.stdout) - {"--help"}


def test_the_readme_names_no_option_that_the_reference_lacks() -> None:
    assert options(" ".join(c for c in typed_commands() if c.startswith("mhc-diag "))) <= options(CLI_PAGE)


def test_make_commands_and_links_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {shlex.split(c)[1] for c in typed_commands() if c.startswith("make ")}
    assert named == {"demo", "test"}
    assert named <= targets
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
        for shown in re.findall(r"(?:src|srcset)=\"([^\"]+)\"", page.read_text()):
            assert (page.parent / shown).stat().st_size < 150_000, f"{page.name} shows {shown}"


@pytest.mark.slow
def test_make_demo_works_in_a_fresh_copy(tmp_path: Path) -> None:
    copy = tmp_path / "a fresh copy"
    shutil.copytree(ROOT, copy, ignore=OUTSIDE_THE_TREE)
    done = run(["make", "demo", f"PYTHON={sys.executable}"], copy)
    assert done.returncode == 0, done.stderr
    for name in ("hc.png", "mhc.png", "simulate.png", "hc.json"):
        assert (copy / "out" / name).stat().st_size > 1000
    again = run(["make", "demo"], copy)
    assert again.returncode == 0, again.stderr
    assert "pip install" not in again.stdout
