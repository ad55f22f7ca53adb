"""What is typed wrong is said in one line, before any work is done."""

from __future__ import annotations

import importlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mhc_diag

SAMPLES = Path(__file__).parents[2] / "sample_models"
HC = str(SAMPLES / "hc.pt")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "Missing command"),
        (("measure",), "No such command 'measure'"),
        (("--depth", "3"), "No such option: --depth"),
        (("scan",), "Missing argument"),
        (("scan", HC, "extra"), "unexpected extra argument"),
        (("scan", HC, "--depth", "3"), "No such option: --depth"),
        (("scan", HC, "--tokens", "many"), "--tokens"),
        (("scan", HC, "--format", "xml"), "xml"),
        (("scan", HC, "--max-gain", "four"), "--max-gain"),
        (("simulate", "--dtype", "fp8"), "fp8"),
    ],
)
def test_a_command_line_that_cannot_be_understood(
    run: Callable[..., Any], arguments: tuple[str, ...], told: str
) -> None:
    done = run(*arguments)
    assert told in done.refused()
    assert "--help" in done.err.splitlines()[1]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("simulate", "--depth", "0"), "--depth is 0"),
        (("simulate", "--streams", "1"), "--streams is 1"),
        (("simulate", "--seeds", "0"), "--seeds is 0"),
        (("simulate", "--seed", "-1"), "--seed is -1"),
        (("simulate", "--sinkhorn-iters", "-1"), "--sinkhorn-iters is '-1'"),
        (("simulate", "--ensemble", "cauchy"), "--ensemble is 'cauchy'"),
        (("simulate", "--manifold", "torus"), "--manifold is 'torus'"),
        (("simulate", "--manifold", ","), "--manifold is empty"),
        (("simulate", "--manifold", "permutations", "--streams", "7"), "7 streams"),
        (("simulate", "--sinkhorn-iters", "5..1"), "--sinkhorn-iters is '5..1'"),
        (("simulate", "--sinkhorn-iters", "0..5000"), "--sinkhorn-iters lists too many"),
        (("simulate", "--sinkhorn-iters", "1,,x"), "--sinkhorn-iters is '1,,x'"),
        (("simulate", "--noise", "1"), "near-identity has no noise"),
        (("simulate", "--ensemble", "from-report"), "needs a report"),
        (("simulate", "--measured", HC), "--measured was given"),
        (("simulate", "--ensemble", "from-report", "--measured", HC), "is not JSON"),
        (("simulate", "--signal", "--branch-gain", "-1"), "branches is -1"),
        (("simulate", "--metrics", "amax"), "no metric 'amax'"),
        (("simulate", "--triangle", "map.txt"), "--triangle map.txt is no picture's name"),
        (("simulate", "--triangle", "out.svg"), "out.svg is to be written twice"),
        (("scan", HC, "--project", "torus"), "--project names no manifold"),
        (("scan", HC, "--project", "cayley:3"), "cayley does not iterate"),
        (("scan", HC, "--project", "sinkhorn:many"), "--project is 'sinkhorn:many'"),
        (("scan", HC, "--metrics", "amax"), "no metric 'amax'"),
        (("simulate", "--scale", "nan"), "--scale is nan"),
        (("simulate", "--scale", "inf"), "--scale is inf"),
        (("simulate", "--scale", "-1"), "--scale is -1"),
        (("scan", HC, "--tokens", "0"), "--tokens is 0"),
        (("scan", HC, "--dtype", "bf17"), "--dtype is bf17"),
        (("scan", HC, "--device", "gpu"), "--device is gpu, which torch does not know"),
        (("scan", HC, "--device", "cpu", "--samples", "3"), "but --device asks for a live model"),
        (("scan", HC, "--batch", "-2"), "--batch is -2"),
        (("scan", HC, "--seed", "-1"), "--seed is -1"),
        (("scan", HC, "--seed", str(2**64)), f"--seed is {2**64}"),
        (("scan", HC, "--max-gain", "nan"), "--max-gain is nan"),
        (("scan", HC, "--max-gain", "inf"), "--max-gain is inf"),
        (("scan", HC, "--max-gain", "0"), "--max-gain is 0"),
        (("scan", HC, "--max-gain", "-4"), "--max-gain is -4"),
    ],
)
def test_numbers_outside_their_range(run: Callable[..., Any], arguments: tuple[str, ...], told: str) -> None:
    assert told in run(*arguments, "--report", "json=out.json", "--plot", "out.svg").refused()


