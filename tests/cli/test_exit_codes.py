"""Every exit code, by every command and in every format: one table, and what holds for every line of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import safetensors.numpy

from mhc_diag import plugins
from mhc_diag.cli.options import Format

SCALES = {"clean": 1.0, "failing": 3.0, "huge": 1e300}
DEPTH = 6
PICTURES = {"png", "svg", "pdf"}
SLOW = PICTURES | {"html", "parquet"}
"""Formats whose libraries take a second to import or to draw."""
QUICK = sorted(set(plugins.names("mhc_diag.render")) - SLOW)
WARN = "profile = 'none'\n[[limits]]\nmetric = 'inf_norm'\nat-most = 1.2\nlevel = 'warn'\n"
CONFIGURATIONS = {
    "warn.toml": WARN,
    "untold.toml": "[[limits]]\nmetric = 'log_nu'\nat-most = 3\nlevel = 'warn'\n",
    "profile.toml": "[[limits]]\nmetric = 'log_nu'\nat-most = 3\n",
    "malformed.toml": "profile = ",
    "unknown.toml": "max_gain = 3",
    "nan.toml": "max-gain = nan",
    "metric.toml": "[[limits]]\nmetric = 'amax'\nat-most = 3",
}


def mixed(scale: float) -> np.ndarray:
    """Doubly stochastic times a scale, with a half-life of about fifteen sites, and each site of its own."""
    others = [np.roll(np.eye(4), k % 3 + 1, axis=0) for k in range(DEPTH)]
    return np.array([scale * (0.97 * np.eye(4) + 0.03 * other) for other in others])


def broken(value: float) -> np.ndarray:
    """The clean matrices with one entry that is no number."""
    matrices = mixed(1.0)
    matrices[3, 2, 1] = value
    return matrices


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file of each kind that a command can meet."""
    place = tmp_path_factory.mktemp("made")
    stacks = {name: mixed(scale) for name, scale in SCALES.items()}
    stacks |= {"nan": broken(np.nan), "inf": broken(np.inf), "minus": broken(-np.inf)}
    for name, matrices in stacks.items():
        tensors = {f"layers.{i}.mixing": m for i, m in enumerate(matrices)}
        safetensors.numpy.save_file(tensors, place / f"{name}.safetensors")
    safetensors.numpy.save_file({"wte": np.ones((7, 6))}, place / "empty.safetensors")
    whole = (place / "clean.safetensors").read_bytes()
    (place / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (place / "nothing.json").write_text("")
    (place / "other.json").write_text('{"schema": "mhc-diag/other", "version": 1}')
    for name, text in CONFIGURATIONS.items():
        (place / name).write_text(text)
    return place


@pytest.fixture
def go(run: Callable[..., Any], folder: Path, made: Path) -> Callable[..., Any]:
    """Run a line in a folder of its own, in which all files are."""
    for file in made.iterdir():
        (folder / file.name).symlink_to(file)

    def call(line: str, *more: str) -> Any:
        names = [
            f"{word}.safetensors" if Path(f"{word}.safetensors").exists() else word for word in line.split()
        ]
        return run(*names, *more)

    return call


class Line(NamedTuple):
    """A command and how it ends."""

    code: int
    command: str
    written: bool = True
    """Whether a report was written; what is wrong with a command is told before anything is done."""


TABLE = [
    Line(0, "scan clean"),
    Line(0, "scan failing"),  # which is a look
    Line(1, "scan failing --max-gain 4"),
    Line(1, "scan failing --limit half_life<=3"),
    Line(1, "scan failing --profile auto"),
    Line(0, "scan failing --profile none"),
    Line(0, "scan failing --config warn.toml"),
    Line(0, "scan nan"),
    Line(1, "scan nan --max-gain 1e300"),
    Line(1, "scan inf --max-gain 1e300"),
    Line(1, "scan huge --max-gain 1e300"),
    Line(1, "scan nan --profile auto"),
    Line(3, "scan empty", False),
    Line(0, "scan empty --allow-empty", False),
    Line(2, "scan missing.pt", False),
    Line(2, "scan cut", False),
    Line(2, "scan cut --allow-empty", False),
    Line(2, "scan clean --config malformed.toml", False),
    Line(2, "scan clean --config unknown.toml", False),
    Line(2, "scan clean --config missing.toml", False),
    Line(2, "scan clean --max-gain nan", False),
    Line(2, "scan clean --limit amax<=3", False),
    Line(2, "scan clean --nonsense", False),
    Line(2, "scan clean --metrics nonsense", False),
    Line(0, "gate clean"),
    Line(1, "gate failing"),
    Line(1, "gate clean --max-gain 0.5"),
    Line(1, "gate clean --limit inf_norm:site:p50>=1.2"),
    Line(0, "gate failing --config warn.toml"),
    Line(1, "gate failing --config warn.toml --max-gain 3"),
    Line(1, "gate nan"),
    Line(1, "gate inf"),
    Line(1, "gate minus"),
    Line(1, "gate huge"),
    Line(1, "gate nan --profile none --limit half_life>=1"),
    Line(1, "gate nan --profile none --max-gain 1e300"),
    Line(3, "gate empty"),
    Line(0, "gate empty --allow-empty"),
    Line(2, "gate missing.pt"),
    Line(2, "gate missing.pt --allow-empty"),
    Line(2, "gate cut"),
    Line(2, "gate nothing.json"),
    Line(2, "gate other.json"),
    Line(2, "gate clean --limit log_nu<=3"),  # which is not known without logits
    Line(0, "gate clean --config untold.toml"),  # as it could only warn
    Line(2, "gate clean --config profile.toml"),  # nor by a file of that name
    Line(2, "gate clean --limit inf_norm:site:max:nowhere.*<=3"),
    Line(2, "gate no_such_package.models:build"),
    Line(1, "gate clean failing"),
    Line(2, "gate clean missing.pt"),
    Line(1, "gate missing.pt failing"),
    Line(1, "gate failing empty"),
    Line(3, "gate clean empty"),
    Line(0, "gate clean empty --allow-empty"),
    Line(2, "gate empty cut"),
    Line(2, "gate clean empty cut --allow-empty"),
    Line(1, "gate empty cut clean nan missing.pt"),
    Line(2, "gate", False),
    Line(2, "gate clean --profile none", False),
    Line(2, "gate clean --profile mch", False),
    Line(2, "gate clean --config malformed.toml", False),
    Line(2, "gate clean --config unknown.toml", False),
    Line(2, "gate clean --config nan.toml", False),
    Line(2, "gate clean --config metric.toml", False),
    Line(2, "gate failing --config missing.toml", False),
    Line(2, "gate failing --level MHC1=warn", False),
    Line(2, "gate failing --level MHC101=warning", False),
    Line(2, "gate failing --limit half_life", False),
    Line(2, "gate failing --max-gain inf", False),
    Line(2, "gate failing --tokens many", False),
    Line(2, "gate failing --baseline missing.json", False),
    Line(2, "gate failing --baseline nothing.json", False),
    Line(2, "gate failing --baseline other.json", False),
    Line(2, "gate failing --update-baseline", False),
    Line(2, "gate clean --accept-worse", False),
    Line(2, "gate clean --tolerance -1", False),
    Line(0, "simulate --depth 4 --seeds 1"),
    Line(2, "simulate --depth 0", False),
    Line(2, "simulate --depth deep", False),
    Line(2, "simulate --ensemble nonsense", False),
    Line(2, "report missing.json", False),
    Line(2, "report nothing.json", False),
    Line(2, "report other.json", False),
    Line(2, "report clean", False),
    Line(2, "report", False),
    Line(0, "diff clean clean"),
    Line(1, "diff clean failing"),
    Line(1, "diff clean nan"),
    Line(1, "diff clean inf"),
    Line(2, "diff nan nan"),  # of which nobody can say whether it got worse
    Line(0, "diff nan clean"),
    Line(1, "diff clean failing --tolerance 1"),
    Line(0, "diff clean failing --tolerance 1e9"),
    Line(2, "diff clean missing.pt", False),
    Line(2, "diff clean nothing.json", False),
    Line(2, "diff clean other.json", False),
    Line(2, "diff clean failing --tolerance nan", False),
    Line(2, "diff cut clean", False),
    Line(3, "diff clean empty", False),
    Line(2, "diff clean", False),
    Line(2, "nonsense clean", False),
]
NO_FILES = [
    Line(0, "inspect clean"),
    Line(0, "inspect empty"),
    Line(2, "inspect missing.pt", False),
    Line(2, "inspect cut", False),
    Line(2, "inspect", False),
    Line(2, "tail", False),
    Line(2, "tail missing.jsonl", False),
    Line(2, "tail other.json", False),
    Line(0, "rule"),
    Line(0, "rule MHC101"),
    Line(2, "rule MHC999", False),
    Line(0, "--help"),
    Line(0, "gate --help"),
    Line(0, "--version"),
    Line(2, "--nonsense", False),
]


def look_over(done: Any, line: Line) -> None:
    """What holds for every call that there is."""
    assert done.code == line.code, done
    assert "Traceback" not in done.err and "internal error" not in done.err, done.err
    errors = [text for text in done.err.splitlines() if text.startswith("error: ")]
    hints = [text for text in done.err.splitlines() if text.startswith("hint: ")]
    assert len(errors) == len(hints)
    if not line.written:
        assert done.out == "" and not done.changed, done
        assert len(errors) == (line.code != 0), done.err
    elif line.code < 2:
        assert done.out


@pytest.mark.parametrize("line", TABLE, ids=lambda line: line.command)
def test_a_command_ends_as_it_should_and_writes_its_report_before_that(
    go: Callable[..., Any], folder: Path, line: Line
) -> None:
    done = go(line.command, "--report", "json=out.json")
    look_over(done, line)
    assert done.changed == ({"out.json"} if line.written else set())
    if line.written and line.command.startswith("gate"):
        saved = json.loads((folder / "out.json").read_text())["verdict"]
        assert saved["exit_code"] == line.code
        assert re.search(r"^gate (passed|failed|could not tell|nothing to check): ", done.out, re.MULTILINE)


@pytest.mark.parametrize("line", NO_FILES, ids=lambda line: line.command)
def test_commands_that_save_nothing(go: Callable[..., Any], line: Line) -> None:
    look_over(go(line.command), line)


GATED = [line for line in TABLE if line.command.startswith("gate ") and line.written]
ENDS = {
    "clean": "gate clean",
    "failing": "gate failing",
    "warning": "gate failing --config warn.toml",
    "nan": "gate nan",
    "infinite": "gate inf",
    "empty": "gate empty",
    "empty, allowed": "gate empty --allow-empty",
    "unreadable": "gate cut",
    "several": "gate empty cut clean nan missing.pt",
}


def test_the_table_means_what_it_says(go: Callable[..., Any], folder: Path) -> None:
    def findings(command: str) -> set[tuple[str, str]]:
        go(command, "--report", "json=out.json")
        saved = json.loads((folder / "out.json").read_text())["verdict"]
        return {(found["rule"], found["level"]) for found in saved["findings"]}

    assert findings(ENDS["clean"]) == set()
    assert findings(ENDS["warning"]) == {("MHC100", "warn")}
    assert ("MHC101", "error") in findings(ENDS["failing"])
    assert findings("gate nan") == findings("gate inf") == {("MHC502", "error")}


@pytest.mark.parametrize("format", list(Format))
@pytest.mark.parametrize("command", ENDS.values(), ids=ENDS)
def test_no_format_changes_the_exit_code(go: Callable[..., Any], command: str, format: Format) -> None:
    (line,) = (line for line in GATED if line.command == command)
    done = go(command, "--format", format.value)
    look_over(done, line)
    assert done.changed == set()
    said = done.out if format is Format.table else done.err
    assert re.search(r"^gate (passed|failed|could not tell|nothing to check): ", said, re.MULTILINE)


@pytest.mark.parametrize("command", ENDS.values(), ids=ENDS)
def test_every_quick_format_is_written_whatever_the_verdict(go: Callable[..., Any], command: str) -> None:
    (line,) = (line for line in GATED if line.command == command)
    done = go(command, *(part for name in QUICK for part in ("--report", f"{name}=out.{name}")))
    look_over(done, line)
    assert done.changed == {f"out.{name}" for name in QUICK}


@pytest.mark.slow  # pages and pictures
@pytest.mark.parametrize("command", [ENDS["failing"], ENDS["several"], ENDS["unreadable"]])
def test_the_others_too(go: Callable[..., Any], command: str) -> None:
    (line,) = (line for line in GATED if line.command == command)
    names = sorted(SLOW & set(plugins.names("mhc_diag.render")))
    done = go(command, *(part for name in names for part in ("--report", f"{name}=out.{name}")))
    look_over(done, line)
    drawn = set(names) if "clean" in command or "failing" in command else set(names) - PICTURES
    assert done.changed == {f"out.{name}" for name in drawn}
    told = [text for text in done.err.splitlines() if text.startswith("not written: ")]
    assert len(told) == len(set(names) - drawn)


@pytest.mark.parametrize("format", list(Format))
def test_a_saved_report_is_judged_anew_and_shown_as_it_was(
    go: Callable[..., Any], folder: Path, format: Format
) -> None:
    assert go("gate failing nan inf missing.pt", "--report", "json=saved.json").code == 1
    assert go("gate clean cut", "--report", "json=doubtful.json").code == 2
    assert go("gate saved.json", "--format", format.value).code == 1
    assert go("gate doubtful.json", "--format", format.value).code == 2  # as cut.safetensors still is
    assert go("gate doubtful.json clean", "--config", "warn.toml", "--format", format.value).code == 2
    shown = go("report saved.json", "--format", format.value, "--report", "json=again.json")
    look_over(shown, Line(0, "report saved.json"))
    assert json.loads((folder / "again.json").read_text()) == json.loads((folder / "saved.json").read_text())


def test_a_baseline_that_does_not_match(go: Callable[..., Any], folder: Path) -> None:
    update = ("--baseline", "base.json", "--update-baseline")
    hold = ("--baseline", "base.json", "--report", "json=out.json")
    assert go("gate clean", *update).code == 0
    assert go("gate clean", *hold).code == 0
    (folder / "shorter.safetensors").write_bytes(
        safetensors.numpy.save({f"layers.{i}.mixing": m for i, m in enumerate(mixed(1.0)[:5])})
    )
    done = go("gate shorter.safetensors", *hold)
    assert (done.code, done.changed) == (2, {"out.json"})
    done = go("gate failing missing.pt", *hold)
    assert (done.code, done.changed) == (1, {"out.json"})
    (folder / "base.json").write_text((folder / "base.json").read_text()[:40])
    done = go("gate clean", *hold)
    assert done.code == 2 and "base.json" in done.err.splitlines()[0]


class Held(NamedTuple):
    """A gate with a baseline, how it ends, and what that does to the file."""

    code: int
    command: str
    rewritten: bool = False


UPDATE = "--update-baseline"
HELD = [
    Held(0, "gate clean --baseline clean.json"),
    Held(1, "gate failing --baseline clean.json"),  # worse, and the finding is new
    Held(0, "gate failing --baseline failing.json"),  # accepted
    Held(0, "gate clean --baseline failing.json --tolerance 0.1"),  # of which an entry is stale
    Held(1, "gate nan --baseline clean.json"),
    Held(1, "gate inf --baseline failing.json"),
    Held(2, "gate shorter --baseline clean.json"),
    Held(1, "gate shorter --baseline clean.json --max-gain 0.5"),
    Held(2, "gate clean cut --baseline clean.json"),
    Held(2, "gate failing cut --baseline failing.json"),
    Held(2, "gate failing clean --baseline failing.json"),  # which holds nothing of one of them
    Held(3, "gate empty --baseline clean.json"),
    Held(0, "gate empty --allow-empty --baseline clean.json"),
    Held(0, f"gate clean --baseline clean.json {UPDATE}"),
    Held(1, f"gate failing --baseline clean.json {UPDATE}"),
    Held(0, f"gate failing --baseline clean.json {UPDATE} --accept-worse", True),
    Held(0, f"gate clean --baseline failing.json --tolerance 0.1 {UPDATE}", True),
    Held(1, f"gate nan --baseline clean.json {UPDATE}"),
    Held(1, f"gate nan --baseline clean.json {UPDATE} --accept-worse"),
    Held(2, f"gate shorter --baseline clean.json {UPDATE}"),
    Held(0, f"gate shorter --baseline clean.json {UPDATE} --accept-worse", True),
    Held(0, f"gate failing --baseline new.json {UPDATE}", True),
    Held(1, f"gate nan --baseline new.json {UPDATE}"),
    Held(2, f"gate clean cut --baseline new.json {UPDATE}", True),
    Held(0, "gate failing --profile none --baseline failing.json"),
]


@pytest.mark.parametrize("line", HELD, ids=lambda line: line.command)
def test_baselines(go: Callable[..., Any], folder: Path, line: Held) -> None:
    for name in ("clean", "failing"):
        assert go(f"gate {name} --baseline {name}.json {UPDATE}").code == 0
    tensors = {f"layers.{i}.mixing": m for i, m in enumerate(mixed(1.0)[:5])}
    safetensors.numpy.save_file(tensors, folder / "shorter.safetensors")
    done = go(line.command, "--report", "json=out.json")
    look_over(done, Line(line.code, line.command))
    (file,) = re.findall(r"--baseline (\S+)", line.command)
    assert done.changed == {"out.json", *([file] if line.rewritten else ())}, done.err
    assert json.loads((folder / "out.json").read_text())["verdict"]["exit_code"] == line.code


@pytest.mark.parametrize("command", ["gate clean", "scan clean", "diff clean clean", "simulate --depth 4"])
def test_outputs_are_seen_to_be_writable_first(go: Callable[..., Any], command: str) -> None:
    look_over(go(command, "--report", "json=no/such/folder.json"), Line(2, command, False))


def test_an_unknown_variable_is_told_before_anything_is_measured(
    go: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MHC_DIAG_GAIN", "3")
    look_over(go("gate failing", "--report", "json=out.json"), Line(2, "gate", False))
    assert go("scan failing").code == 0  # which reads none
    monkeypatch.delenv("MHC_DIAG_GAIN")
    monkeypatch.setenv("MHC_DIAG_MAX_GAIN", "0.5")
    assert go("gate clean").code == 1


def test_what_a_project_wrote_down_is_found(go: Callable[..., Any], folder: Path) -> None:
    (folder / "pyproject.toml").write_text(
        "[tool.mhc-diag]\ntargets = ['clean.safetensors', 'empty.safetensors']\n"
    )
    assert go("gate").code == 3
    assert go("gate clean").code == 0
    (folder / "mhc-diag.toml").write_text("max_gain = 2")
    look_over(go("gate clean"), Line(2, "gate", False))
    assert go("scan clean").code == 0
