"""The GitLab job of the docs, run in a shell as GitLab's runner does it; installing is left out."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture
def job():
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.S)
    return next(yaml.safe_load(text)["mhc-diag"] for text in blocks if "mhc-diag:\n  image" in text)


def run(job, folder: Path) -> int:
    """The lines of the script in one shell, which stops at the first that fails."""
    commands = folder / "bin"
    commands.mkdir()
    for name, text in (("pip", "exit 0"), ("mhc-diag", f'exec "{sys.executable}" -m mhc_diag "$@"')):
        (commands / name).write_text(f"#!/bin/sh\n{text}\n")
        (commands / name).chmod(0o755)
    path = {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    script = "set -eo pipefail\n" + "\n".join(job["script"])
    return subprocess.run(["bash", "-c", script], cwd=folder, env=os.environ | path).returncode


@pytest.mark.parametrize(("sample", "code"), [("mhc.safetensors", 0), ("hc.pt", 1)])
def test_the_job_ends_as_the_gate_does_and_leaves_what_it_promises(job, tmp_path, sample, code):
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(ROOT / "sample_models" / sample, tmp_path / "checkpoints" / "model.safetensors")
    assert run(job, tmp_path) == code
    artifacts = job["artifacts"]
    assert artifacts["when"] == "always"  # or there is nothing to look at when it fails
    for name in (*artifacts["paths"], artifacts["reports"]["junit"]):
        assert (tmp_path / name).stat().st_size > 0
