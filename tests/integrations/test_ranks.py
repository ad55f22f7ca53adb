"""The callbacks on two ranks that train one model on other data: every number is that of both."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ranks_train import LIMIT, STEPS
from unstable import gains

from mhc_diag.sources import runs, saved

pytestmark = [
    pytest.mark.slow,  # torchrun and two processes that import a framework
    pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed package"),
]
ROOT = Path(__file__).parents[2]
NEEDED = {
    "transformers": ("transformers", "accelerate"),
    "lightning": ("lightning",),
    "lightning-fsdp2": ("lightning",),
}


def trained(framework: str, folder: Path) -> list[dict[str, Any]]:
    for name in NEEDED[framework]:
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [str(Path(__file__).with_name("ranks_train.py")), framework, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, timeout=300)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def worst(applied: np.ndarray) -> tuple[float, float]:
    """Of all tokens of (L, T, n, n), forward and backward."""
    found = np.array([gains(applied[:, token]) for token in range(applied.shape[1])])
    return tuple(found.max(0))  # type: ignore[return-value]


@pytest.mark.parametrize("framework", NEEDED)
def test_the_numbers_are_those_of_both_ranks(framework: str, tmp_path: Path) -> None:
    ranks = trained(framework, tmp_path)
    both = [np.concatenate(pair, axis=1) for pair in zip(*(r["applied"] for r in ranks), strict=True)]
    expected = [worst(applied) for applied in both]
    crossing = next(step for step, found in enumerate(expected, 1) if max(found) > LIMIT)
    assert 2 < crossing < STEPS  # it stops there, on both ranks
    alone = [[worst(applied) for applied in r["applied"]] for r in ranks]
    assert alone[0] != expected != alone[1]  # neither rank alone would say the same
    for words in ranks:
        assert words["steps"] == crossing == len(words["rows"])
        assert {step for step, _ in words["alerts"]} == {crossing}
        assert not words["notes"]
        for row, (forward, backward) in zip(words["rows"], expected, strict=True):
            assert row["mhc/forward_max"] == pytest.approx(forward, rel=1e-6)
            assert row["mhc/backward_max"] == pytest.approx(backward, rel=1e-6)
    assert ranks[0]["warned"] and not ranks[1]["warned"]  # of many ranks one speaks
    run = runs.read(tmp_path / "mhc-run.jsonl")
    assert [record.step for record in run.records] == list(range(1, crossing + 1))
    (report,) = saved.read(tmp_path / "mhc-report.json").reports
    assert report.worst("forward").value == pytest.approx(expected[-1][0], rel=1e-6)
