"""--max-gain decides the exit code; what is no number breaks every limit and is shown as a word."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

SAMPLES = Path(__file__).parents[2] / "sample_models"
NOT_DIGITS = re.compile(r"(?<![A-Za-z_])(nan|inf|-inf|Inf)(?![A-Za-z_])")


def strict_json(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    ("file", "limit", "code"),
    [
        ("hc.pt", "5826", 0),
        ("hc.pt", "5824", 1),  # only the backward gain is above it
        ("hc.pt", "4", 1),
        ("hc.pt", "1e300", 0),
        ("mhc.safetensors", "4", 0),
        ("mhc.safetensors", "1.2", 1),
        ("mhc.safetensors", "0.5", 1),
    ],
)
def test_a_limit_passes_or_breaks(run: Callable[..., Any], file: str, limit: str, code: int) -> None:
    done = run("scan", SAMPLES / file, "--max-gain", limit)
    assert (done.code, done.err) == (code, "")
    verdicts = [line for line in done.out.splitlines() if line.startswith(("passed: ", "failed: "))]
    assert len(verdicts) == 2 and all(f"at most {float(limit):g}" in line for line in verdicts)
    assert any(line.startswith("failed: ") for line in verdicts) == bool(code)


def test_the_verdict_says_what_broke_and_where(run: Callable[..., Any]) -> None:
    told = " ".join(run("scan", SAMPLES / "hc.pt", "--max-gain", "5000").out.split())
    back, forth = "gain 5825 at site 3 (layers.1.mlp.mixing)", "gain 4076 at site 57 (layers.28.mlp.mixing)"
    assert (
        f"failed: MHC101 hc.pt: backward composite {back}, allowed is at most 5000 "
        f"passed: hc.pt: forward composite {forth}, allowed is at most 5000 to do: MHC101 Project "
    ) in told


def test_without_a_limit_nothing_fails(run: Callable[..., Any]) -> None:
    done = run("scan", SAMPLES / "hc.pt")
    assert (done.code, done.err) == (0, "")
    assert "failed" not in done.out and "passed" not in done.out


@pytest.mark.parametrize("format", ["json", "csv"])
def test_the_verdict_stays_out_of_a_report_for_machines(run: Callable[..., Any], format: str) -> None:
    limited = run("scan", SAMPLES / "hc.pt", "--max-gain", "4", "--format", format)
    assert limited.code == 1
    free = run("scan", SAMPLES / "hc.pt", "--format", format).out
    if format == "csv":
        assert limited.out == free
    else:
        told, advised = json.loads(limited.out), json.loads(free)
        assert told.pop("verdict")["outcome"] == "failed" and advised.pop("verdict")["outcome"] == "passed"
        assert told == advised
    assert len(re.findall(r"^failed: MHC101 hc.pt: (?:for|back)ward composite gain", limited.err, re.M)) == 2


def stack(bad: float) -> np.ndarray:
    matrices = np.random.default_rng(3).uniform(0.1, 0.4, (8, 4, 4))
    matrices[5, 2, 1] = bad
    return matrices


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(("bad", "word"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")])
def test_what_is_no_number_breaks_every_limit(
    run: Callable[..., Any],
    folder: Path,
    mixing: Callable[[str, np.ndarray], Path],
    bad: float,
    word: str,
    suffix: str,
) -> None:
    file = mixing(f"broken{suffix}", stack(bad))
    outputs = {"json": "out.json", "csv": "out.csv", "table": "out.txt", "png": "out.png", "svg": "out.svg"}
    options = [part for format, path in outputs.items() for part in ("--report", f"{format}={path}")]
    done = run("scan", file, "--max-gain", "1e300", *options)
    assert done.code == 1
    assert done.changed == set(outputs.values())  # written before the exit code is decided
    assert "1 site has a matrix that is not finite, first site 5" in done.out
    for direction in ("forward", "backward"):
        assert f"failed: MHC101 {file.name}: {direction} composite gain {word}" in " ".join(done.out.split())
    for text in (done.out, (folder / "out.txt").read_text()):
        assert word in text
        assert not NOT_DIGITS.search(text), text
    saved = strict_json((folder / "out.json").read_text())["reports"][0]
    assert saved["nonfinite"] == [0, 0, 0, 0, 0, 1, 0, 0]
    assert run("scan", file).code == 0  # no limit was set, and the table says what is wrong


@pytest.mark.parametrize(("bad", "word"), [(np.nan, "nan"), (np.inf, "inf")])
def test_json_stays_strict_on_standard_output(
    run: Callable[..., Any], mixing: Callable[[str, np.ndarray], Path], bad: float, word: str
) -> None:
    done = run("scan", mixing("broken.pt", stack(bad)), "--format", "json", "--max-gain", "9")
    assert done.code == 1
    (forward,) = (
        curve
        for curve in strict_json(done.out)["reports"][0]["curves"]
        if (curve["metric"], curve["scope"], curve["statistic"]) == ("amax_forward", "site", "max")
    )
    assert [i for i, value in enumerate(forward["value"]) if value == word] == [5]
    assert all(isinstance(value, float) for i, value in enumerate(forward["value"]) if i != 5)
    assert not NOT_DIGITS.search(done.err)


def test_a_gain_beyond_float64_is_a_number_with_an_exponent(
    run: Callable[..., Any], mixing: Callable[[str, np.ndarray], Path]
) -> None:
    file = mixing("huge.pt", np.full((4, 4, 4), 1e308))
    done = run("scan", file, "--max-gain", "1e300", "--report", "csv=out.csv")
    assert done.code == 1
    assert "4.000e+308" in done.out  # one site: the row sum alone leaves float64
    assert "2.560e+1234" in done.out  # four sites: 4^4 * 1e1232
    gains = done.out.replace("-infinite", "")  # what exponents are where a product has lost its rank
    gains = gains.replace("streams: infinite", "")  # and half-lives where nothing fades
    assert not NOT_DIGITS.search(gains) and "infinite" not in gains
    with open("out.csv", newline="") as stream:
        logs = {
            (row["scope"], row["site"]): float(row["log10"])
            for row in csv.DictReader(stream)
            if row["metric"] == "amax_forward" and row["statistic"] == "max"
        }
    assert logs["prefix", "3"] == pytest.approx(4 * (308 + np.log10(4)), rel=1e-12)


def test_a_live_model_with_a_nan_in_one_site(run: Callable[..., Any], folder: Path) -> None:
    tensors = torch.load(SAMPLES / "hc.pt")
    tensors["layers.20.mlp.mixing"][1, 2] = torch.nan
    torch.save(tensors, folder / "damaged.pt")
    live = ("scan", "damaged.pt", "--model", "sample_models.architectures:hc")
    done = run(*live, "--max-gain", "1e300", "--report", "json=out.json")
    assert done.code == 1 and done.changed == {"out.json"}
    assert "NaN" in done.out and not NOT_DIGITS.search(done.out)
    saved = strict_json((folder / "out.json").read_text())["reports"][0]
    assert [i for i, count in enumerate(saved["nonfinite"]) if count] == [41]
    assert saved["nonfinite"][41] == 128  # every token
