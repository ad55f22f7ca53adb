"""The hook, run by pre-commit itself in a repository that holds checkpoints.

Its language is made `system` here, so that what runs is the installed program: all else is as published.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
HOOKS = ROOT / ".pre-commit-hooks.yaml"


def run(*command: str | Path, cwd: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """A command with its own settings of git and pre-commit."""
    names = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | names
    env |= {"HOME": str(home), "PRE_COMMIT_HOME": str(home / "cache"), "PYTHONPATH": str(ROOT)}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    return subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True)


@pytest.fixture
def repository(tmp_path):
    """A repository that uses the hook, and a function that commits to it."""
    published, mine = tmp_path / "published", tmp_path / "mine"
    published.mkdir()
    mine.mkdir()
    hooks = [hook | {"language": "system"} for hook in yaml.safe_load(HOOKS.read_text())]
    (published / HOOKS.name).write_text(yaml.safe_dump(hooks))
    for folder in (published, mine):
        run("git", "init", "-q", cwd=folder, home=tmp_path)
    run("git", "add", ".", cwd=published, home=tmp_path)
    run("git", "commit", "-qm", "hooks", cwd=published, home=tmp_path)
    revision = run("git", "rev-parse", "HEAD", cwd=published, home=tmp_path).stdout.strip()
    config = {"repos": [{"repo": str(published), "rev": revision, "hooks": [{"id": hooks[0]["id"]}]}]}
    (mine / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))

    def check(**files: str):
        for name, sample in files.items():
            shutil.copy(ROOT / "sample_models" / sample, mine / name.replace("_", "."))
        run("git", "add", ".", cwd=mine, home=tmp_path)
        return run(sys.executable, "-m", "pre_commit", "run", cwd=mine, home=tmp_path)

    return check


def test_a_checkpoint_that_is_sound_can_be_committed(repository):
    done = repository(model_safetensors="mhc.safetensors", notes_txt="README.md")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Passed" in done.stdout


def test_one_that_amplifies_cannot(repository):
    done = repository(model_safetensors="mhc.safetensors", worse_pt="hc.pt")
    assert done.returncode != 0
    assert "MHC101" in done.stdout and "exit code: 1" in done.stdout


def test_without_a_checkpoint_there_is_nothing_to_do(repository):
    done = repository(notes_txt="README.md")
    assert done.returncode == 0 and "Skipped" in done.stdout
