"""action.yml, each step run in bash as GitHub's runner does it; installing is left out."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "sample_models"
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
SHIM = '#!/bin/sh\n[ "$1 $2" = "-m pip" ] && {{ echo "$@" >> "{log}"; exit 0; }}\nexec "{python}" "$@"\n'


class Runner:
    """A folder that is a job's, and what the action left there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.pip = folder, folder / "pip.log"
        (folder / "bin").mkdir()
        shim = folder / "bin" / "python"
        shim.write_text(SHIM.format(log=self.pip, python=sys.executable))
        shim.chmod(0o755)

    def run(self, **inputs: str) -> int:
        """Run the steps with these inputs, the others at their defaults; stops at the first that fails."""
        given = {name: str(spec.get("default", "")) for name, spec in ACTION["inputs"].items()}
        given |= {name.replace("_", "-"): value for name, value in inputs.items()}
        files = {"GITHUB_OUTPUT": "output", "GITHUB_STEP_SUMMARY": "summary"}
        outside = {k: v for k, v in os.environ.items() if not k.startswith(("GITHUB_", "RUNNER_", "COV_"))}
        outside |= {name: str(self.folder / file) for name, file in files.items()}
        outside |= {"RUNNER_TEMP": str(self.folder / "temp"), "PYTHONPATH": str(ROOT)}
        outside["PATH"] = f"{self.folder / 'bin'}{os.pathsep}{outside['PATH']}"
        for file in files.values():
            (self.folder / file).touch()
        self.told = ""
        for step in ACTION["runs"]["steps"]:
            words = {k: filled(v, given) for k, v in step.get("env", {}).items()}
            script = self.folder / "step.sh"
            script.write_text(step["run"])
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", script],
                env=outside | words, cwd=self.folder, capture_output=True, text=True,
            )  # fmt: skip
            self.told += done.stdout + done.stderr
            if done.returncode:
                return done.returncode
        return 0

    @property
    def outputs(self) -> dict[str, str]:
        lines = (self.folder / "output").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)


def filled(text: str, inputs: dict[str, str]) -> str:
    """An expression with its value, as the runner puts it into the environment."""
    values = {f"inputs.{name}": value for name, value in inputs.items()} | {"github.action_path": str(ROOT)}
    return re.sub(r"\$\{\{ (\S+) \}\}", lambda m: values[m[1]], text)


@pytest.fixture
def runner(tmp_path):
    return Runner(tmp_path)


def test_a_stable_model_passes(runner):
    assert runner.run(path=str(SAMPLES / "mhc.safetensors")) == 0, runner.told
    assert runner.outputs["verdict"] == "passed"
    assert 1 <= float(runner.outputs["worst-gain"]) <= 4.04
    folder = Path(runner.outputs["report"])
    names = {"report.json", "report.html", "report.xml", "report.sarif", "report.md"}
    assert {p.name for p in folder.iterdir()} == names
    assert (runner.folder / "summary").read_text() == (folder / "report.md").read_text()


def test_an_unstable_model_fails_and_is_annotated(runner):
    assert runner.run(path=str(SAMPLES / "hc.pt")) == 1
    assert runner.outputs["verdict"] == "failed"
    saved = json.loads((Path(runner.outputs["report"]) / "report.json").read_text())["reports"]
    gains = [
        float(value)
        for report in saved
        for c in report["curves"]
        for value in c["value"]
        if (c["metric"], c["scope"], c["statistic"]) == ("amax_backward", "suffix", "max")
    ]
    assert float(runner.outputs["worst-gain"]) == pytest.approx(max(gains), rel=1e-5)
    assert re.search(r"^::error .*title=.*MHC101", runner.told, re.M)


@pytest.mark.slow
def test_several_targets_a_configuration_and_options(runner):
    (runner.folder / "limits.toml").write_text('profile = "none"\nmax-gain = 9000\n')
    both = f"{SAMPLES / 'hc.pt'}\n{SAMPLES / 'mhc.safetensors'}\n"
    assert runner.run(path=both, config="limits.toml") == 0, runner.told
    assert runner.run(path=both, config="limits.toml", args="--max-gain 5000") == 1


def test_what_cannot_be_read_is_not_green(runner):
    (runner.folder / "broken.pt").write_bytes(b"PK\x03\x04 no more than that")
    assert runner.run(path="broken.pt") == 2
    assert runner.outputs["verdict"] == "could not tell"


def test_nothing_in_an_input_is_run(runner):
    hostile = '$(touch owned) `touch owned`; touch owned"'
    assert runner.run(path=hostile, config="", args="--max-gain '$(touch owned)'") == 2
    assert not (runner.folder / "owned").exists()


def test_the_version_that_is_asked_for_is_installed(runner):
    runner.run(path="missing.pt", version="0.1.0")
    assert runner.pip.read_text().split()[-1] == "mhc-diag[remote]==0.1.0"
    runner.run(path="missing.pt")
    assert runner.pip.read_text().split()[-1] == f"{ROOT}[remote]"


def test_no_expression_reaches_a_script():
    assert not [step for step in ACTION["runs"]["steps"] if "${{" in step["run"]]


def test_every_input_is_described_in_the_docs():
    text = (ROOT / "docs" / "ci.md").read_text()
    assert all(f"| `{name}` |" in text for name in (*ACTION["inputs"], *ACTION["outputs"]))
