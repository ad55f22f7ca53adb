"""mhc-diag diff from end to end: files in, a table, a picture and an exit code out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SAMPLES = Path(__file__).parents[2] / "sample_models"
Mixing = Callable[[str, np.ndarray], Path]


def mixed(depth: int = 6, weight: float = 0.1, scale: float = 1.0) -> np.ndarray:
    """Doubly stochastic times a scale: every composite gain is scale to the power of its sites."""
    matrix = (1 - weight) * np.eye(4) + weight * np.roll(np.eye(4), 1, axis=0)
    return np.array([scale * matrix] * depth)


def test_a_file_is_equal_to_itself(run: Callable[..., Any], mixing: Mixing) -> None:
    file = mixing("model.pt", mixed())
    done = run("diff", file, file)
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith("passed: model.pt: all numbers are equal, at 6 sites\n")
    assert not re.search(r"[+-]\d", done.out.partition("worse, log10")[2])


def test_what_got_worse_is_told_with_its_site(run: Callable[..., Any], mixing: Mixing) -> None:
    matrices = mixed()
    old = mixing("old.pt", matrices)
    matrices[3] *= 1.5
    done = run("diff", old, mixing("new.pt", matrices))
    assert done.code == 1
    assert (
        "worse: new.pt: amax_forward of a prefix, max at layers.3.mixing: 1.500, was 1.000, 50 % worse"
        in done.out
    )
    assert "was 1.000, 50 % worse" in done.out and "layers.3.mixing" in done.out
    (line,) = (x for x in done.out.splitlines() if x.startswith("amax_forward prefix "))
    assert "+0.176" in line
    assert run("diff", old, "new.pt", "--tolerance", "0.6").code == 0
    back = run("diff", "new.pt", old)  # less is left of a difference that nothing amplifies any more
    assert not any("amax" in x for x in back.out.splitlines() if x.startswith("worse: "))


def test_saved_reports_and_files_are_compared_alike(run: Callable[..., Any], mixing: Mixing) -> None:
    old, new = mixing("old.pt", mixed()), mixing("new.pt", mixed(scale=1.1))
    for file in (old, new):
        assert run("scan", file, "--report", f"json={file.stem}.json").code == 0
    live = run("diff", old, new, "--format", "json")
    saved = run("diff", "old.json", "new.json", "--format", "json")
    assert (live.code, saved.code) == (1, 1)
    assert json.loads(live.out) == json.loads(saved.out)
    assert live.err.startswith("worse: new.pt: ")


def test_json_holds_every_number(run: Callable[..., Any], mixing: Mixing) -> None:
    old, new = mixing("old.pt", mixed()), mixing("new.pt", mixed(scale=1.1))
    done = run("diff", old, new, "--report", "json=diff.json", "--report", "table=diff.txt")
    assert done.changed == {"diff.json", "diff.txt"} and Path("diff.txt").read_text() != ""
    document = json.loads(Path("diff.json").read_text())
    assert (document["schema"], document["version"]) == ("mhc-diag/diff", 1)
    assert (document["outcome"], document["exit_code"]) == ("failed", 1)
    (found,) = document["comparisons"]
    prefix = {
        r["after_label"]: r
        for r in found["sites"]
        if (r["metric"], r["scope"], r["statistic"]) == ("amax_forward", "prefix", "max")
    }
    for site in range(6):
        row = prefix[f"layers.{site}.mixing"]
        assert row["after"] == pytest.approx(1.1 ** (site + 1)) and row["before"] == pytest.approx(1)
        assert row["worse_log10"] == pytest.approx((site + 1) * np.log10(1.1)) and row["worse"]


def test_sites_that_only_one_has_are_listed_and_cannot_be_told(
    run: Callable[..., Any], mixing: Mixing
) -> None:
    old, new = mixing("old.pt", mixed()), mixing("new.pt", mixed(depth=8))
    done = run("diff", old, new)
    assert done.code == 2
    assert "only after: layers.6.mixing, layers.7.mixing" in done.out
    assert "6 are in both, matched by label" in done.out
    assert run("diff", old, mixing("worse.pt", mixed(depth=8, scale=2))).code == 1  # a proven failure wins


def test_definitions_that_differ_cannot_be_told(run: Callable[..., Any]) -> None:
    done = run("diff", SAMPLES / "hc.pt", SAMPLES / "mhc.safetensors")
    assert done.code == 2
    assert "could not tell: mhc.safetensors: defined differently: layout was square, is deepseek" in done.out
    assert not re.search("^worse:", done.out, re.M)


def test_numbers_that_are_none_are_worse_and_never_equal(run: Callable[..., Any], mixing: Mixing) -> None:
    matrices = mixed()
    good = mixing("good.pt", matrices)
    matrices[2, 1, 1] = np.nan
    bad = mixing("bad.pt", matrices)
    done = run("diff", good, bad)
    assert done.code == 1 and "NaN, was 1.000, no number any more" in done.out
    assert run("diff", bad, good).code == 0
    done = run("diff", bad, bad)
    assert done.code == 2 and "no number in either" in done.out


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_the_picture(run: Callable[..., Any], mixing: Mixing, suffix: str) -> None:
    file = mixing("model.pt", mixed())
    done = run("diff", file, file, "--plot", f"diff.{suffix}")
    assert (done.code, done.changed) == (0, {f"diff.{suffix}"})


def test_what_cannot_be_read_or_written_is_refused(run: Callable[..., Any], mixing: Mixing) -> None:
    file = mixing("model.pt", mixed())
    Path("empty.json").write_text('{"schema": "mhc-diag/report"}')
    for arguments in (
        ("missing.pt", file),
        (file, "missing.pt"),
        (file, "empty.json"),
        (file, file, "--tolerance", "-1"),
        (file, file, "--tolerance", "nan"),
        (file, file, "--plot", "diff.txt"),
        (file, file, "--report", "csv=diff.csv"),
        (file, file, "--report", "json=nowhere/diff.json"),
        (file, file, "--report", "json=a.json", "--report", "table=a.json"),
    ):
        assert run("diff", *arguments).refused()


def test_nothing_to_check(run: Callable[..., Any], mixing: Mixing) -> None:
    import torch

    file = mixing("model.pt", mixed())
    torch.save({"weight": torch.zeros(3, 5)}, "empty.pt")
    for pair in ((file, "empty.pt"), ("empty.pt", file)):
        assert run("diff", *pair).code == 3


@pytest.mark.parametrize("width", [72, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(
    run: Callable[..., Any], mixing: Mixing, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    labels = mixed(), mixed(scale=1.3)
    old, new = (mixing(f"a_rather_long_name_of_a_model_{i}.pt", m) for i, m in enumerate(labels))
    lines = run("diff", old, new).out.splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines if "amax" in line and "prefix" in line and width >= 120)
