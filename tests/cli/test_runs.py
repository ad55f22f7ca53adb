"""mhc-diag tail and mhc-diag report of a training run."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from made_runs import head, line, write

from mhc_diag.cli import tail

LOGS = [0.0, 0.3, 0.7, 2.0, 1.0]


def test_a_run_is_known_by_its_content(run: Callable[..., Any], folder: Path) -> None:
    write(folder / "run.txt", LOGS, alert_at=3)
    done = run(
        "report", "run.txt", "--plot", "run.png", "--report", "html=run.html", "--report", "csv=run.csv"
    )
    assert done.code == 0 and done.changed == {"run.png", "run.html", "run.csv"}, done
    assert "composite forward, largest" in done.out and "step 3: forward_max is 5.012" in done.out
    rows = list(csv.DictReader(io.StringIO((folder / "run.csv").read_text())))
    assert [row["step"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [float(row["mhc/log10_forward_max"]) for row in rows] == LOGS
    assert (folder / "run.png").read_bytes().startswith(b"\x89PNG")


def test_once_and_in_a_pipe(run: Callable[..., Any], folder: Path) -> None:
    write(folder / "run.jsonl", LOGS, alert_at=3)
    (piped, once) = run("tail", "run.jsonl"), run("tail", "run.jsonl", "--once")
    assert piped.code == 0 and piped.out == once.out == run("report", "run.jsonl").out
    assert not piped.changed and not piped.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("report", "run.jsonl", "--format", "sarif"), "which has no form sarif"),
        (("report", "run.jsonl", "--plot", "triangle=x.png"), "which has no picture triangle"),
        (("tail", "nothing.jsonl"), "cannot be read"),
        (("tail", "other.json"), "holds no run"),
        (("tail", "run.jsonl", "--interval", "0"), "--interval is 0"),
    ],
)
def test_refusals(run: Callable[..., Any], folder: Path, arguments: tuple[str, ...], told: str) -> None:
    write(folder / "run.jsonl", LOGS)
    (folder / "other.json").write_text("{}")
    assert told in run(*arguments).refused()


def test_it_follows_until_ctrl_c(
    run: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(folder / "run.jsonl", LOGS)
    looks = []

    def pause(_: float) -> None:
        looks.append(1)
        if len(looks) == 3:
            raise KeyboardInterrupt
        path.write_text(path.read_text() + line(5 + len(looks), 3.0, alerts=True))

    monkeypatch.setattr(tail, "pause", pause)
    monkeypatch.setattr("mhc_diag.terminal.is_terminal", lambda: True)
    done = run("tail", "run.jsonl")
    assert done.code == 0 and len(looks) == 3 and "7 records, steps 1 to 7" in done.out, done
    assert head() in path.read_text()
