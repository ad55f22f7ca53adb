"""The fixture, in test suites of their own, run by pytest in a folder of their own."""

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE = """
import torch

class Mixing(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.matrix = torch.nn.Parameter(factor * torch.eye(4))
        self.branch = torch.nn.Linear(16, 16)

    def forward(self, x, *, times=1):
        streams = x[..., None, :].expand(*x.shape[:-1], 4, x.shape[-1])
        for _ in range(times):
            streams = self.matrix @ streams + self.branch(streams.mean(-2))[..., None, :]
        return streams.sum(-2)
"""


@pytest.fixture
def suite(tmp_path):
    """A folder with two checkpoints, and a function that runs a suite of one test there."""
    for name in ("hc.pt", "mhc.safetensors"):
        shutil.copy(ROOT / "sample_models" / name, tmp_path / name)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "mixing.py").write_text(MODULE)

    def run(body: str, *options: str):
        (tmp_path / "test_it.py").write_text(f"def test_it(mhc_gate):\n    {body}\n")
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "MHC_DIAG_"))}
        env["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(tmp_path), env.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *options]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)

    return run


def test_a_sound_checkpoint_passes_and_its_gains_are_kept(suite, tmp_path):
    done = suite("assert mhc_gate('mhc.safetensors').outcome == 'passed'", "--junit-xml=cases.xml")
    assert done.returncode == 0, done.stdout + done.stderr
    properties = ET.parse(tmp_path / "cases.xml").findall(".//property")
    kept = {p.get("name"): float(p.get("value")) for p in properties}
    assert kept.keys() == {"mhc_log10_worst_forward", "mhc_log10_worst_backward"}
    assert -0.01 < kept["mhc_log10_worst_forward"] < 0.01


def test_one_that_amplifies_fails_with_the_finding_and_the_fix_and_no_traceback(suite):
    done = suite("mhc_gate('hc.pt')")
    assert done.returncode == 1
    assert "MHC101" in done.stdout and "mhc-diag: failed" in done.stdout
    assert "pytest_plugin.py" not in done.stdout


def test_a_live_module_is_measured_with_what_it_is_called_with(suite):
    body = "import torch, mixing; mhc_gate(mixing.Mixing(2.0), torch.ones(1, 3, 16), times=3, max_gain={})"
    assert suite(body.format(8.1)).returncode == 0  # 2 to the power of 3
    done = suite(body.format(7.9))
    assert done.returncode == 1 and "8.000" in done.stdout


def test_what_cannot_be_read_fails_with_a_hint(suite):
    done = suite("mhc_gate('missing.safetensors')")
    assert done.returncode == 1 and "missing.safetensors" in done.stdout and "hint: " in done.stdout


@pytest.mark.slow  # a test suite for each case
def test_limits_come_from_the_configuration_in_the_root_folder(suite, tmp_path):
    (tmp_path / "mhc-diag.toml").write_text('profile = "none"\nmax-gain = 1e9\n')
    assert suite("mhc_gate('hc.pt')").returncode == 0
    assert suite("mhc_gate('hc.pt', max_gain=10)").returncode == 1
    (tmp_path / "mhc-diag.toml").write_text("max-gian = 3\n")
    done = suite("mhc_gate('mhc.safetensors')")
    assert done.returncode == 1 and "max-gian" in done.stdout


@pytest.mark.slow  # a test suite for each case
def test_a_baseline_is_written_kept_and_not_loosened(suite, tmp_path):
    body = "mhc_gate('{}', profile='hc', baseline='accepted.json')"
    assert suite(body.format("mhc.safetensors"), "--mhc-update-baseline").returncode == 0
    before = (tmp_path / "accepted.json").read_bytes()
    assert suite(body.format("mhc.safetensors")).returncode == 0
    shutil.copy(ROOT / "sample_models" / "hc.pt", tmp_path / "mhc.safetensors")  # now another model
    assert suite(body.format("mhc.safetensors")).returncode == 1
    done = suite(body.format("mhc.safetensors"), "--mhc-update-baseline")
    assert done.returncode == 1 and (tmp_path / "accepted.json").read_bytes() == before
    suite(body.format("mhc.safetensors"), "--mhc-update-baseline", "--mhc-accept-worse")
    assert (tmp_path / "accepted.json").read_bytes() != before


def test_loading_the_plugin_imports_nothing_heavy():
    heavy = ("torch", "numpy", "typer", "rich")
    code = f"import sys, mhc_diag.pytest_plugin; print([m for m in {heavy} if m in sys.modules])"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
