"""The program as the shell starts it: both names, pipes that close early, signals, the width of a pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mhc_diag

ROOT = Path(__file__).parents[2]
SCRIPT = str(Path(sys.executable).with_name("mhc-diag"))
MODULE = f"{sys.executable} -m mhc_diag"
LINES = ("error: ", "hint: ")


@pytest.fixture
def env() -> dict[str, str]:
    unwanted = ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "MHC_DIAG_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def shell(line: str, env: dict[str, str], folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", line], cwd=folder, env=env, capture_output=True, text=True)


@pytest.mark.parametrize("program", [SCRIPT, MODULE], ids=["script", "module"])
def test_both_names_are_the_same_program(program: str, env: dict[str, str]) -> None:
    version = shell(f"{program} --version", env)
    assert (version.returncode, version.stdout) == (0, f"mhc-diag {mhc_diag.__version__}\n")
    scan = shell(f"{program} scan sample_models/mhc.safetensors --max-gain 1.1", env)
    assert (scan.returncode, scan.stderr) == (1, "")
    assert "failed: MHC101 mhc.safetensors: backward" in scan.stdout and "\x1b" not in scan.stdout
    assert max(map(len, scan.stdout.splitlines())) <= 120  # what a pipe gets
    assert max(map(len, scan.stdout.splitlines())) > 100
    wrong = shell(f"{program} scan missing.pt", env)
    assert wrong.returncode == 2 and wrong.stdout == ""
    assert wrong.stderr.startswith(LINES[0]) and wrong.stderr.splitlines()[1].startswith(LINES[1])


def test_the_width_can_be_chosen(env: dict[str, str]) -> None:
    done = shell(f"{SCRIPT} scan sample_models/mhc.safetensors", {**env, "COLUMNS": "80"})
    assert 70 < max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("--help", 0),
        ("simulate --depth 64 --seeds 2 --format csv", 0),
        ("scan sample_models/mhc.safetensors --format csv --max-gain 4.5", 0),
        ("scan sample_models/mhc.safetensors --format csv --max-gain 1.1", 1),
    ],
)
@pytest.mark.parametrize("errors", ["", "2>&1"], ids=["out", "out and err"])
def test_a_reader_that_has_seen_enough_changes_no_exit_code(
    arguments: str, code: int, errors: str, env: dict[str, str]
) -> None:
    done = shell(f"{SCRIPT} {arguments} {errors} | exec 0<&-; echo ${{PIPESTATUS[0]}}", env)
    assert done.stdout == f"{code}\n"
    assert "Traceback" not in done.stderr and "Broken" not in done.stderr
    assert "error:" not in done.stderr


def test_head_gets_its_line_and_no_complaint(env: dict[str, str]) -> None:
    line = f"{SCRIPT} scan sample_models/mhc.safetensors --format csv | head -1; echo ${{PIPESTATUS[*]}}"
    done = shell(line, env)
    assert done.stdout.splitlines() == [
        "name,site,path,kind,scope,metric,statistic,value,log10,token",
        "0 0",
    ]
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux")
def test_an_output_that_is_full(env: dict[str, str]) -> None:
    done = shell(f"{SCRIPT} scan sample_models/mhc.safetensors > /dev/full", env)
    assert done.returncode == 2
    assert done.stderr == "error: cannot write the report: No space left on device\nhint: check the output\n"
    done = shell(f"{SCRIPT} measure 2> /dev/full", env)
    assert (done.returncode, done.stdout) == (2, "")


def test_control_c(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "impatient.py").write_text(
        "import os, signal\ndef build(): os.kill(os.getpid(), signal.SIGINT)\n"
    )
    done = shell(f"{SCRIPT} scan impatient:build --report json=out.json", env, tmp_path)
    first = done.stderr.partition("\n")[0]
    assert (done.returncode, done.stdout, first) == (130, "", "error: interrupted")
    assert [p.name for p in tmp_path.iterdir()] == ["impatient.py"]
