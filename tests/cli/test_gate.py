"""The gate over several targets: their names, what is expected of them, and what was saved."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Mixing = Callable[[str, np.ndarray], Path]


def stack(gain: float = 1.0, depth: int = 5, streams: int = 4) -> np.ndarray:
    return np.array([gain * (0.95 * np.eye(streams) + 0.05 * np.roll(np.eye(streams), 1, axis=0))] * depth)


def flat(text: str) -> str:
    return " ".join(text.split())


def test_targets_of_one_name_are_told_apart(run: Callable[..., Any], mixing: Mixing, folder: Path) -> None:
    for name, gain in (("before", 1.0), ("after", 9.0)):
        (folder / name).mkdir()
        mixing(f"{name}/model.pt", stack(gain))
    done = run("gate", "before/model.pt", "after/model.pt", "--report", "json=out.json")
    assert done.code == 1
    assert "failed: MHC101 after/model.pt: " in done.out and "MHC101 model.pt" not in done.out
    assert [r["name"] for r in json.loads(Path("out.json").read_text())["reports"]] == [
        "before/model.pt",
        "after/model.pt",
    ]
    run("scan", "before/model.pt", "--report", "json=a.json")
    run("scan", "after/model.pt", "--report", "json=b.json")
    assert "failed: MHC101 b.json: model.pt: " in run("gate", "a.json", "b.json").out
    twice = run("gate", "before/model.pt", "before/model.pt")
    assert twice.out.count("target ") == 1 and "gate passed: 1 report, " in twice.out


def test_what_is_expected_is_printed_with_its_origin(
    run: Callable[..., Any], mixing: Mixing, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "mhc-diag.toml").write_text("max-gain = 7\n[findings]\nMHC502 = 'warn'\n")
    monkeypatch.setenv("MHC_DIAG_LIMIT", "inf_norm<=3,half_life>=1")
    mixing("model.pt", stack())
    lines = [
        "amax_forward:prefix:max at most 7 error mhc-diag.toml",
        "inf_norm:site:max at most 3 error MHC_DIAG_LIMIT",
        "half_life:stack at least 1 error MHC_DIAG_LIMIT",
        "uniformity:prefix:p50 at least 0.1 error --limit",
        "max-gain 7: mhc-diag.toml",
        "MHC502 warn: mhc-diag.toml",
    ]
    command = ("gate", "model.pt", "--limit", "uniformity:prefix:p50>=0.1")
    table = run(*command)
    assert table.code == 0 and all(line in flat(table.out) for line in lines), table.out
    assert "at most 4.04" not in table.out  # what the profile would allow
    other = run(*command, "--format", "csv")
    assert all(line in flat(other.err) for line in lines) and "at most 7" not in other.out


def test_a_profile_that_is_named_counts(run: Callable[..., Any], mixing: Mixing) -> None:
    mixing("model.pt", stack(1.7))  # a gain of 14, above the 4 of mHC and below the 100 of HC
    assert run("gate", "model.pt", "--profile", "hc", "--level", "MHC103=off").code == 0
    assert run("gate", "model.pt", "--profile", "mhc", "--level", "MHC103=off").code == 1


def test_models_of_different_size_are_shown_one_below_the_other(
    run: Callable[..., Any], mixing: Mixing
) -> None:
    mixing("four.pt", stack())
    mixing("two.pt", stack(depth=9, streams=2))
    done = run("gate", "four.pt", "two.pt", "--report", "json=both.json")
    shown = run("report", "both.json")
    for text in (done.out, shown.out):
        assert "n = 4 streams, L = 5 sites" in text and "n = 2 streams, L = 9 sites" in text
        assert text.index("four.pt") < text.index("two.pt")


def test_what_is_wrong_says_what_to_do(run: Callable[..., Any], mixing: Mixing) -> None:
    mixing("model.pt", stack(9.0))
    done = run("gate", "model.pt")
    assert "to do: MHC101 Project each matrix onto the doubly stochastic ones" in flat(done.out)
    assert "mhc-diag rule MHC101" in flat(done.out) and run("rule", "MHC101").code == 0
    assert done.out.splitlines()[-1].startswith("gate failed: 1 report, ")
    assert "to do: MHC101" in run("gate", "model.pt", "--format", "json").err


def test_an_error_inside_one_target_does_not_stop_the_others(
    run: Callable[..., Any], mixing: Mixing, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyse = importlib.import_module("mhc_diag.analyse")
    mixing("model.pt", stack(9.0))
    mixing("odd.pt", stack())
    whole = analyse.analyse

    def sometimes(stack: Any, **how: Any) -> Any:
        if stack.name == "odd.pt":
            raise KeyError("odd")
        return whole(stack, **how)

    monkeypatch.setattr(analyse, "analyse", sometimes)
    done = run("gate", "odd.pt", "model.pt", "--report", "json=out.json")
    assert done.code == 1 and "could not tell: odd.pt: internal error: KeyError: 'odd'" in done.out
    (doubt,) = json.loads(Path("out.json").read_text())["verdict"]["doubts"]
    assert doubt["target"] == "odd.pt" and "MHC_DIAG_TRACEBACK" in doubt["hint"]
    assert run("gate", "odd.pt").code == 2


def test_model_code_that_ends_the_program_does_not_end_the_gate(
    run: Callable[..., Any], mixing: Mixing, code: Callable[[str], str]
) -> None:
    name = code(
        "import sys, torch\n"
        "class Net(torch.nn.Embedding):\n    def forward(self, x): sys.exit(0)\n"
        "def build(): return Net(4, 4)\n"
    )
    mixing("model.pt", stack(9.0))
    done = run("gate", f"{name}:build", "model.pt")
    assert done.code == 1 and "the model's code ended the program" in flat(done.out)
    assert run("gate", f"{name}:build").code == 2


def test_a_live_model_is_gated(run: Callable[..., Any]) -> None:
    live = ("sample_models.architectures:mhc", "--tokens", "4", "--batch", "1", "--report", "json=live.json")
    assert run("gate", *live, "--profile", "none", "--max-gain", "4").code == 0
    assert run("gate", "live.json", "--profile", "none", "--max-gain", "0.9").code == 1


def test_scan_enforces_what_is_asked_for_and_advises_otherwise(
    run: Callable[..., Any], mixing: Mixing, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixing("model.pt", stack(9.0))
    (folder / "mhc-diag.toml").write_text("max-gain = 7")
    monkeypatch.setenv("MHC_DIAG_MAX_GAIN", "6")
    looked = run("scan", "model.pt")
    assert looked.code == 0 and "warning: MHC101" in looked.out and "at most 7" not in looked.out
    limited = run("scan", "model.pt", "--limit", "half_life>=1")
    assert limited.code == 0 and "warning: MHC101" in limited.out
    named = run("scan", "model.pt", "--config", "mhc-diag.toml")
    assert named.code == 1 and "failed: MHC101" in named.out and "at most 6" in named.out


STOPS = """
import torch
class Net(torch.nn.Module):
    def __init__(self, gain):
        super().__init__()
        self.gain, self.branch = gain, torch.nn.Linear(8, 8)
    def forward(self, x):
        for _ in range(5):
            x = self.gain * x + self.branch(x)
        raise RuntimeError("no more layers")
def calm(): return Net(1.0), torch.ones(1, 3, 8)
def wild(): return Net(9.0), torch.ones(1, 3, 8)
"""


@pytest.mark.parametrize(("factory", "ends"), [("calm", 2), ("wild", 1)])
def test_a_model_that_stops_half_way_cannot_pass(
    run: Callable[..., Any], code: Callable[[str], str], factory: str, ends: int
) -> None:
    done = run("gate", f"{code(STOPS)}:{factory}", "--max-gain", "4", "--report", "json=out.json")
    assert (done.code, done.changed) == (ends, {"out.json"})
    assert "stopped half-way by RuntimeError: no more layers" in flat(done.out)


def test_what_an_address_carries_in_secret_is_not_told(run: Callable[..., Any], mixing: Mixing) -> None:
    mixing("model.pt", stack())
    address = "http://me:hidden@127.0.0.1:9/model.pt?token=secret"
    done = run("gate", "model.pt", address, "--report", "json=out.json", "--report", "markdown=out.md")
    assert done.code == 2 and "could not tell: http://127.0.0.1:9/model.pt" in flat(done.out)
    for text in (done.out, done.err, Path("out.json").read_text(), Path("out.md").read_text()):
        assert "hidden" not in text and "secret" not in text
