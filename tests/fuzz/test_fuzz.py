"""Damaged files of every format end in a report or in one clean error: never in anything else.

`make fuzz` runs more: FUZZ_CASES says how many. A case that fails is kept; its number makes it again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FORMATS = ("zip", "legacy", "safetensors", "index", "hf", "dcp", "program")
CASES = int(os.environ.get("FUZZ_CASES", "504"))
PER_FORMAT = -(-CASES // len(FORMATS))
AT_ONCE = 250
RUNS = [(f, i, min(i + AT_ONCE, PER_FORMAT)) for f in FORMATS for i in range(0, PER_FORMAT, AT_ONCE)]
KEPT = HERE.parents[1] / "out" / "fuzz"


def environment() -> dict[str, str]:
    """Without what would change how Python runs, or what the program prints."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COVERAGE", "COLUMNS"))}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture(scope="session")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small valid files of every format."""
    folder = tmp_path_factory.mktemp("seeds")
    subprocess.run([sys.executable, HERE / "seeds.py", folder], env=environment(), check=True)
    return folder


@pytest.mark.parametrize(("format", "first", "last"), RUNS, ids=[f"{f}-{a}" for f, a, _ in RUNS])
def test_damaged_files(seeds: Path, format: str, first: int, last: int) -> None:
    command = [sys.executable, "-W", "error", HERE / "worker.py", seeds, format, str(first), str(last)]
    done = subprocess.run(
        list(map(str, command)),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=20 * (last - first),
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or not lines or "outcomes" not in lines[-1]:
        case = (seeds / f"{format}-{first}.now").read_text()
        pytest.fail(f"died in case {case} of {format}: {done.returncode}\n{done.stderr}")
    failed = lines[:-1]
    if failed:
        shutil.copytree(seeds / "failed", KEPT, dirs_exist_ok=True)
    assert not failed, f"{failed}\nthe files are in {KEPT}"
    assert sum(lines[-1]["outcomes"].values()) == last - first
    assert lines[-1]["outcomes"].get("exit 0"), (
        "all cases were refused: the damage is too coarse to tell anything"
    )