def test_more_than_fits_into_memory(run: Callable[..., Any]) -> None:
    done = run("simulate", "--depth", "1000000", "--streams", "64", "--report", "json=out.json")
    assert "a single stack of 1000000 sites and 64 streams takes 33 GB" in done.refused()


@pytest.mark.parametrize("command", [("scan", HC), ("simulate", "--depth", "2", "--seeds", "1")])
@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        (("--report", "out.json"), "--report out.json is not FORMAT=PATH"),
        (("--report", "xml=out.xml"), "--report xml=out.xml is not FORMAT=PATH"),
        (("--report", "json="), "--report json= is not FORMAT=PATH"),
        (("--report", "json=no/such/folder/out.json"), "there is no folder no/such/folder"),
        (("--report", "json=."), "it is a folder"),
        (("--plot", "no/such/folder/out.png"), "there is no folder no/such/folder"),
        (("--plot", "out.gif"), "--plot out.gif is no picture's name"),
        (("--plot", "out"), "--plot out is no picture's name"),
        (("--plot", "matrix=out.png"), "--plot matrix=out.png is not PICTURE=PATH"),
        (("--plot", "tokens="), "--plot tokens= is not PICTURE=PATH"),
        (("--plot", "tokens=out.gif"), "--plot out.gif is no picture's name"),
        (("--plot", "a.png", "--plot", "growth=./a.png"), "to be written twice"),
        (("--report", "json=a", "--report", "csv=./a"), "to be written twice"),
        (("--report", "json=out.json", "--report", "csv=no/such/out.csv"), "there is no folder no/such"),
    ],
)
def test_files_that_cannot_be_written(
    run: Callable[..., Any], command: tuple[str, ...], outputs: tuple[str, ...], told: str
) -> None:
    assert told in run(*command, *outputs).refused()


def test_outputs_are_checked_before_the_target_is_looked_at(run: Callable[..., Any]) -> None:
    assert "no folder" in run("scan", "missing.pt", "--report", "json=no/such/out.json").refused()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write(run: Callable[..., Any], folder: Path) -> None:
    (folder / "locked").mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    assert "cannot write locked/out.json" in run("scan", HC, "--report", "json=locked/out.json").refused()


def test_formats_that_exist_are_offered(run: Callable[..., Any]) -> None:
    error = run("scan", HC, "--report", "xml=out.xml").err
    for name in ("csv", "github", "junit", "markdown", "parquet", "pdf", "sarif", "table"):
        assert f" {name}," in error or f", {name}\n" in error


def test_help_and_version_go_to_standard_output(run: Callable[..., Any]) -> None:
    for arguments in (("--help",), ("scan", "--help"), ("simulate", "--help")):
        done = run(*arguments)
        assert (done.code, done.err) == (0, "") and done.out.startswith("Usage: ")
    done = run("--version")
    assert (done.code, done.out, done.err) == (0, f"mhc-diag {mhc_diag.__version__}\n", "")


def test_an_internal_error_asks_to_be_reported(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("two\nlines")

    monkeypatch.setattr(importlib.import_module("mhc_diag.analyse"), "analyse", broken)
    assert (
        run("scan", HC, "--report", "json=out.json").refused()
        == r"error: internal error: KeyError: 'two\nlines'"
    )
    monkeypatch.setenv("MHC_DIAG_TRACEBACK", "1")
    done = run("scan", HC)
    assert (done.code, done.out) == (2, "") and "Traceback" in done.err and "in broken" in done.err
