"""What is written down of a run: every record once, also after a crash and a resumption."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from test_alerts import Steered

import mhc_diag
from mhc_diag import Policy
from mhc_diag.errors import MhcDiagError
from mhc_diag.sources.runs import is_run, read


def train(path: Path, gains: list[float], state: dict[str, Any] | None = None) -> mhc_diag.Watch:
    model = Steered()
    with mhc_diag.watch(model, jsonl=path, policy=Policy(max_gain=4), on_alert=lambda _: None) as w:
        if state is not None:
            w.load_state_dict(json.loads(json.dumps(state, allow_nan=False)))
        for gain in gains:
            model.turn(gain)
            model(torch.ones(1, 3, 4))
    return w


def told(path: Path) -> list[tuple[int, float]]:
    return [(r.step, round(r.metrics["mhc/forward_max"], 4)) for r in read(path).records]


def test_a_line_for_each_record(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    w = train(path, [1, 2, 5])
    lines = [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]
    assert lines[0] == {
        "schema": "mhc-diag/run",
        "version": 1,
        "model": "Steered",
        "streams": 2,
        "sites": [f"sites.{i}.branch" for i in range(3)],
        "limits": [
            {"metric": "mhc/nonfinite_tokens", "at_most": 0.0, "at_least": None},
            {"metric": "mhc/forward_max", "at_most": 4.0, "at_least": None},
            {"metric": "mhc/backward_max", "at_most": 4.0, "at_least": None},
        ],
    }
    assert [line["metrics"] for line in lines[1:]] == w.history
    assert [len(line["alerts"]) for line in lines[1:]] == [0, 0, 2]
    assert lines[3]["alerts"][0]["site"] == "sites.1.branch"
    assert is_run(path) and told(path) == [(1, 1), (2, 2), (3, 5)]
    assert [alert["step"] for alert in read(path).alerts] == [3, 3]


def test_it_is_there_while_the_run_goes_on(tmp_path: Path) -> None:
    model, path = Steered(), tmp_path / "run.jsonl"
    with mhc_diag.watch(model, jsonl=path):
        for step in (1, 2, 3):
            model(torch.ones(1, 3, 4))
            assert [s for s, _ in told(path)] == list(range(1, step + 1))


def test_numbers_that_json_lacks(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    train(path, [1, 0])
    assert '"mhc/log10_forward_min": "-inf"' in path.read_text()
    assert read(path).records[1].metrics["mhc/log10_forward_min"] == -math.inf


@pytest.mark.parametrize("saved_at", [2, 4])
def test_a_resumed_run_has_every_step_once(tmp_path: Path, saved_at: int) -> None:
    """The run saves at step 2 or 4, goes on to step 4 and crashes; what was after the save is done again."""
    whole, path = tmp_path / "whole.jsonl", tmp_path / "run.jsonl"
    gains = [2, 3, 5, 6, 7, 3, 8, 25]
    train(whole, gains)
    state = train(tmp_path / "other.jsonl", gains[:saved_at]).state_dict()
    train(path, gains[:4])
    with path.open("ab") as file:
        file.write(b'{"step": 5, "ti')  # the crash
    assert [step for step, _ in told(path)] == [1, 2, 3, 4]
    w = train(path, gains[saved_at:], state)
    assert told(path) == told(whole) and len(told(path)) == 8
    again, once = read(path), read(whole)
    for field in ("step", "metric", "value"):
        assert [a[field] for a in again.alerts] == [a[field] for a in once.alerts]
    assert [r.metrics["mhc/forward_rise"] for r in again.records] == [
        r.metrics["mhc/forward_rise"] for r in once.records
    ]
    assert w.forwards == 8 and path.read_text().count("schema") == 1


def test_a_new_run_in_the_same_file_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    train(path, [1, 2, 3])
    train(path, [4, 1])
    assert told(path) == [(1, 4), (2, 1)] and len(path.read_text().splitlines()) == 7


def test_resumed_where_the_file_is_not(tmp_path: Path) -> None:
    state = train(tmp_path / "there.jsonl", [1, 2]).state_dict()
    train(tmp_path / "here.jsonl", [3], state)
    assert told(tmp_path / "here.jsonl") == [(3, 3)]


def test_steps_of_several_forward_passes(tmp_path: Path) -> None:
    model, path = Steered(), tmp_path / "run.jsonl"
    with mhc_diag.watch(model, jsonl=path, every=2) as w:
        for step in range(1, 6):
            w.step = step
            for micro in range(3):
                model.turn(step + micro / 10)
                model(torch.ones(1, 3, 4))
    assert told(path) == [(1, 1), (3, 3), (5, 5)]


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(MhcDiagError, match="there is no folder"):
        mhc_diag.watch(Steered(), jsonl=tmp_path / "no" / "run.jsonl")
    w = train(tmp_path / "run.jsonl", [1])
    with pytest.raises(MhcDiagError, match="has seen forward passes already"):
        w.load_state_dict(w.state_dict())
    damaged, head = tmp_path / "damaged.jsonl", (tmp_path / "run.jsonl").read_text().splitlines()[0]
    damaged.write_text(head + '\n{"step"\n{}\n')
    with pytest.raises(MhcDiagError, match="line 2 is no JSON object"):
        read(damaged)
    damaged.write_text(head.replace('"version": 1', '"version": 9') + "\n")
    with pytest.raises(MhcDiagError, match="version 9, expected mhc-diag/run version 1"):
        read(damaged)
    damaged.write_text(head + '\n{"step": 1}\n')
    with pytest.raises(MhcDiagError, match="an entry that is no record"):
        read(damaged)
