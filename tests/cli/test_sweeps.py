"""Jobs, shards and states as a user asks for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import pytest

from mhc_diag import measuring
from mhc_diag.sources import simulate
from mhc_diag.sweeps import engine

SAMPLES = Path(__file__).parents[2] / "sample_models"
SMALL = ("simulate", "--depth", "4", "--seeds", "30", "--metrics", "paper")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of ten stacks."""
    monkeypatch.setattr(simulate, "PART_BYTES", 10 * 4 * 16 * 8)


def test_the_report_is_the_same_in_every_way(
    run: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = run(*SMALL, "--format", "json", "--jobs", "1")
    assert wanted.code == 0
    monkeypatch.setattr(engine, "WORTH_WORKERS", 0.0)
    assert run(*SMALL, "--format", "json", "--jobs", "3", "--backend", "threading").out == wanted.out
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    small = (*SMALL, "--state", "kept")
    with monkeypatch.context() as patch:
        patch.setattr(simulate, "PART_BYTES", 10 * 4 * 16 * 8)
        for number in ("2", "1"):
            done = run(*small, "--shard", f"{number}/2")
            assert (done.code, done.out) == (0, "") and f"wrote kept/{number}-of-2.npz" in done.err
            assert done.changed == {f"kept/{number}-of-2.npz"}
        done = run("merge", "kept", "--format", "json", "--triangle", "map.png")
    assert done.code == 0 and done.changed == {"map.png"}
    assert run("merge", "kept", "--format", "csv").out.startswith("name,site,")


def test_a_state_is_gone_on_from(run: Callable[..., Any], folder: Path) -> None:
    wanted = run(*SMALL, "--format", "json").out
    done = run(*SMALL, "--format", "json", "--state", "kept/here")
    assert done.out == wanted and done.changed == {"kept/here/1-of-1.npz"}
    again = run(*SMALL, "--format", "json", "--state", "kept/here", "--jobs", "7")
    assert again.out == wanted and not again.changed
    assert run("merge", "kept/here", "--format", "json").out == wanted


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--jobs", "0"), "--jobs is 0"),
        (("--shard", "3/2", "--state", "kept"), "--shard is '3/2'"),
        (("--shard", "1/2"), "--shard needs a folder"),
        (("--shard", "1/2", "--state", "kept", "--format", "csv"), "writes no report"),
        (("--shard", "1/2", "--state", "kept", "--report", "json=a.json"), "writes no report"),
        (("--backend", "slurm"), "no backend 'slurm'"),
        (("--state", "/dev/null/here"), "cannot make the folder"),
    ],
)
def test_what_makes_no_sense_is_refused(run: Callable[..., Any], more: tuple[str, ...], told: str) -> None:
    assert told in run(*SMALL, *more).refused()


def test_shards_that_do_not_belong_together_are_refused(run: Callable[..., Any], folder: Path) -> None:
    assert "no file of a sweep in ." in run("merge", ".").refused()
    assert run(*SMALL, "--shard", "1/3", "--state", "kept").code == 0
    assert "2/3 is missing, 3/3 is missing" in run("merge", "kept").refused()
    other = run(*SMALL, "--seed", "4", "--shard", "2/3", "--state", "kept")
    assert "was measured with seed 0 and not 4" in other.refused()
    (folder / "kept" / "2-of-3.npz").write_bytes(b"PK\x03\x04 cut short")
    assert "no intact file" in run("merge", "kept").refused()


def test_samples_of_a_checkpoint_are_the_same_on_any_number_of_cores(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = SAMPLES / "deepseek-v4-tiny"
    scan = ("scan", tiny, "--static", "--samples", "300", "--format", "json", "--metrics", "paper")
    monkeypatch.setattr(measuring, "PART_BYTES", 2**15)
    wanted = run(*scan, "--jobs", "1")
    assert wanted.code == 0 and '"sample"' in wanted.out
    monkeypatch.setattr(engine, "WORTH_WORKERS", 0.0)
    with joblib.parallel_config(backend="threading"):
        assert run(*scan, "--jobs", "3").out == wanted.out
    assert "--jobs is 0" in run(*scan, "--jobs", "0").refused()


def test_the_report_that_is_resampled_is_part_of_the_settings(run: Callable[..., Any], folder: Path) -> None:
    assert run("scan", SAMPLES / "hc.pt", "--metrics", "paper", "--report", "json=hc.json").code == 0
    drawn = (*SMALL, "--ensemble", "from-report", "--measured", "hc.json")
    for number in (1, 2):
        assert run(*drawn, "--shard", f"{number}/2", "--state", "kept").code == 0
    wanted = run(*drawn, "--format", "json")
    assert wanted.code == 0 and run("merge", "kept", "--format", "json").out == wanted.out
    (folder / "hc.json").write_text((folder / "hc.json").read_text() + "\n")
    assert "measured_sha256" in run("merge", "kept").refused()
