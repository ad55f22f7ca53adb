"""gate --baseline from end to end: written, held, refused, and told why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Mixing = Callable[[str, np.ndarray], Path]
UPDATE = ("--baseline", "base.json", "--update-baseline")
HOLD = ("--baseline", "base.json")


def mixed(scale: float = 1.0, depth: int = 6, streams: int = 4) -> np.ndarray:
    """Doubly stochastic times a scale, with a half-life of about fifteen sites."""
    matrix = 0.97 * np.eye(streams) + 0.03 * np.roll(np.eye(streams), 1, axis=0)
    return np.array([scale * matrix] * depth)


@pytest.fixture
def model(mixing: Mixing) -> Callable[..., Path]:
    def make(name: str = "model.pt", **how: Any) -> Path:
        return mixing(name, mixed(**how))

    return make


def test_made_then_held_then_ratcheted(run: Callable[..., Any], model: Callable[..., Path]) -> None:
    done = run("gate", model(scale=1.02), *UPDATE)
    assert (done.code, done.changed) == (0, {"base.json"}), done
    assert done.err == "wrote base.json (baseline)\n"
    first = Path("base.json").read_text()
    done = run("gate", model(scale=1.02), *HOLD)
    assert (done.code, done.changed) == (0, frozenset())
    assert "14 of 14 numbers of model.pt are no worse than baseline base.json says" in " ".join(
        done.out.split()
    )
    done = run("gate", model(scale=1.02), *UPDATE)
    assert (done.code, done.changed, done.err) == (
        0,
        frozenset(),
        "nothing to change in base.json (baseline)\n",
    )
    assert run("gate", model(scale=1.01), *UPDATE).changed == {"base.json", "model.pt"} - {"model.pt"}
    second = Path("base.json").read_text()
    changed = [(a, b) for a, b in zip(first.splitlines(), second.splitlines(), strict=True) if a != b]
    assert changed and all('"metric"' in a for a, _ in changed)
    done = run("gate", model(scale=1.02), *HOLD)
    assert done.code == 1 and "MHC110 model.pt: forward composite gain 1.126 at site 5" in " ".join(
        done.out.split()
    )
    assert run("gate", model(scale=1.02), *HOLD, "--tolerance", "0.1").code == 0


def test_an_update_that_loosens_is_refused_with_a_list(
    run: Callable[..., Any], model: Callable[..., Path]
) -> None:
    run("gate", model(), *UPDATE)
    before = Path("base.json").read_bytes()
    file = model(scale=1.02)
    done = run("gate", file, *UPDATE, "--report", "json=report.json")
    assert (done.code, done.changed) == (1, {"report.json"})  # the report comes before the exit code
    lines = done.err.splitlines()[1:]
    assert lines[0].startswith("error: baseline base.json is left as it is: ")
    assert lines[1] == "hint: where that is meant, add --accept-worse"
    assert any(line.startswith("refused: MHC110 model.pt: forward composite gain 1.126") for line in lines)
    assert Path("base.json").read_bytes() == before
    done = run("gate", file, *UPDATE, "--accept-worse")
    assert (done.code, done.changed) == (0, {"base.json"})
    assert run("gate", file, *HOLD).code == 0


def test_what_is_accepted_does_not_fail_again_and_what_is_new_does(
    run: Callable[..., Any], model: Callable[..., Path]
) -> None:
    file = model(scale=3.0)  # 729 after six sites
    assert run("gate", file, "--profile", "hc").code == 1
    assert run("gate", file, "--profile", "hc", *UPDATE).code == 0
    done = run("gate", file, "--profile", "hc", *HOLD)
    assert done.code == 0 and "accepted: MHC101 model.pt: forward composite gain 729" in done.out
    assert (
        run("gate", file, "--profile", "hc", "--max-gain", "500", *HOLD).code == 0
    )  # the same limit, stricter
    done = run("gate", model(scale=3.1), "--profile", "hc", *HOLD)
    assert done.code == 1 and "failed: MHC101" in done.out and "failed: MHC110" in done.out


def test_what_does_not_match_cannot_be_told_until_it_is_replaced(
    run: Callable[..., Any], model: Callable[..., Path]
) -> None:
    run("gate", model(), *UPDATE)
    deeper = model(depth=7)
    done = run("gate", deeper, *HOLD)
    assert done.code == 2
    assert "of its sites new are layers.6.mixing" in " ".join(done.out.split())
    assert "--update-baseline --accept-worse" in " ".join(done.out.split())
    done = run("gate", deeper, *UPDATE)
    assert (done.code, done.changed) == (2, frozenset()) and "refused: model.pt: not what" in done.err
    assert run("gate", deeper, *UPDATE, "--accept-worse").code == 0
    assert run("gate", deeper, *HOLD).code == 0
    assert run("gate", model(streams=3), *HOLD).code == 2


def test_a_report_the_baseline_does_not_know_and_one_it_alone_knows(
    run: Callable[..., Any], model: Callable[..., Path]
) -> None:
    one, two, three = (model(f"{name}.pt") for name in ("one", "two", "three"))
    run("gate", one, two, *UPDATE)
    done = run("gate", one, *HOLD)
    assert done.code == 0 and "note: baseline base.json holds two.pt, which was not looked at" in done.out
    done = run("gate", one, three, *HOLD)
    assert done.code == 2 and "three.pt: baseline base.json holds nothing of it" in done.out
    assert run("gate", one, three, *UPDATE).code == 0
    assert [r["name"] for r in json.loads(Path("base.json").read_text())["reports"]] == [
        "one.pt",
        "three.pt",
        "two.pt",
    ]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_in_no_baseline_even_if_accepted(
    run: Callable[..., Any], mixing: Mixing, bad: float
) -> None:
    matrices = mixed()
    matrices[2, 0, 0] = bad
    file = mixing("broken.pt", matrices)
    done = run("gate", file, *UPDATE, "--accept-worse")
    assert (done.code, done.changed) == (1, frozenset()) and "refused: MHC502" in done.err
    run("gate", mixing("good.pt", mixed()), *UPDATE)
    assert run("gate", file, *HOLD).code == 1


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "\x00\x01",
        '{"schema": "mhc-diag/report", "version": 1, "reports": []}',
        '{"schema": "mhc-diag/baseline", "version": 99, "reports": []}',
        '{"schema": "mhc-diag/baseline", "version": 1}',
        '{"schema": "mhc-diag/baseline", "version": 1, "reports": [{"name": "x"}]}',
        '{"schema": "mhc-diag/baseline", "version": 1, "reports": [], "more": 1}',
        "[" * 100_000,
    ],
)
@pytest.mark.parametrize("update", [False, True])
def test_what_is_no_baseline_is_refused_and_never_overwritten(
    run: Callable[..., Any], model: Callable[..., Path], content: str, update: bool
) -> None:
    file = model()
    Path("base.json").write_text(content)
    assert "base.json" in run("gate", file, *(UPDATE if update else HOLD)).refused()


def test_options_that_need_another_are_refused(run: Callable[..., Any], model: Callable[..., Path]) -> None:
    file = model()
    for options in (
        HOLD,  # there is no such file
        ("--update-baseline",),
        ("--accept-worse",),
        (*HOLD, "--accept-worse"),
        (*UPDATE, "--tolerance", "-0.1"),
        (*UPDATE, "--tolerance", "nan"),
        ("--baseline", "nowhere/base.json", "--update-baseline"),
        ("--baseline", ".", "--update-baseline"),
    ):
        assert run("gate", file, *options).refused()


def test_a_baseline_alone_is_enough_to_be_held_to(
    run: Callable[..., Any], model: Callable[..., Path]
) -> None:
    run("gate", model(), "--profile", "none", *UPDATE)
    assert run("gate", model(), "--profile", "none", *HOLD).code == 0
    assert run("gate", model(scale=1.1), "--profile", "none", *HOLD).code == 1


def test_baseline_and_tolerance_stand_in_a_configuration_and_under_options(
    run: Callable[..., Any], model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("gate", model(), *UPDATE)
    Path("mhc-diag.toml").write_text('baseline = "base.json"\ntolerance = 0.2\n')
    file = model(scale=1.02)  # 12.6 % after six sites
    assert run("gate", file).code == 0
    monkeypatch.setenv("MHC_DIAG_TOLERANCE", "0.05")
    assert run("gate", file).code == 1
    assert run("gate", file, "--tolerance", "0.2").code == 0
    assert run("gate", model(), "--tolerance", "0").code == 0
    monkeypatch.setenv("MHC_DIAG_TOLERANCE", "-1")
    assert "MHC_DIAG_TOLERANCE" in run("gate", file).refused()
