"""What a quick command must not import, seen by a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "pandas", "matplotlib", "transformers", "scipy", "joblib"}

RUN = """
import json, sys
from mhc_diag.cli import main
sys.argv = ["mhc-diag", *sys.argv[1:]]
try:
    main()
except SystemExit as left:
    assert left.code == 0, left.code
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr)
"""


def imported(*arguments: str) -> set[str]:
    """Top-level modules that were imported when a command ends."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("COVERAGE", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-c", RUN, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_imports_nothing_heavy(option: str) -> None:
    assert not imported(option) & (HEAVY | {"numpy", "safetensors"})


@pytest.mark.parametrize(
    "command", ["scan", "gate", "diff", "report", "simulate", "merge", "inspect", "rule"]
)
def test_the_help_of_a_command_imports_nothing_heavy(command: str) -> None:
    assert not imported(command, "--help") & (HEAVY | {"numpy", "safetensors"})


@pytest.mark.parametrize("format", ["table", "json", "csv"])
def test_a_simulation_needs_numpy_alone(format: str) -> None:
    modules = imported("simulate", "--depth", "64", "--format", format)
    assert "numpy" in modules and not modules & HEAVY


@pytest.mark.parametrize("file", ["mhc.safetensors", "mhc.pt"])
@pytest.mark.parametrize("format", ["table", "json"])
def test_a_static_scan_needs_no_torch(format: str, file: str) -> None:
    modules = imported("scan", f"sample_models/{file}", "--format", format, "--max-gain", "4")
    assert not modules & (HEAVY | {"safetensors", "fsspec", "numpy.ma"})


def test_neither_does_a_comparison_nor_a_baseline(tmp_path: Path) -> None:
    file, baseline = "sample_models/mhc.safetensors", str(tmp_path / "baseline.json")
    assert not imported("diff", file, file) & (HEAVY | {"safetensors", "fsspec"})
    made = imported("gate", file, "--baseline", baseline, "--update-baseline")
    assert not (made | imported("gate", file, "--baseline", baseline)) & (HEAVY | {"safetensors", "fsspec"})


@pytest.mark.parametrize("format", ["table", "json"])
def test_a_gate_needs_no_torch(format: str, tmp_path: Path) -> None:
    report = str(tmp_path / "saved.json")
    file = "sample_models/mhc.safetensors"
    assert not imported("gate", file, "--format", format, "--report", f"json={report}") & HEAVY
    modules = imported("gate", report, "--format", format)
    assert not modules & (HEAVY | {"safetensors", "fsspec"})


@pytest.mark.parametrize("format", ["table", "json"])
def test_to_inspect_safetensors_needs_no_torch(format: str) -> None:
    assert not imported("inspect", "sample_models/mhc.safetensors", "--format", format) & HEAVY


def test_the_list_can_see_a_heavy_import() -> None:
    assert "torch" in imported("scan", "sample_models.architectures:hc", "--tokens", "4", "--batch", "1")


@pytest.mark.parametrize("arguments", [(), ("MHC301",)])
def test_a_page_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert not imported("rule", *arguments) & (HEAVY | {"numpy", "safetensors"})
