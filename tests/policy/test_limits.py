"""Limits in one line, and that what can be limited is what reports hold."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from mhc_diag.analyse import analyse
from mhc_diag.errors import MhcDiagError
from mhc_diag.policy.limits import joined, of_table, of_text
from mhc_diag.records import Report
from mhc_diag.sources.checkpoint import scan_variants
from mhc_diag.sources.checkpoint.options import Options
from mhc_diag.sources.simulate import Simulation, cases

SAMPLES = Path(__file__).parents[2] / "sample_models"


@pytest.mark.parametrize(
    ("text", "key", "most", "least"),
    [
        ("inf_norm<=2", ("inf_norm", "site", "max", "*"), 2.0, None),
        (" inf_norm : prefix >= 1e-3 ", ("inf_norm", "prefix", "min", "*"), None, 1e-3),
        ("inf_norm:prefix:p50>=.5", ("inf_norm", "prefix", "p50", "*"), None, 0.5),
        ("inf_norm:site:max:a:b.*<=+7", ("inf_norm", "site", "max", "a:b.*"), 7.0, None),
        ("half_life>=3", ("half_life", "stack", "", "*"), None, 3.0),
        ("lyapunov_12:stack<=-0.1", ("lyapunov_12", "stack", "", "*"), -0.1, None),
    ],
)
def test_one_line(text: str, key: tuple[str, ...], most: float | None, least: float | None) -> None:
    limit = of_text("--limit", text, "here")
    assert (limit.key, limit.at_most, limit.at_least) == (key, most, least)
    assert (limit.origin, limit.level, limit.rule) == ("here", "error", "")


@pytest.mark.parametrize(
    "text",
    ["", "2", "inf_norm", "inf_norm<2", "inf_norm=2", "inf_norm<=", "<=2", "inf_norm<=two", "inf_norm<=nan"]
    + ["inf_norm<=2<=3", "inf_norm:<=2", "inf_norm:site:<=2", "inf_norm:site:max:<=2", "lyapunov_0<=2"]
    + ["inf_norm<=inf", "half_life:stack:max<=2", "log_nu:prefix<=3", ":site<=2"],
)
def test_what_is_no_limit(text: str) -> None:
    with pytest.raises(MhcDiagError, match="--limit"):
        of_text("--limit", text, "--limit")


def test_both_sides_of_one_number_are_one_limit() -> None:
    texts = ["inf_norm:site:p50<=2", "half_life>=3", "inf_norm:site:p50>=1"]
    band, life = joined(of_text("--limit", text, "--limit") for text in texts)
    assert (band.at_least, band.at_most, life.at_least) == (1, 2, 3)
    for more in ("inf_norm:site:p50<=3", "inf_norm:site:p50>=0"):
        with pytest.raises(MhcDiagError, match="twice"):
            joined(of_text("--limit", text, "--limit") for text in [*texts, more])
    with pytest.raises(MhcDiagError, match="nothing is"):
        joined(of_text("--limit", text, "--limit") for text in ("half_life<=1", "half_life>=2"))


def reports(tmp_path: Path) -> list[Report]:
    """One of each kind that holds numbers of its own."""
    signal = cases(Simulation(depth=6, streams=3, seeds=4, manifolds=("sinkhorn",)))
    safetensors.numpy.save_file(
        {f"layers.{i}.mixing": np.eye(3) for i in range(5)}, tmp_path / "x.safetensors"
    )
    stacks = scan_variants(tmp_path / "x.safetensors", Options())
    stacks += scan_variants(SAMPLES / "mhc.safetensors", Options())
    return [analyse(signal[0].parts(), branch_gain=1.0), *map(analyse, stacks)]


def test_whatever_a_report_holds_can_be_limited_and_nothing_else(tmp_path: Path) -> None:
    found = reports(tmp_path)
    curves = {(c.metric, c.scope, c.statistic) for r in found for c in r.curves}
    scalars = {s.name for r in found for s in r.scalars}
    for metric, scope, statistic in curves:
        limit = of_text("--limit", f"{metric}:{scope}:{statistic}<=1", "")
        assert limit.key == (metric, scope, statistic, "*")
    for name in scalars:
        assert of_text("--limit", f"{name}<=1", "").scope == "stack"
    page = (Path(__file__).parents[2] / "docs/gate.md").read_text()
    (row,) = (line for line in page.splitlines() if line.startswith("| `metric` |"))
    named = set(re.findall(r"`(\w+)`", row)[1:])
    assert {n for n in scalars if not n.startswith("lyapunov")} <= named
    for metric, scope in {(m, s) for m, s, _ in curves}:
        others = {"site", "prefix", "suffix"} - {s for m, s, _ in curves if m == metric}
        for other in others:
            with pytest.raises(MhcDiagError, match="not taken of"):
                of_table("t", {"metric": metric, "scope": other, "at-most": 1}, "")
        assert scope not in others
